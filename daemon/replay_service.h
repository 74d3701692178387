// The ReplayService of inferd.v1.
#pragma once

#include <memory>

#include "daemon/audit_state.h"
#include "daemon/call_gate.h"
#include "daemon/model_directory.h"
#include "daemon/replay_runner.h"

namespace grpc {
class Service;
}  // namespace grpc

namespace inferd {

// Everything here outlives the service.
struct ReplayServiceParts {
  AuditState& audit;
  const ModelDirectory& models;
  ReplayRunner& runner;
  const CallGate gate;
};

// Calls block until the answer is computed: for a server with threads of its own.
std::unique_ptr<grpc::Service> MakeReplayService(const ReplayServiceParts& parts);

}  // namespace inferd
