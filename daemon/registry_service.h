// The RegistryService of inferd.v1: models' versions, their approvals and rollouts. Admin plane.
#pragma once

#include <memory>

#include "daemon/call_gate.h"
#include "daemon/model_directory.h"
#include "daemon/queue_service.h"
#include "daemon/registry_state.h"

namespace grpc {
class Service;
}  // namespace grpc

namespace inferd {

// Everything here outlives the service.
struct RegistryServiceParts {
  RegistryState& registry;
  const ModelDirectory& models;
  ModelAdmin& loader;
  const CallGate gate;
};

// Calls wait for their leaf, for the disk, and for files to be hashed: for a server with threads of
// its own.
std::unique_ptr<grpc::Service> MakeRegistryService(const RegistryServiceParts& parts);

}  // namespace inferd
