// Random mixes: continuous batching without rules. Sequences join and leave steps at random, are
// cut at random, are preempted and recomputed, and take over the KV of others; every row's logits
// are compared with those of the row alone.
#pragma once

#include <cstdint>
#include <vector>

#include "tests/conformance/model_run.h"

namespace inferd {

// A sequence and a fingerprint of the logits of each of its positions, computed one row at a time
// with nothing else in the step.
struct ReferenceSequence {
  std::vector<TokenId> tokens;
  std::vector<uint64_t> fingerprints;
};

struct MixOptions {
  int32_t num_sequences = 24;  // to draw from; a third of them longer than two blocks
  int32_t rows_max = 128;      // of a step
  uint64_t seed = 1;
};

struct MixCounts {
  int64_t rows = 0;
  int64_t mismatches = 0;
  int64_t widest_step = 0;  // most sequences in one step
  int64_t preemptions = 0;
  int64_t takeovers = 0;  // sequences that started with another's KV
};

// References on one device, which others are held to: the instruction set must not matter either.
std::vector<ReferenceSequence> MakeReferences(Device& device,
                                              const ModelFile& file,
                                              const MixOptions& options);

// Runs `mixes` mixes of 2 to 32 sequences each.
MixCounts RunMixes(Device& device,
                   const ModelFile& file,
                   const std::vector<ReferenceSequence>& references,
                   int32_t mixes,
                   const MixOptions& options);

}  // namespace inferd
