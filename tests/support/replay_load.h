// What tests and measurements of replays share: requests of every kind, and a view that two persons
// approved.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "inferd/v1/generation.pb.h"

namespace inferd {

struct MixedLoad {
  std::string model;
  uint64_t seed = 1;
  int32_t vocab_size = 0;
  int32_t prompt_tokens_max = 200;
  int32_t output_tokens_max = 40;
  // That all prompts of text begin with, as they do with an instruction: enough of them make prefix
  // hits.
  int32_t shared_sentences = 1;
  // How many of ten requests allow for output_tokens_max tokens and end after a few. A scheduler
  // that has learnt from them promises too little to the others, which are preempted where memory
  // is scarce.
  int32_t early_ends_of_ten = 0;
};

// Requests that differ in everything that decides tokens: prompts as text and as ids, long ones and
// ones that share their beginning, greedy and drawn, seeds given and left to the daemon, n up to 4,
// every penalty, biases, min_tokens, stop strings and tokens.
std::vector<v1::GenerateStreamRequest> MixedRequests(const MixedLoad& load, int count);

// Puts an approved view of all that `tenant` ever asks into a state directory that no daemon uses
// yet: asked for by this process's user, approved by somebody else just now. Returns its id.
std::string ApproveReplays(const std::string& state_directory, const std::string& tenant);

}  // namespace inferd
