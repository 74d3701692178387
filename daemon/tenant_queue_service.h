// The QueueService of inferd.v1 on the serving plane: a tenant sees why its own requests wait.
#pragma once

#include <memory>

#include "daemon/call_gate.h"
#include "daemon/stream_registry.h"
#include "daemon/worker_pool.h"
#include "engine/engine.h"

namespace grpc {
class Service;
}  // namespace grpc

namespace inferd {

// Everything here outlives the service.
struct TenantQueueServiceParts {
  Engine& engine;
  const StreamRegistry& registry;
  WorkerPool& workers;
  const CallGate gate;
};

// Each answer makes the engine wait between two steps, hence one call at a time: QUEUE_FULL for
// others. The load, which names tenants, is told on the admin plane alone.
std::unique_ptr<grpc::Service> MakeTenantQueueService(const TenantQueueServiceParts& parts);

}  // namespace inferd
