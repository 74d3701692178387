// What is measured against the goldens: KL, perplexity and greedy answers.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "tests/conformance/model_run.h"
#include "tests/golden/cells.h"

namespace inferd {

// What llama.cpp did with the same file on the same positions (NAME.peer.json).
struct PeerFigures {
  double mean_kl = 0;
  double perplexity = 0;  // 0: not measured
  int64_t perplexity_tokens = 0;
  int64_t perplexity_window = 0;
  struct Greedy {
    std::vector<TokenId> prompt;
    std::vector<TokenId> output;
  };
  std::vector<Greedy> greedy;
};
StatusOr<PeerFigures> ReadPeerFigures(const std::string& path);

// Mean over all cells of KL(reference || model).
double MeanKl(ModelRun& run, const std::vector<GoldenSequence>& sequences);

// exp of the mean negative log-probability of every token but the first of each window; windows
// are computed on their own.
double Perplexity(ModelRun& run, std::span<const TokenId> tokens, int64_t window);

// `n_tokens` greedy tokens for each prompt, all prompts in one batch.
std::vector<std::vector<TokenId>> GreedyOutputs(ModelRun& run,
                                                const std::vector<PeerFigures::Greedy>& prompts,
                                                int64_t n_tokens);

// Prompts whose output first differs from the peer's at a token that `exact` puts more than
// `nats` below the peer's.
int64_t CountUnexplained(ModelRun& exact,
                         const std::vector<PeerFigures::Greedy>& peer,
                         const std::vector<std::vector<TokenId>>& outputs,
                         double nats);

}  // namespace inferd
