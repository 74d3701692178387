// ModelRun: a model on a device, driven step by step without an engine, so that tests choose every
// batch, cut and block themselves.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "backend/transformer.h"
#include "base/random.h"

namespace inferd {

// A sequence of tokens and where its KV lies. Entries of `tables` (by state group, then block) are
// kNoBlock once they lie behind a window.
struct RunSequence {
  std::vector<TokenId> tokens;
  int64_t done = 0;  // leading positions whose KV is there
  std::vector<std::vector<BlockIndex>> tables;
  int64_t borrowed = 0;  // leading blocks that belong to another sequence
};

// Rows of one step: the next `n_rows` positions of a sequence.
struct RunWork {
  RunSequence* sequence = nullptr;
  int32_t n_rows = 0;
  bool all_logits = false;  // of every row; else of the last one alone
};

// Logits by row, as they were asked for.
using RunLogits = std::vector<std::vector<float>>;

// Owns the Transformer and its KV; the device outlives it. Blocks come from a shuffled free list,
// and freed ones are handed out again first, so that stale KV is met soon.
class ModelRun {
 public:
  struct Options {
    int32_t rows_max = 128;
    int32_t logit_rows_max = 128;
    int64_t units = 64;  // blocks in each state group
    uint64_t seed = 1;   // shuffles the blocks
  };
  static StatusOr<std::unique_ptr<ModelRun>> Load(Device& device,
                                                  const ModelFile& file,
                                                  const Options& options);
  static StatusOr<std::unique_ptr<ModelRun>> Load(Device& device,
                                                  const ModelConfig& config,
                                                  const ModelWeights& weights,
                                                  const Options& options);

  // One forward step. CHECKs that blocks suffice.
  RunLogits Step(std::span<const RunWork> work);
  // A whole sequence alone, in steps of at most `cut` rows: row(position, logits) for every
  // position, in order.
  void ForEachRow(std::span<const TokenId> tokens,
                  int32_t cut,
                  const std::function<void(int64_t, const std::vector<float>&)>& row);
  // The same, collected.
  RunLogits LogitsOf(std::span<const TokenId> tokens, int32_t cut);
  // Gives the sequence's own blocks back; its next step starts at position 0.
  void Free(RunSequence& sequence);
  // Lets `to`, which has nothing yet, start with the KV of the first `blocks` blocks of `from`.
  // `from` has computed exactly these, and keeps them until after `to` is freed.
  void Share(const RunSequence& from, int64_t blocks, RunSequence& to);

  const ModelConfig& config() const { return transformer_->config(); }
  const Transformer& transformer() const { return *transformer_; }

 private:
  ModelRun(Device& device, const Options& options) : device_(device), options_(options) {}
  void Reserve(RunSequence& sequence, int64_t end);

  Device& device_;
  Options options_;
  std::unique_ptr<Transformer> transformer_;
  std::unique_ptr<DeviceState> state_;
  std::vector<std::vector<BlockIndex>> free_;  // by state group; taken from the back
};

// Token ids in [0, vocab_size).
std::vector<TokenId> RandomTokens(const ModelConfig& config, int64_t n, uint64_t seed);

}  // namespace inferd
