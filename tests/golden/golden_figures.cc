#include "tests/golden/golden_figures.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/check.h"
#include "base/file.h"

namespace inferd {
namespace {

constexpr int32_t kRowsOfAStep = 64;  // logits of a large vocabulary are a MB a row

TokenId Argmax(const std::vector<float>& logits) {
  return static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

}  // namespace

StatusOr<PeerFigures> ReadPeerFigures(const std::string& path) {
  constexpr uint64_t kFileBytesMax = 1 << 20;
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kFileBytesMax));
  try {
    const nlohmann::json json = nlohmann::json::parse(text);
    PeerFigures figures;
    figures.mean_kl = json.at("mean_kl").get<double>();
    figures.perplexity = json.value("perplexity", 0.0);
    figures.perplexity_tokens = json.value("perplexity_tokens", int64_t{0});
    figures.perplexity_window = json.value("perplexity_window", int64_t{0});
    for (const nlohmann::json& greedy : json.at("greedy")) {
      figures.greedy.push_back({.prompt = greedy.at("prompt").get<std::vector<TokenId>>(),
                                .output = greedy.at("output").get<std::vector<TokenId>>()});
    }
    return figures;
  } catch (const nlohmann::json::exception& error) {
    return ErrorF(StatusCode::kDataLoss, "%s: %s", path, error.what());
  }
}

double MeanKl(ModelRun& run, const std::vector<GoldenSequence>& sequences) {
  double kl = 0;
  int64_t count = 0;
  for (const GoldenSequence& sequence : sequences) {
    auto cells = sequence.cells.begin();
    run.ForEachRow(
        sequence.tokens, kRowsOfAStep, [&](int64_t position, const std::vector<float>& logits) {
          if (cells != sequence.cells.end() && cells->position == position) {
            kl += KlToCells(*cells++, logits);
            ++count;
          }
        });
  }
  CHECK(count > 0);
  return kl / static_cast<double>(count);
}

double Perplexity(ModelRun& run, std::span<const TokenId> tokens, int64_t window) {
  double nll = 0;
  int64_t predicted = 0;
  while (!tokens.empty()) {
    const auto part = tokens.first(std::min<size_t>(tokens.size(), static_cast<size_t>(window)));
    tokens = tokens.subspan(part.size());
    run.ForEachRow(part, kRowsOfAStep, [&](int64_t position, const std::vector<float>& logits) {
      const auto next = static_cast<size_t>(position) + 1;
      if (next < part.size()) {
        nll -= LogSoftmax(logits)[static_cast<size_t>(part[next])];
        ++predicted;
      }
    });
  }
  return std::exp(nll / static_cast<double>(predicted));
}

std::vector<std::vector<TokenId>> GreedyOutputs(ModelRun& run,
                                                const std::vector<PeerFigures::Greedy>& prompts,
                                                int64_t n_tokens) {
  std::vector<RunSequence> sequences(prompts.size());
  std::vector<std::vector<TokenId>> outputs(prompts.size());
  for (size_t i = 0; i < prompts.size(); ++i) {
    sequences[i].tokens = prompts[i].prompt;
  }
  for (int64_t step = 0; step < n_tokens; ++step) {
    std::vector<RunWork> work;
    for (RunSequence& sequence : sequences) {
      work.push_back({.sequence = &sequence,
                      .n_rows = static_cast<int32_t>(std::ssize(sequence.tokens) - sequence.done)});
    }
    const RunLogits logits = run.Step(work);
    for (size_t i = 0; i < sequences.size(); ++i) {
      outputs[i].push_back(Argmax(logits[i]));
      sequences[i].tokens.push_back(outputs[i].back());
    }
  }
  for (RunSequence& sequence : sequences) {
    run.Free(sequence);
  }
  return outputs;
}

int64_t CountUnexplained(ModelRun& exact,
                         const std::vector<PeerFigures::Greedy>& peer,
                         const std::vector<std::vector<TokenId>>& outputs,
                         double nats) {
  int64_t count = 0;
  for (size_t i = 0; i < peer.size(); ++i) {
    const auto [theirs, ours] = std::mismatch(
        peer[i].output.begin(), peer[i].output.end(), outputs[i].begin(), outputs[i].end());
    if (theirs == peer[i].output.end() || ours == outputs[i].end()) {
      continue;
    }
    std::vector<TokenId> context = peer[i].prompt;
    context.insert(context.end(), peer[i].output.begin(), theirs);
    std::vector<float> logits;
    exact.ForEachRow(
        context, kRowsOfAStep, [&](int64_t, const std::vector<float>& row) { logits = row; });
    const float gap = logits[static_cast<size_t>(*theirs)] - logits[static_cast<size_t>(*ours)];
    count += static_cast<double>(gap) > nats ? 1 : 0;
  }
  return count;
}

}  // namespace inferd
