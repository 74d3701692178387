#include "scheduler/state_store.h"

#include <algorithm>
#include <optional>

#include "base/check.h"
#include "scheduler/tenant_table.h"

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
    int64_t wanted = group.kind == StateKind::kSlot ? 1 : StateGroup::BlocksFor(tokens - 1);
    if (group.window > 0) {
      wanted = std::min(wanted, WindowBlocks(group));
    }
    if (wanted > units[g]) {
      return ErrorF(StatusCode::kResourceExhausted,
                    "a sequence of %d tokens needs %d units of state, the pool has %d",
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
    if (group.kind == StateKind::kSlot) {
      tokens = units[g] > 0 ? tokens : 0;
    } else if (group.window == 0 || units[g] < WindowBlocks(group)) {
      tokens = std::min(tokens, units[g] * kBlockTokens + 1);
    }
  }
  return tokens;
}

StateStore::StateStore(ModelGeometry geometry, std::span<const int64_t> units)
    : geometry_(std::move(geometry)),
      pools_(units.begin(), units.end()),
      cache_(geometry_, pools_),
      num_slot_groups_(
          std::count_if(geometry_.groups.begin(),
                        geometry_.groups.end(),
                        [](const StateGroup& group) { return group.kind == StateKind::kSlot; })),
      has_windows_(std::any_of(geometry_.groups.begin(),
                               geometry_.groups.end(),
                               [](const StateGroup& group) { return group.window > 0; })),
      promised_(units.size(), 0) {
  CHECK(units.size() == geometry_.groups.size());
}

void StateStore::Attach(Sequence& sequence) {
  sequence.tables_.resize(pools_.size());
  if (const PromptPrefix* prefix = sequence.spec().prefix.get(); prefix != nullptr) {
    CHECK(prefix->keys.size() == sequence.prompt().size() / kBlockTokens);
    sequence.domain_ =
        cache_.EnterDomain(prefix->root, sequence.tenant_->spec.cached_blocks_guaranteed);
  }
}

void StateStore::Detach(Sequence& sequence) {
  if (sequence.domain_ != kNoDomain) {
    cache_.LeaveDomain(std::exchange(sequence.domain_, kNoDomain));
  }
}

namespace {

BlockTokens TokensOf(const Sequence& sequence, int64_t block) {
  BlockTokens tokens;
  for (size_t i = 0; i < tokens.size(); ++i) {
    tokens[i] = sequence.token(block * kBlockTokens + static_cast<int64_t>(i));
  }
  return tokens;
}

}  // namespace

// All tokens of the block are known.
const Digest& StateStore::KeyOf(Sequence& sequence, int64_t block) {
  const PromptPrefix& prefix = *sequence.spec().prefix;
  const int64_t in_prompt = static_cast<int64_t>(prefix.keys.size());
  if (block < in_prompt) {
    return prefix.keys[static_cast<size_t>(block)];
  }
  std::vector<Digest>& keys = sequence.output_keys_;
  while (static_cast<int64_t>(keys.size()) <= block - in_prompt) {
    const int64_t next = in_prompt + static_cast<int64_t>(keys.size());
    const Digest& parent = next == 0 ? prefix.root : KeyOf(sequence, next - 1);
    keys.push_back(ChainKey(parent, TokensOf(sequence, next)));
  }
  return keys[static_cast<size_t>(block - in_prompt)];
}

PrefixCache::Match StateStore::Find(Sequence& sequence) {
  const PromptPrefix& prefix = *sequence.spec().prefix;
  // At least one token is computed, for its logits.
  const int64_t blocks = (sequence.num_tokens() - 1) / kBlockTokens;
  PrefixCache::Match match = cache_.Find(
      blocks,
      [&](int64_t i) -> const Digest& { return KeyOf(sequence, i); },
      [&](int64_t i) {
        return i < static_cast<int64_t>(prefix.public_keys.size())
                   ? &prefix.public_keys[static_cast<size_t>(i)]
                   : nullptr;
      },
      [&](int64_t i, BlockTokens& tokens) { tokens = TokensOf(sequence, i); });
  return match;
}

