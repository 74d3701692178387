// Sampler: the reference of the Sample op: from one row of logits to one token, by the rules of
// SamplingParams. Every device gives its tokens.
//
// The same row, params and keys give the same token on every machine: arithmetic is IEEE f32 and
// f64 in one fixed order with the exp and log of reproducible_math.h, and sums that decide what is
// kept are integers.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "backend/forward_batch.h"

namespace inferd {

// Holds scratch between calls: one Sampler for each thread. Never shrinks: about 21 bytes for each
// token of the largest vocabulary seen.
class Sampler {
 public:
  // Draws one token and, if asked, reports log-probabilities. `logits` is the row that
  // row.logits_row names. Token ids beyond the row are ignored; a NaN is never drawn. If the rules
  // leave no token, the result is token 0; if a logit is +infinity, the first of these.
  //
  // The draw, in this order:
  //   1. repetition penalty (divides positive, multiplies other logits of tokens seen), presence
  //      penalty (subtracted once), frequency penalty (times the count), logit bias: f32.
  //   2. suppressed and unmasked tokens leave.
  //   3. temperature 0: the largest logit, ties to the lowest id. Else z = (logit - largest) / T.
  //   4. top_k: the k largest z, ties to the lowest id.
  //   5. top_p: the shortest prefix, in the same order, whose weights reach top_p of what top_k
  //      left; a weight is floor(2^40 e^z).
  //   6. min_p: tokens with e^z >= min_p stay.
  //   7. the largest z + g, ties to the lowest id, where g = -ln(-ln u) (Gumbel) and u is uniform
  //      in (0, 1), 52 bits of Philox4x32-10 under the key `seed`: the high word of token t is word
  //      t mod 4 of the counter (t / 4, choice, position mod 2^32, 2 * (position / 2^32)), the low
  //      word the same with 1 added to the last.
  SampledToken Sample(std::span<const float> logits, const SampleRow& row);

 private:
  struct Candidate {
    float z = 0.0f;
    TokenId token = 0;
    uint64_t weight = 0;
  };

  static bool HasRules(const SampleRow& row);
  void ApplyRules(std::span<const float> logits, const SampleRow& row);
  void ApplyPenalties(const SampleRow& row);
  void Collect(std::span<const float> logits, float peak, float temperature);
  void Truncate(const SamplingParams& params);
  // Keeps the shortest prefix of candidates_, by z then id, whose weights reach `need`.
  void KeepPrefix(uint64_t need);
  TokenId DrawFromCandidates(const SampleRow& row) const;

  std::vector<float> adjusted_;  // the logits after rules 1 and 2
  std::vector<int32_t> output_counts_;
  std::vector<bool> seen_;
  std::vector<TokenId> touched_;  // tokens whose entries above are set
  std::vector<Candidate> candidates_;
  std::vector<Candidate> edge_;  // those in the histogram bucket where a prefix ends
};

// The logits' log-probabilities of `token` and of the `n` most probable tokens, as SampledToken
// holds them. ln sum e^logit is taken in f64 over 8 lanes and one tree.
void ReportLogprobs(std::span<const float> logits, int32_t n, SampledToken& result);

}  // namespace inferd
