// From the wire's request to the engine's: resolve the model, make the prompt's tokens, check what
// the engine does not.
#pragma once

#include <map>
#include <string>

#include "base/status.h"
#include "daemon/generation_call.h"
#include "daemon/model_resolver.h"

namespace inferd::v1 {
class GenerateRequest;
class GenerateStreamRequest;
class ReplayRecord;
}  // namespace inferd::v1

namespace inferd {

inline constexpr size_t kRequestIdBytesMax = 128;
inline constexpr int32_t kMessageTokensMax = 1024;
inline constexpr size_t kEndUserBytesMax = 128;
inline constexpr size_t kSessionIdBytesMax = 128;

// How often messages go out when the request does not say.
struct DeliveryDefaults {
  int64_t message_tokens_max = 4;
  Duration message_delay_max{};
};

struct PreparedGeneration {
  GenerationRequest request;  // without ids, arrival and deadline, which the caller fills
  CallFacts facts;
  // For the call's record: the prompt's text, or its ids as 4 bytes each, little-endian; messages
  // by role, or {"text": 1}.
  std::string prompt_content;
  std::map<std::string, uint64_t> prompt_parts;
};

// The most that the request can use, which a crash would charge.
QuotaAmounts UpperBoundOf(const CallFacts& facts, const GenerationRequest& request);

// INVALID_FIELD unless the id is empty or printable ASCII of at most kRequestIdBytesMax bytes.
Status CheckRequestId(std::string_view id);

// INVALID_FIELD if it is longer than kEndUserBytesMax.
Status CheckEndUser(std::string_view end_user);

// Errors as error_map.h makes them. Tokenises: for ingress workers.
StatusOr<PreparedGeneration> Prepare(const v1::GenerateRequest& request,
                                     const ModelResolver& models,
                                     const TenantId& tenant,
                                     const DeliveryDefaults& defaults);
StatusOr<PreparedGeneration> Prepare(const v1::GenerateStreamRequest& request,
                                     const ModelResolver& models,
                                     const TenantId& tenant,
                                     const DeliveryDefaults& defaults);

// A recorded request, to be computed again by `model`: its token ids come all at once, and no more
// of them than a comparison needs. kDataLoss if the record is none of that model.
StatusOr<PreparedGeneration> PrepareReplay(const v1::ReplayRecord& record,
                                           std::shared_ptr<const ResidentModel> model);

}  // namespace inferd