void StateStore::Adopt(Sequence& sequence) {
  if (sequence.domain_ == kNoDomain) {
    return;
  }
  const PrefixCache::Match match = Find(sequence);
  const int64_t end = match.num_blocks * kBlockTokens;
  for (size_t g = 0; g < pools_.size(); ++g) {
    Sequence::Table& table = sequence.tables_[g];
    CHECK(table.blocks.empty());
    if (is_slot(g)) {
      if (match.num_blocks > 0) {
        table.blocks.push_back(
            cache_.unit(match.entries[static_cast<size_t>(match.num_blocks - 1)], g));
        table.borrowed = true;
        pools_[g].AddReference(table.blocks[0]);
        cache_.OnTaken(g, table.blocks[0]);
      }
      continue;
    }
    table.first_live = std::min(geometry_.groups[g].FirstLiveBlock(end), match.num_blocks);
    table.blocks.reserve(static_cast<size_t>(StateGroup::BlocksFor(sequence.spec().tokens_max)));
    for (int64_t i = 0; i < match.num_blocks; ++i) {
      BlockIndex unit = kNoBlock;
      if (i >= table.first_live) {
        unit = cache_.unit(match.entries[static_cast<size_t>(i)], g);
        pools_[g].AddReference(unit);
        cache_.OnTaken(g, unit);
      }
      table.blocks.push_back(unit);
    }
  }
  for (size_t g = 0; g < pools_.size(); ++g) {
    if (sequence.tables_[g].borrowed && available(g, sequence) == 0) {
      Release(sequence);  // no slot to copy the checkpoint to, unless it gives way itself
      return;
    }
  }
  sequence.computed_ = end;
  sequence.covered_ = Covered(sequence);
  sequence.published_blocks_ = match.num_blocks;
  sequence.junction_ = match.num_full_blocks * kBlockTokens;
}

void StateStore::CountHit(const Sequence& sequence) {
  if (sequence.domain_ != kNoDomain) {
    cache_.CountLookup({.looked_up = (sequence.num_tokens() - 1) / kBlockTokens * kBlockTokens,
                        .hit = sequence.computed_,
                        .in_full_groups = sequence.junction_});
  }
}

// The prompt's last boundary, for the same prompt again; where a match ended that had no
// checkpoint, for the third prompt that parts there; where the caller says; and now and then in
// the output (families of recurrent models differ in no other way).
std::optional<int64_t> StateStore::NextCheckpointOfSlots(const Sequence& sequence,
                                                         int64_t grid) const {
  constexpr int64_t kOutputInterval = 1024;
  grid = std::max<int64_t>(grid, kBlockTokens);
  std::optional<int64_t> next;
  const auto consider = [&](int64_t position) {
    position = position / grid * grid;
    if (position > sequence.computed_ && position < next.value_or(sequence.num_tokens() + 1)) {
      next = position;
    }
  };
  consider(sequence.num_prompt_tokens() - 1);
  consider(sequence.junction_);
  for (const int64_t boundary : sequence.spec().prefix->boundaries) {
    consider(boundary);
  }
  if (const int64_t position = (sequence.computed_ / kOutputInterval + 1) * kOutputInterval;
      position > sequence.num_prompt_tokens()) {
    consider(position);
  }
  return next;
}

std::vector<BlockIndex> StateStore::TakeCheckpoint(const Sequence& sequence,
                                                   std::vector<StateCopy>& copies) {
  for (size_t g = 0; g < pools_.size(); ++g) {
    if (is_slot(g) && available(g, sequence) == 0) {
      return {};
    }
  }
  std::vector<BlockIndex> checkpoint(pools_.size(), kNoBlock);
  for (size_t g = 0; g < pools_.size(); ++g) {
    if (is_slot(g)) {
      checkpoint[g] = Take(g, sequence);
      copies.push_back({.group = g, .from = sequence.tables_[g].blocks[0], .to = checkpoint[g]});
    }
  }
  return checkpoint;
}

void StateStore::GiveBackCheckpoint(std::span<const BlockIndex> checkpoint) {
  for (size_t g = 0; g < checkpoint.size(); ++g) {
    if (checkpoint[g] != kNoBlock) {
      GiveBack(g, checkpoint[g]);
    }
  }
}

