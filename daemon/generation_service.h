// The GenerationService of inferd.v1.
#pragma once

#include <memory>

#include "base/clock.h"
#include "daemon/audit_join.h"
#include "daemon/call_gate.h"
#include "daemon/egress_thread.h"
#include "daemon/generation_request.h"
#include "daemon/model_resolver.h"
#include "daemon/request_governor.h"
#include "daemon/scheduling.h"
#include "daemon/stream_registry.h"
#include "daemon/worker_pool.h"

namespace grpc {
class Service;
}  // namespace grpc

namespace inferd {

// Everything here outlives the service; the workers are stopped before any of it goes.
struct GenerationServiceParts {
  const ModelResolver& models;
  GenerationBackend& backend;
  StreamRegistry& registry;
  EgressThread& egress;
  WorkerPool& workers;
  const Clock& clock;
  const CallGate gate;
  const TenantClasses& classes;
  DeliveryDefaults delivery;
  Duration duration_max{};
  AuditJoin* audit = nullptr;  // absent: no audit log
  RequestGovernor& governor;
};

std::unique_ptr<grpc::Service> MakeGenerationService(const GenerationServiceParts& parts);

}  // namespace inferd
