// From the wire's request to the engine's: resolve the model, make the prompt's tokens, check what
// the engine does not.
#pragma once

#include "base/status.h"
#include "daemon/generation_call.h"
#include "daemon/model_directory.h"

namespace inferd::v1 {
class GenerateRequest;
class GenerateStreamRequest;
}  // namespace inferd::v1

namespace inferd {

inline constexpr size_t kRequestIdBytesMax = 128;
inline constexpr int32_t kMessageTokensMax = 1024;

// How often messages go out when the request does not say.
struct DeliveryDefaults {
  int64_t message_tokens_max = 4;
  Duration message_delay_max{};
};

struct PreparedGeneration {
  GenerationRequest request;  // without ids, arrival and deadline, which the caller fills
  CallFacts facts;
};

// INVALID_FIELD unless the id is empty or printable ASCII of at most kRequestIdBytesMax bytes.
Status CheckRequestId(std::string_view id);

// Errors as error_map.h makes them. Tokenises: for ingress workers.
StatusOr<PreparedGeneration> Prepare(const v1::GenerateRequest& request,
                                     const ModelDirectory& models,
                                     const DeliveryDefaults& defaults);
StatusOr<PreparedGeneration> Prepare(const v1::GenerateStreamRequest& request,
                                     const ModelDirectory& models,
                                     const DeliveryDefaults& defaults);

}  // namespace inferd
