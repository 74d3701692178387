#include "scheduler/state_store.h"

#include <algorithm>
#include <optional>

#include "base/check.h"

namespace inferd {
namespace {

// Blocks of a window that are live at once while positions are computed one by one.
int64_t WindowBlocks(const StateGroup& group) {
  return (group.window + kBlockTokens - 2) / kBlockTokens + 1;
}

}  // namespace

Status CheckFits(const ModelGeometry& geometry, std::span<const int64_t> units, int64_t tokens) {
  for (size_t g = 0; g < geometry.groups.size(); ++g) {
    const StateGroup& group = geometry.groups[g];
    // The last token of a sequence is never computed.
    int64_t wanted = StateGroup::BlocksFor(tokens - 1);
    if (group.window > 0) {
      wanted = std::min(wanted, WindowBlocks(group));
    }
    if (wanted > units[g]) {
      return ErrorF(StatusCode::kResourceExhausted,
                    "a sequence of %d tokens needs %d KV blocks, the pool has %d",
                    tokens,
                    wanted,
                    units[g]);
    }
  }
  return OkStatus();
}

int64_t TokensMaxFor(const ModelGeometry& geometry, std::span<const int64_t> units) {
  int64_t tokens = geometry.context_tokens_max;
  for (size_t g = 0; g < geometry.groups.size(); ++g) {
    const StateGroup& group = geometry.groups[g];
    if (group.window == 0 || units[g] < WindowBlocks(group)) {
      tokens = std::min(tokens, units[g] * kBlockTokens + 1);
    }
  }
  return tokens;
}

StateStore::StateStore(ModelGeometry geometry, std::span<const int64_t> units)
    : geometry_(std::move(geometry)), promised_(units.size(), 0) {
  CHECK(units.size() == geometry_.groups.size());
  for (const int64_t capacity : units) {
    pools_.emplace_back(capacity);
  }
}

int64_t StateStore::UnitsFor(size_t group, int64_t end, int64_t chunk_tokens) const {
  const int64_t units = StateGroup::BlocksFor(end);
  if (geometry_.groups[group].window == 0) {
    return units;
  }
  return std::min(units,
                  WindowBlocks(geometry_.groups[group]) + StateGroup::BlocksFor(chunk_tokens));
}

int64_t StateStore::TokensThatFit(const Sequence& sequence) const {
  int64_t n_tokens = sequence.num_pending();
  for (size_t g = 0; g < pools_.size(); ++g) {
    const int64_t blocks = static_cast<int64_t>(sequence.tables_[g].blocks.size()) + available(g);
    n_tokens = std::min(n_tokens, blocks * kBlockTokens - sequence.computed_);
  }
  return std::max<int64_t>(0, n_tokens);
}

bool StateStore::Grow(Sequence& sequence, int64_t end) {
  const int64_t wanted = StateGroup::BlocksFor(end);
  bool grown = false;
  for (size_t g = 0; g < pools_.size(); ++g) {
    std::vector<BlockIndex>& blocks = sequence.tables_[g].blocks;
    if (static_cast<int64_t>(blocks.size()) >= wanted) {
      continue;
    }
    grown = true;
    // Room for the whole sequence, so that plans in flight keep valid views.
    blocks.reserve(static_cast<size_t>(StateGroup::BlocksFor(sequence.spec().tokens_max)));
    while (static_cast<int64_t>(blocks.size()) < wanted) {
      const std::optional<BlockIndex> block = pools_[g].Allocate();
      CHECK(block.has_value());  // TokensThatFit counted them
      blocks.push_back(*block);
    }
  }
  return grown;
}

void StateStore::DropBehindWindow(Sequence& sequence) {
  for (size_t g = 0; g < pools_.size(); ++g) {
    if (geometry_.groups[g].window == 0) {
      continue;
    }
    Sequence::Table& table = sequence.tables_[g];
    const int64_t first_live = std::min(geometry_.groups[g].FirstLiveBlock(sequence.OldestStart()),
                                        static_cast<int64_t>(table.blocks.size()));
    for (; table.first_live < first_live; ++table.first_live) {
      BlockIndex& block = table.blocks[static_cast<size_t>(table.first_live)];
      pools_[g].Release(block);
      block = kNoBlock;
    }
  }
}

void StateStore::Release(Sequence& sequence) {
  for (size_t g = 0; g < pools_.size(); ++g) {
    Sequence::Table& table = sequence.tables_[g];
    for (size_t i = table.blocks.size(); i > static_cast<size_t>(table.first_live); --i) {
      pools_[g].Release(table.blocks[i - 1]);
    }
    table.blocks.clear();
    table.first_live = 0;
    if (!sequence.promised_.empty()) {
      Promise(sequence, g, 0);
    }
  }
}

void StateStore::Promise(Sequence& sequence, std::span<const int64_t> units) {
  sequence.promised_.resize(pools_.size(), 0);
  for (size_t g = 0; g < pools_.size(); ++g) {
    Promise(sequence, g, std::max<int64_t>(0, units[g] - sequence.tables_[g].num_held()));
  }
}

void StateStore::Promise(Sequence& sequence, size_t group, int64_t units) {
  promised_[group] += units - sequence.promised_[group];
  sequence.promised_[group] = units;
}

int64_t StateStore::blocks_used() const {
  int64_t used = 0;
  for (const KvBlockPool& pool : pools_) {
    used += pool.num_used();
  }
  return used;
}

int64_t StateStore::blocks_total() const {
  int64_t total = 0;
  for (const KvBlockPool& pool : pools_) {
    total += pool.capacity();
  }
  return total;
}

Status StateStore::CheckIntegrity(std::span<const Sequence* const> residents) const {
  for (size_t g = 0; g < pools_.size(); ++g) {
    RETURN_IF_ERROR(pools_[g].CheckIntegrity());
    std::vector<uint32_t> references(static_cast<size_t>(pools_[g].capacity()), 0);
    int64_t promised = 0;
    for (const Sequence* sequence : residents) {
      const Sequence::Table& table = sequence->tables_[g];
      promised += sequence->promised_.empty() ? 0 : sequence->promised_[g];
      if (sequence->computed_ > static_cast<int64_t>(table.blocks.size()) * kBlockTokens) {
        return ErrorF(
            StatusCode::kInternal, "sequence %d outgrew its blocks", sequence->id().value());
      }
      for (size_t i = 0; i < table.blocks.size(); ++i) {
        const bool live = i >= static_cast<size_t>(table.first_live);
        if (live != (table.blocks[i] != kNoBlock)) {
          return ErrorF(StatusCode::kInternal,
                        "sequence %d: entry %d of group %d is wrong",
                        sequence->id().value(),
                        i,
                        g);
        }
        if (live) {
          ++references[table.blocks[i]];
        }
      }
    }
    if (promised != promised_[g]) {
      return ErrorF(StatusCode::kInternal, "group %d: promises do not add up", g);
    }
    for (size_t block = 0; block < references.size(); ++block) {
      if (references[block] != pools_[g].references(static_cast<BlockIndex>(block))) {
        return ErrorF(StatusCode::kInternal,
                      "block %d of group %d: %d references, %d holders",
                      block,
                      g,
                      pools_[g].references(static_cast<BlockIndex>(block)),
                      references[block]);
      }
    }
  }
  return OkStatus();
}

}  // namespace inferd
