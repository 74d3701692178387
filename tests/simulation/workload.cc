#include "tests/simulation/workload.h"

#include <algorithm>
#include <numeric>

#include "base/random.h"

namespace inferd::sim {
namespace {

void Append(const Segment& segment, int64_t vocab_size, std::vector<TokenId>& prompt) {
  SplitMix64 tokens(segment.content);
  for (int32_t j = 0; j < segment.tokens; ++j) {
    prompt.push_back(static_cast<TokenId>(tokens.Below(static_cast<uint64_t>(vocab_size))));
  }
}

}  // namespace

void SortByTime(Workload& workload) {
  std::vector<uint32_t> order(workload.submissions.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    return workload.submissions[a].at < workload.submissions[b].at;
  });
  std::vector<Submission> sorted;
  std::vector<uint32_t> place(order.size());
  for (const uint32_t index : order) {
    place[index] = static_cast<uint32_t>(sorted.size());
    sorted.push_back(std::move(workload.submissions[index]));
  }
  workload.submissions = std::move(sorted);
  for (Disturbance& disturbance : workload.disturbances) {
    if (disturbance.of_request()) {
      disturbance.submission = place[disturbance.submission];
    }
  }
  std::stable_sort(workload.disturbances.begin(),
                   workload.disturbances.end(),
                   [](const Disturbance& a, const Disturbance& b) { return a.at < b.at; });
}

std::vector<TokenId> PromptOf(const Workload& workload, size_t submission, int64_t vocab_size) {
  const Submission& request = workload.submissions[submission];
  std::vector<TokenId> prompt;
  prompt.reserve(static_cast<size_t>(request.prompt_tokens));
  for (const Segment& segment : request.shared) {
    Append(segment, vocab_size, prompt);
  }
  const auto shared = static_cast<int32_t>(prompt.size());
  if (shared >= request.prompt_tokens) {
    prompt.resize(static_cast<size_t>(request.prompt_tokens));
    return prompt;
  }
  SplitMix64 own(workload.seed);
  const uint64_t salt = own.Next();
  // By name, so that leaving other requests out changes nothing here.
  uint64_t content = salt;
  for (const char letter : request.name) {
    content = SplitMix64(content ^ static_cast<unsigned char>(letter)).Next();
  }
  Append({.content = content, .tokens = request.prompt_tokens - shared}, vocab_size, prompt);
  return prompt;
}

}  // namespace inferd::sim