void StateStore::Publish(Sequence& sequence, int64_t end, std::span<const BlockIndex> checkpoint) {
  if (sequence.domain_ == kNoDomain) {
    return;
  }
  std::vector<BlockIndex> units(pools_.size());
  for (; sequence.published_blocks_ < end / kBlockTokens; ++sequence.published_blocks_) {
    const int64_t block = sequence.published_blocks_;
    const bool is_last = (block + 1) * kBlockTokens == end;
    for (size_t g = 0; g < pools_.size(); ++g) {
      units[g] = !is_slot(g) ? sequence.tables_[g].blocks[static_cast<size_t>(block)]
                 : is_last && !checkpoint.empty() ? checkpoint[g]
                                                  : kNoBlock;
    }
    cache_.Insert(sequence.domain_,
                  KeyOf(sequence, block),
                  TokensOf(sequence, block),
                  units,
                  sequence.spec().prefix->registers_public);
  }
}

BlockIndex StateStore::Take(size_t group, const Sequence& sequence) {
  std::optional<BlockIndex> unit = pools_[group].Allocate();
  if (!unit.has_value()) {
    cache_.EvictOne(group, sequence.domain_);
    unit = pools_[group].Allocate();
  }
  CHECK(unit.has_value());  // TokensThatFit counted them
  return *unit;
}

void StateStore::GiveBack(size_t group, BlockIndex unit) {
  pools_[group].Release(unit);
  cache_.OnGivenBack(group, unit);
}

int64_t StateStore::UnitsFor(size_t group, int64_t end, int64_t chunk_tokens) const {
  if (is_slot(group)) {
    return 1;
  }
  const int64_t units = StateGroup::BlocksFor(end);
  if (geometry_.groups[group].window == 0) {
    return units;
  }
  return std::min(units,
                  WindowBlocks(geometry_.groups[group]) + StateGroup::BlocksFor(chunk_tokens));
}

int64_t StateStore::Covered(const Sequence& sequence) const {
  int64_t covered = kUnlimited;
  for (size_t g = 0; g < pools_.size(); ++g) {
    const Sequence::Table& table = sequence.tables_[g];
    const int64_t blocks = static_cast<int64_t>(table.blocks.size());
    if (table.borrowed || blocks == 0) {
      return 0;
    }
    covered = is_slot(g) ? covered : std::min(covered, blocks * kBlockTokens);
  }
  return covered;
}

int64_t StateStore::TokensThatFit(const Sequence& sequence) const {
  int64_t n_tokens = sequence.num_pending();
  for (size_t g = 0; g < pools_.size(); ++g) {
    if (is_slot(g)) {
      n_tokens = sequence.tables_[g].num_held() + available(g, sequence) > 0 ? n_tokens : 0;
      continue;
    }
    const int64_t blocks =
        static_cast<int64_t>(sequence.tables_[g].blocks.size()) + available(g, sequence);
    n_tokens = std::min(n_tokens, blocks * kBlockTokens - sequence.computed_);
  }
  return std::max<int64_t>(0, n_tokens);
}

bool StateStore::Grow(Sequence& sequence, int64_t end, std::vector<StateCopy>& copies) {
  if (HasUnitsFor(sequence, end)) {
    return false;
  }
  for (size_t g = 0; g < pools_.size(); ++g) {
    std::vector<BlockIndex>& blocks = sequence.tables_[g].blocks;
    if (std::exchange(sequence.tables_[g].borrowed, false)) {
      const BlockIndex checkpoint = blocks[0];
      blocks[0] = Take(g, sequence);
      copies.push_back({.group = g, .from = checkpoint, .to = blocks[0]});
      GiveBack(g, checkpoint);  // copies are made in order: who gets it next writes it later
    }
    const int64_t wanted = is_slot(g) ? 1 : StateGroup::BlocksFor(end);
    // Room for the whole sequence, so that plans in flight keep valid views.
    if (!is_slot(g)) {
      blocks.reserve(static_cast<size_t>(StateGroup::BlocksFor(sequence.spec().tokens_max)));
    }
    while (static_cast<int64_t>(blocks.size()) < wanted) {
      blocks.push_back(Take(g, sequence));
    }
  }
  sequence.covered_ = Covered(sequence);
  return true;
}

