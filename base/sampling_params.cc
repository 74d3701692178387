#include "base/sampling_params.h"

#include <set>

namespace inferd {
namespace {

// `low < value <= high`, or `low <= value` if `low_included`. NaN is in no range.
Status InRange(const char* field, float value, float low, bool low_included, float high) {
  const bool above = low_included ? value >= low : value > low;
  if (above && value <= high) {
    return OkStatus();
  }
  return ErrorF(StatusCode::kInvalidArgument,
                "%s: %g is not in %s%g, %g]",
                field,
                value,
                low_included ? "[" : "(",
                low,
                high);
}

}  // namespace

Status Validate(const SamplingParams& params, int64_t vocab_size) {
  RETURN_IF_ERROR(InRange("temperature", params.temperature, 0, true, 100));
  RETURN_IF_ERROR(InRange("top_p", params.top_p, 0, false, 1));
  RETURN_IF_ERROR(InRange("min_p", params.min_p, 0, true, 1));
  RETURN_IF_ERROR(InRange("repetition_penalty", params.repetition_penalty, 0, false, 10));
  RETURN_IF_ERROR(InRange("presence_penalty", params.presence_penalty, -2, true, 2));
  RETURN_IF_ERROR(InRange("frequency_penalty", params.frequency_penalty, -2, true, 2));
  if (params.top_k < 0) {
    return ErrorF(
        StatusCode::kInvalidArgument, "top_k: %d is negative; 0 keeps all tokens", params.top_k);
  }
  if (params.logprobs < -1 || params.logprobs > kLogprobsMax) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "logprobs: %d is not in [0, %d]",
                  params.logprobs,
                  kLogprobsMax);
  }
  if (params.logit_bias.size() > kLogitBiasMax) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "logit_bias: %d entries, at most %d are taken",
                  params.logit_bias.size(),
                  kLogitBiasMax);
  }
  std::set<TokenId> seen;
  for (const auto& [token, bias] : params.logit_bias) {
    if (token < 0 || token >= vocab_size) {
      return ErrorF(StatusCode::kInvalidArgument,
                    "logit_bias: token %d is not in the vocabulary of %d tokens",
                    token,
                    vocab_size);
    }
    if (!seen.insert(token).second) {
      return ErrorF(StatusCode::kInvalidArgument, "logit_bias: token %d stands twice", token);
    }
    RETURN_IF_ERROR(InRange("logit_bias", bias, -100, true, 100));
  }
  return OkStatus();
}

}  // namespace inferd
