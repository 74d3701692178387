// How the next token is drawn from logits. Shared by every device, the engine and the daemon.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/status.h"

namespace inferd {

// The defaults draw from the model's own distribution: temperature 1, nothing cut off.
// Order of application: repetition, presence and frequency penalties, logit bias, mask,
// temperature, top-k, top-p, min-p, draw. Log-probabilities are those of the raw logits.
struct SamplingParams {
  // 0: greedy, ties to the lowest token id. Else logits are divided by it; at most 100.
  float temperature = 1.0f;
  // Keep the k most probable tokens; 0: all.
  int32_t top_k = 0;
  // Keep the smallest set of most probable tokens that reaches this mass; in (0, 1].
  float top_p = 1.0f;
  // Keep tokens at least min_p times as probable as the most probable one; in [0, 1].
  float min_p = 0.0f;
  // Divides positive and multiplies negative logits of tokens in prompt or output; in (0, 10].
  float repetition_penalty = 1.0f;
  // Subtracted once, or once for each occurrence, from tokens in the output; in [-2, 2].
  float presence_penalty = 0.0f;
  float frequency_penalty = 0.0f;
  // Added to these tokens' logits, each in [-100, 100]; at most kLogitBiasMax entries, ids unique.
  std::vector<std::pair<TokenId, float>> logit_bias{};
  // Keys every draw together with choice index, absolute position and token id.
  uint64_t seed = 0;
  // Report the log-probabilities of the drawn token and of this many most probable ones;
  // -1: report none. At most kLogprobsMax.
  int32_t logprobs = -1;

  bool NeedsHistory() const {
    return repetition_penalty != 1.0f || presence_penalty != 0.0f || frequency_penalty != 0.0f;
  }
  friend bool operator==(const SamplingParams&, const SamplingParams&) = default;
};

inline constexpr int32_t kLogprobsMax = 20;
inline constexpr size_t kLogitBiasMax = 1024;

// kInvalidArgument naming the field, its value and what is allowed; NaN is never allowed.
// Token ids are checked against the vocabulary.
Status Validate(const SamplingParams& params, int64_t vocab_size);

}  // namespace inferd
