// The QueueService and the ModelAdminService of inferd.v1: who uses the device, why requests wait,
// and models that come and go. Admin plane.
#pragma once

#include <memory>

#include "base/clock.h"
#include "daemon/call_gate.h"
#include "daemon/config.h"
#include "daemon/model_directory.h"
#include "daemon/stream_registry.h"
#include "engine/engine.h"

namespace grpc {
class Service;
}  // namespace grpc

namespace inferd {

// Everything here outlives the service.
struct QueueServiceParts {
  Engine& engine;
  const ModelDirectory& models;
  const StreamRegistry& registry;
  const Clock& clock;
  const CallGate gate;
};

// Calls wait for the step in work: for a server with threads of its own.
std::unique_ptr<grpc::Service> MakeQueueService(const QueueServiceParts& parts);

// Models that come and go while the daemon runs. Blocks; thread-safe.
class ModelAdmin {
 public:
  virtual ~ModelAdmin() = default;
  // kInvalidArgument for a name that cannot be one, kAlreadyExists for a version that is there,
  // kFailedPrecondition for one that was not approved or has other bytes, else as
  // Engine::LoadModel.
  virtual StatusOr<Digest> Load(const ModelEntry& entry) = 0;
  // `model`: a name, if one version of it is loaded, or with its version or digest. kNotFound.
  virtual Status Unload(const std::string& model, Duration drain_max) = 0;
  // Every version of these bytes, without a drain. OK if there is none.
  virtual Status UnloadBytes(const Digest& digest) = 0;
};

// `models` outlives the service.
std::unique_ptr<grpc::Service> MakeModelAdminService(ModelAdmin& models, const CallGate& gate);

}  // namespace inferd
