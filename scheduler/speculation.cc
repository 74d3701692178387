#include "scheduler/speculation.h"

#include <algorithm>

namespace inferd {
namespace {

constexpr int64_t kLookBackMax = 4096;  // tokens: a step must not wait for a search
constexpr int64_t kMatchMax = 3;        // last tokens that must agree, the more the better
constexpr int64_t kMatchMin = 2;

// How many tokens before `end` agree with the last ones of the sequence, up to kMatchMax.
int64_t MatchAt(const Sequence& sequence, int64_t end) {
  const int64_t last = sequence.num_tokens();
  int64_t match = 0;
  while (match < kMatchMax && match < end &&
         sequence.token(end - 1 - match) == sequence.token(last - 1 - match)) {
    ++match;
  }
  return match;
}

}  // namespace

std::span<const TokenId> Speculation::Draft(Sequence& sequence, int64_t tokens_max) const {
  tokens_max = std::min<int64_t>(tokens_max, options_.draft_tokens_max);
  const int64_t last = sequence.num_tokens();
  if (tokens_max <= 0 ||
      static_cast<int64_t>(sequence.output().size()) < sequence.draft_rests_until_) {
    return {};
  }
  int64_t best = 0;
  int64_t best_match = kMatchMin - 1;
  for (int64_t end = last - 1; end >= std::max<int64_t>(kMatchMin, last - kLookBackMax); --end) {
    const int64_t match = MatchAt(sequence, end);
    if (match > best_match) {  // the latest of the longest
      best = end;
      best_match = match;
      if (match == kMatchMax) {
        break;
      }
    }
  }
  if (best == 0) {
    return {};
  }
  const int64_t count = std::min({tokens_max, last - best, int64_t{kDraftTokensMax}});
  for (int64_t i = 0; i < count; ++i) {
    sequence.draft_[static_cast<size_t>(i)] = sequence.token(best + i);
  }
  return std::span(sequence.draft_).first(static_cast<size_t>(count));
}

// A moving average over about the last eight drafts.
void Speculation::Learn(Sequence& sequence, int64_t drafted, int64_t accepted) const {
  constexpr int32_t kWeight = 8;
  const auto seen = static_cast<int32_t>(1000 * accepted / drafted);
  sequence.draft_acceptance_ += (seen - sequence.draft_acceptance_) / kWeight;
  if (sequence.draft_acceptance_ < options_.acceptance_min) {
    sequence.draft_acceptance_ = options_.acceptance_min;  // the next try counts afresh
    sequence.draft_rests_until_ =
        static_cast<int64_t>(sequence.output().size()) + options_.rest_output_tokens;
  }
}

}  // namespace inferd
