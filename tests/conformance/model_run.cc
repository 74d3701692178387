#include "tests/conformance/model_run.h"

#include <algorithm>
#include <numeric>

#include "base/check.h"

namespace inferd {

StatusOr<std::unique_ptr<ModelRun>> ModelRun::Load(Device& device,
                                                   const ModelFile& file,
                                                   const Options& options) {
  return Load(device, file.config(), file.weights(), options);
}

StatusOr<std::unique_ptr<ModelRun>> ModelRun::Load(Device& device,
                                                   const ModelConfig& config,
                                                   const ModelWeights& weights,
                                                   const Options& options) {
  auto run = std::unique_ptr<ModelRun>(new ModelRun(device, options));
  ASSIGN_OR_RETURN(
      run->transformer_,
      Transformer::Load(device,
                        config,
                        weights,
                        {.rows_max = options.rows_max, .logit_rows_max = options.logit_rows_max}));
  const std::vector<int64_t> units(config.geometry.groups.size(), options.units);
  ASSIGN_OR_RETURN(run->state_, device.AllocateState(config, units));
  SplitMix64 random(options.seed);
  for (size_t group = 0; group < units.size(); ++group) {
    std::vector<BlockIndex> blocks(static_cast<size_t>(options.units));
    std::iota(blocks.begin(), blocks.end(), BlockIndex{0});
    for (size_t i = blocks.size(); i > 1; --i) {
      std::swap(blocks[i - 1], blocks[random.Below(i)]);
    }
    run->free_.push_back(std::move(blocks));
  }
  return run;
}

void ModelRun::Reserve(RunSequence& sequence, int64_t end) {
  const std::vector<StateGroup>& groups = config().geometry.groups;
  sequence.tables.resize(groups.size());
  for (size_t group = 0; group < groups.size(); ++group) {
    std::vector<BlockIndex>& table = sequence.tables[group];
    const int64_t first_live = groups[group].FirstLiveBlock(sequence.done);
    for (int64_t block = 0; block < std::ssize(table) && block < first_live; ++block) {
      BlockIndex& entry = table[static_cast<size_t>(block)];
      if (entry != kNoBlock && block >= sequence.borrowed) {
        free_[group].push_back(entry);
      }
      entry = kNoBlock;
    }
    while (std::ssize(table) < StateGroup::BlocksFor(end)) {
      CHECK(!free_[group].empty());
      table.push_back(free_[group].back());
      free_[group].pop_back();
    }
  }
}

void ModelRun::Free(RunSequence& sequence) {
  for (size_t group = 0; group < sequence.tables.size(); ++group) {
    const std::vector<BlockIndex>& table = sequence.tables[group];
    for (int64_t block = sequence.borrowed; block < std::ssize(table); ++block) {
      if (table[static_cast<size_t>(block)] != kNoBlock) {
        free_[group].push_back(table[static_cast<size_t>(block)]);
      }
    }
  }
  sequence.tables.clear();
  sequence.borrowed = 0;
  sequence.done = 0;
}

void ModelRun::Share(const RunSequence& from, int64_t blocks, RunSequence& to) {
  CHECK(to.tables.empty() && from.done == blocks * kBlockTokens);
  for (const std::vector<BlockIndex>& table : from.tables) {
    to.tables.emplace_back(table.begin(), table.begin() + blocks);
  }
  to.borrowed = blocks;
  to.done = from.done;
}

RunLogits ModelRun::Step(std::span<const RunWork> work) {
  ForwardBatch batch;
  for (const RunWork& item : work) {
    RunSequence& sequence = *item.sequence;
    CHECK(item.n_rows > 0 && sequence.done + item.n_rows <= std::ssize(sequence.tokens));
    Reserve(sequence, sequence.done + item.n_rows);
    SequenceRows rows{.first_row = batch.n_rows(), .n_rows = item.n_rows, .start = sequence.done};
    for (const std::vector<BlockIndex>& table : sequence.tables) {
      rows.block_tables.emplace_back(table);
    }
    for (int32_t i = 0; i < item.n_rows; ++i) {
      const int64_t position = sequence.done + i;
      if (item.all_logits || i + 1 == item.n_rows) {
        batch.logit_rows.push_back(batch.n_rows());
      }
      batch.tokens.push_back(sequence.tokens[static_cast<size_t>(position)]);
      batch.positions.push_back(position);
    }
    batch.sequences.push_back(std::move(rows));
  }
  transformer_->Forward(batch, *state_);
  CHECK(device_.Synchronize().ok());
  for (const RunWork& item : work) {
    item.sequence->done += item.n_rows;
  }
  RunLogits logits(batch.logit_rows.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    logits[i].resize(static_cast<size_t>(config().vocab_size));
    device_.ReadRow(transformer_->logits(), static_cast<int32_t>(i), logits[i]);
  }
  return logits;
}

void ModelRun::ForEachRow(std::span<const TokenId> tokens,
                          int32_t cut,
                          const std::function<void(int64_t, const std::vector<float>&)>& row) {
  RunSequence sequence;
  sequence.tokens.assign(tokens.begin(), tokens.end());
  while (sequence.done < std::ssize(tokens)) {
    const int64_t first = sequence.done;
    const int64_t rows = std::min<int64_t>(cut, std::ssize(tokens) - first);
    const RunWork work{
        .sequence = &sequence, .n_rows = static_cast<int32_t>(rows), .all_logits = true};
    const RunLogits logits = Step({&work, 1});
    for (size_t i = 0; i < logits.size(); ++i) {
      row(first + static_cast<int64_t>(i), logits[i]);
    }
  }
  Free(sequence);
}

RunLogits ModelRun::LogitsOf(std::span<const TokenId> tokens, int32_t cut) {
  RunLogits all;
  ForEachRow(
      tokens, cut, [&](int64_t, const std::vector<float>& logits) { all.push_back(logits); });
  return all;
}

std::vector<TokenId> RandomTokens(const ModelConfig& config, int64_t n, uint64_t seed) {
  SplitMix64 random(seed);
  std::vector<TokenId> tokens(static_cast<size_t>(n));
  for (TokenId& token : tokens) {
    token = static_cast<TokenId>(random.Below(static_cast<uint64_t>(config.vocab_size)));
  }
  return tokens;
}

}  // namespace inferd
