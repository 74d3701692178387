// Speculation: tokens that may follow, guessed from the sequence's own, so that one step can draw
// several. What is drawn is the same with and without (docs/simulator.md, rule D6).
#pragma once

#include <cstdint>
#include <span>

#include "base/ids.h"
#include "scheduler/sequence.h"

namespace inferd {

// Off by default. It pays where steps are bound by reading weights: few rows that decode.
struct SpeculationOptions {
  int32_t draft_tokens_max = 0;     // a row, at most kDraftTokensMax; 0: off
  int32_t decode_rows_max = 8;      // of a step: with more there are no drafts
  int32_t acceptance_min = 300;     // per mille of a sequence's recent drafts; below it rests
  int32_t rest_output_tokens = 64;  // before it is tried again
};

// Prompt lookup (Saxena 2023): what followed when the sequence's last tokens stood there before.
// Guesses from the sequence's own prompt and output alone, so that nobody's timing tells of others.
class Speculation {
 public:
  explicit Speculation(const SpeculationOptions& options) : options_(options) {}

  bool on(int64_t decode_rows) const {
    return options_.draft_tokens_max > 0 && decode_rows <= options_.decode_rows_max;
  }
  // Up to tokens_max tokens that may follow; none while the sequence rests. Kept in the sequence
  // until its row is committed.
  std::span<const TokenId> Draft(Sequence& sequence, int64_t tokens_max) const;
  // Of a draft of `drafted` tokens the first `accepted` came true.
  void Learn(Sequence& sequence, int64_t drafted, int64_t accepted) const;

 private:
  const SpeculationOptions options_;
};

}  // namespace inferd
