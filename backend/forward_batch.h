// ForwardBatch: what one step computes, as plain arrays. Built by the engine from a StepPlan, read
// by the Transformer and by devices.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/ids.h"
#include "base/sampling_params.h"

namespace inferd {

// Consecutive positions of one sequence. Its rows are [first_row, first_row + n_rows) of the batch
// and compute positions [start, start + n_rows); everything before `start` is in the KV cache.
struct SequenceRows {
  int32_t first_row = 0;
  int32_t n_rows = 0;
  int64_t start = 0;
  // For each state group of the model: entry i holds positions [64 i, 64 i + 64).
  std::vector<std::span<const BlockIndex>> block_tables{};
};

// Invariant: sequences partition [0, tokens.size()) in order; logit_rows is ascending.
struct ForwardBatch {
  std::vector<TokenId> tokens;     // [n_rows]
  std::vector<int64_t> positions;  // [n_rows]
  std::vector<SequenceRows> sequences;
  std::vector<int32_t> logit_rows;  // rows whose logits are wanted: row i of the logits
  int32_t n_rows() const { return static_cast<int32_t>(tokens.size()); }
};

// One draw. Everything is borrowed for the call.
struct SampleRow {
  int32_t logits_row = 0;  // row of the logits
  const SamplingParams* params = nullptr;
  int32_t choice = 0;                     // index among the n choices of a request
  int64_t position = 0;                   // absolute position of the token that is drawn
  std::span<const TokenId> prompt{};      // for the repetition penalty; read only if NeedsHistory()
  std::span<const TokenId> output{};      // generated so far
  std::span<const TokenId> suppressed{};  // never drawn (end tokens below min_tokens)
  const uint32_t* mask = nullptr;         // bit set of allowed tokens, or nullptr: all
};

struct TokenLogprob {
  TokenId token = 0;
  float logprob = 0.0f;
};

struct SampledToken {
  TokenId token = 0;
  // If params->logprobs >= 0: of the raw logits (before any rule).
  float logprob = 0.0f;
  std::vector<TokenLogprob> top{};  // the params->logprobs most probable, ties to the lowest id
};

}  // namespace inferd
