// The ModelService of inferd.v1.
#pragma once

#include <memory>

#include "daemon/call_gate.h"
#include "daemon/model_resolver.h"
#include "daemon/request_governor.h"
#include "daemon/worker_pool.h"

namespace grpc {
class Service;
}  // namespace grpc

namespace inferd {

inline constexpr int kModelPageSizeDefault = 100;
inline constexpr int kModelPageSizeMax = 1000;

// Everything here outlives the service.
struct ModelServiceParts {
  const ModelResolver& models;
  const RequestGovernor& governor;  // shows what policies let the caller list
  WorkerPool& workers;
  const CallGate gate;
};

// Calls run on the workers: a policy may be asked about a model that it has not met yet.
std::unique_ptr<grpc::Service> MakeModelService(const ModelServiceParts& parts);

}  // namespace inferd