void StateStore::DropBlocksBehindWindow(Sequence& sequence) {
  for (size_t g = 0; g < pools_.size(); ++g) {
    if (geometry_.groups[g].window == 0) {
      continue;
    }
    Sequence::Table& table = sequence.tables_[g];
    const int64_t first_live = std::min(geometry_.groups[g].FirstLiveBlock(sequence.OldestStart()),
                                        static_cast<int64_t>(table.blocks.size()));
    for (; table.first_live < first_live; ++table.first_live) {
      BlockIndex& block = table.blocks[static_cast<size_t>(table.first_live)];
      GiveBack(g, block);
      block = kNoBlock;
    }
  }
}

// From the end, so that the cache keeps the start of a chain longest.
void StateStore::ReleaseUnits(Sequence& sequence) {
  for (size_t g = 0; g < pools_.size(); ++g) {
    Sequence::Table& table = sequence.tables_[g];
    for (size_t i = table.blocks.size(); i > static_cast<size_t>(table.first_live); --i) {
      GiveBack(g, table.blocks[i - 1]);
    }
    table.blocks.resize(static_cast<size_t>(table.first_live));
    table.borrowed = false;
    if (!sequence.promised_.empty()) {
      Promise(sequence, g, 0);
    }
  }
  sequence.covered_ = 0;
}

void StateStore::Release(Sequence& sequence) {
  ReleaseUnits(sequence);
  for (Sequence::Table& table : sequence.tables_) {
    table.blocks.clear();
    table.first_live = 0;
  }
  sequence.computed_ = 0;
  sequence.published_blocks_ = 0;
}

void StateStore::Restored(Sequence& sequence) {
  sequence.published_blocks_ = 0;
  for (size_t g = 0; g < pools_.size(); ++g) {
    sequence.published_blocks_ =
        std::max(sequence.published_blocks_, sequence.tables_[g].first_live);
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
  return used - blocks_cached();
}

int64_t StateStore::blocks_cached() const {
  int64_t cached = 0;
  for (size_t g = 0; g < pools_.size(); ++g) {
    cached += cache_.idle(g);
  }
  return cached;
}

int64_t StateStore::blocks_total() const {
  int64_t total = 0;
  for (const KvBlockPool& pool : pools_) {
    total += pool.capacity();
  }
  return total;
}

Status StateStore::CheckIntegrity(std::span<const Sequence* const> residents,
                                  std::span<const std::vector<BlockIndex>> checkpoints) const {
  RETURN_IF_ERROR(cache_.CheckIntegrity());
  std::vector<std::vector<uint32_t>> all_references;
  for (const KvBlockPool& pool : pools_) {
    all_references.emplace_back(static_cast<size_t>(pool.capacity()), 0);
  }
  cache_.CountReferences(all_references);
  for (size_t g = 0; g < pools_.size(); ++g) {
    RETURN_IF_ERROR(pools_[g].CheckIntegrity());
    std::vector<uint32_t>& references = all_references[g];
    for (const std::vector<BlockIndex>& checkpoint : checkpoints) {
      if (!checkpoint.empty() && checkpoint[g] != kNoBlock) {
        ++references[checkpoint[g]];
      }
    }
    int64_t promised = 0;
    for (const Sequence* sequence : residents) {
      const Sequence::Table& table = sequence->tables_[g];
      promised += sequence->promised_.empty() ? 0 : sequence->promised_[g];
      if (!is_slot(g) &&
          sequence->computed_ > static_cast<int64_t>(table.blocks.size()) * kBlockTokens) {
        return ErrorF(
            StatusCode::kInternal, "sequence %d outgrew its blocks", sequence->id().value());
      }
      if (sequence->covered_ != Covered(*sequence)) {
        return ErrorF(
            StatusCode::kInternal, "sequence %d miscounts its blocks", sequence->id().value());
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
