// The ModelService of inferd.v1.
#pragma once

#include <memory>

#include "daemon/call_gate.h"
#include "daemon/model_resolver.h"

namespace grpc {
class Service;
}  // namespace grpc

namespace inferd {

inline constexpr int kModelPageSizeDefault = 100;
inline constexpr int kModelPageSizeMax = 1000;

// `models` outlives the service. Answers on gRPC's threads: nothing in it takes long.
std::unique_ptr<grpc::Service> MakeModelService(const ModelResolver& models, const CallGate& gate);

}  // namespace inferd
