#include "scheduler/model_lane.h"

#include <algorithm>
#include <limits>
#include <optional>

#include "base/check.h"

namespace inferd {
namespace {

// Blocks of a window that are live at once while positions are computed one by one.
int64_t WindowBlocks(const StateGroup& group) {
  return (group.window + kBlockTokens - 2) / kBlockTokens + 1;
}

bool IsPlannable(const Sequence& sequence) {
  return !sequence.paused() && sequence.num_pending() > 0;
}

bool IsDecode(const Sequence& sequence) {
  return IsPlannable(sequence) && sequence.num_pending() == 1;
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

ModelLane::ModelLane(ModelGeometry geometry,
                     std::span<const int64_t> units,
                     const SchedulerOptions& options)
    : geometry_(std::move(geometry)), options_(options) {
  CHECK(units.size() == geometry_.groups.size());
  for (const int64_t capacity : units) {
    pools_.emplace_back(capacity);
  }
}

void ModelLane::Enqueue(Sequence& sequence) {
  sequence.tables_.resize(pools_.size());
  waiting_.emplace(KeyOf(sequence), &sequence);
}

void ModelLane::Remove(Sequence& sequence) {
  CHECK(!sequence.in_flight());
  if (sequence.state_ == SequenceState::kWaiting) {
    waiting_.erase(KeyOf(sequence));
  } else {
    std::erase(running_, &sequence);
  }
  ReleaseBlocks(sequence);
}

bool ModelLane::HasWork() const {
  if (std::any_of(running_.begin(), running_.end(), [](const Sequence* sequence) {
        return sequence->state() == SequenceState::kRunning && IsPlannable(*sequence);
      })) {
    return true;
  }
  return num_running() < options_.running_max &&
         std::any_of(
             waiting_.begin(),
             waiting_.end(),
             [](const auto& entry) { return !entry.second->paused(); });
}

void ModelLane::Plan(StepPlan& plan) {
  GrantRunning(plan);
  // What was just preempted would only come back to be preempted again.
  if (plan.preempted.empty()) {
    Admit(plan);
  }
}

// One pass in order of arrival, so that older sequences get blocks first; a prefill leaves the
// budget that the decode rows behind it need, so that it never makes them skip a step.
void ModelLane::GrantRunning(StepPlan& plan) {
  decodes_left_ = std::count_if(running_.begin(), running_.end(), [](const Sequence* sequence) {
    return sequence->state() == SequenceState::kRunning && IsDecode(*sequence);
  });
  for (Sequence* sequence : running_) {  // Preempt() changes states, not this vector
    if (sequence->state_ != SequenceState::kRunning || !IsPlannable(*sequence)) {
      continue;
    }
    if (IsDecode(*sequence)) {
      --decodes_left_;
    }
    const int64_t budget = options_.step_tokens_max - plan.n_tokens - decodes_left_;
    int64_t n_tokens = IsDecode(*sequence)
                           ? std::min<int64_t>(1, options_.step_tokens_max - plan.n_tokens)
                           : ChunkTokens(*sequence, budget);
    n_tokens = Reserve(*sequence, n_tokens, plan, /*may_preempt=*/true);
    if (n_tokens > 0) {
      Grant(*sequence, n_tokens, plan);
    }
  }
  std::erase_if(running_, [](const Sequence* sequence) {
    return sequence->state() == SequenceState::kWaiting;
  });
}

void ModelLane::Admit(StepPlan& plan) {
  const bool anyone_active =
      std::any_of(running_.begin(), running_.end(), [](const Sequence* sequence) {
        return !sequence->paused();
      });
  for (auto it = waiting_.begin(); it != waiting_.end();) {
    Sequence& sequence = *it->second;
    if (sequence.paused()) {
      ++it;
      continue;
    }
    const bool alone = !anyone_active && plan.rows.empty();
    if (num_running() >= options_.running_max || (!alone && !CanAdmit(sequence))) {
      break;
    }
    int64_t n_tokens = ChunkTokens(sequence, options_.step_tokens_max - plan.n_tokens);
    // Alone, it may take the blocks of paused sequences: nothing else would ever run.
    n_tokens = Reserve(sequence, n_tokens, plan, /*may_preempt=*/alone);
    std::erase_if(running_, [](const Sequence* victim) {
      return victim->state() == SequenceState::kWaiting;
    });
    if (n_tokens == 0) {
      break;
    }
    it = waiting_.erase(it);
    sequence.state_ = SequenceState::kRunning;
    sequence.preempted_ = false;
    const auto place = std::upper_bound(
        running_.begin(), running_.end(), &sequence, [](const Sequence* a, const Sequence* b) {
          return a->id() < b->id();
        });
    running_.insert(place, &sequence);
    Grant(sequence, n_tokens, plan);
    if (!plan.preempted.empty()) {
      break;
    }
  }
}

// Units that the sequence will hold once it is computed and 64 tokens further: an admission is
// worth nothing if its blocks are taken back before it has drawn a few tokens.
int64_t ModelLane::UnitsWanted(const Sequence& sequence, size_t group) const {
  const int64_t end =
      std::min(sequence.spec().tokens_max - 1, sequence.num_tokens() + kBlockTokens);
  const int64_t units = StateGroup::BlocksFor(end);
  if (geometry_.groups[group].window == 0) {
    return units;
  }
  return std::min(
      units,
      WindowBlocks(geometry_.groups[group]) + StateGroup::BlocksFor(options_.step_tokens_max));
}

bool ModelLane::CanAdmit(const Sequence& sequence) const {
  for (size_t g = 0; g < pools_.size(); ++g) {
    int64_t wanted = UnitsWanted(sequence, g);
    for (const Sequence* other : running_) {
      wanted += std::max<int64_t>(0, UnitsWanted(*other, g) - other->tables_[g].num_held());
    }
    if (wanted > pools_[g].num_free()) {
      return false;
    }
  }
  return true;
}

int64_t ModelLane::ChunkTokens(const Sequence& sequence, int64_t budget) const {
  return CutAtBlock(sequence, std::min(sequence.num_pending(), std::max<int64_t>(budget, 0)));
}

int64_t ModelLane::CutAtBlock(const Sequence& sequence, int64_t n_tokens) const {
  if (!options_.cut_at_blocks || n_tokens == sequence.num_pending()) {
    return n_tokens;
  }
  const int64_t end = (sequence.computed_ + n_tokens) / kBlockTokens * kBlockTokens;
  return std::max<int64_t>(0, end - sequence.computed_);
}

// Pending positions for which the sequence's blocks and the free ones are enough.
int64_t ModelLane::TokensThatFit(const Sequence& sequence) const {
  int64_t n_tokens = sequence.num_pending();
  for (size_t g = 0; g < pools_.size(); ++g) {
    const int64_t blocks =
        static_cast<int64_t>(sequence.tables_[g].blocks.size()) + pools_[g].num_free();
    n_tokens = std::min(n_tokens, blocks * kBlockTokens - sequence.computed_);
  }
  return std::max<int64_t>(0, n_tokens);
}

// Gives the sequence blocks for n_tokens more positions, or for as many as can be had. Returns how
// many.
int64_t ModelLane::Reserve(Sequence& sequence, int64_t n_tokens, StepPlan& plan, bool may_preempt) {
  if (n_tokens == 0) {
    return 0;
  }
  DropBehindWindow(sequence);
  int64_t fit = TokensThatFit(sequence);
  while (fit < n_tokens && may_preempt && PreemptFor(sequence, plan)) {
    fit = TokensThatFit(sequence);
  }
  if (fit < n_tokens) {
    n_tokens = CutAtBlock(sequence, fit);
  }
  const int64_t wanted = n_tokens == 0 ? 0 : StateGroup::BlocksFor(sequence.computed_ + n_tokens);
  for (size_t g = 0; g < pools_.size(); ++g) {
    std::vector<BlockIndex>& blocks = sequence.tables_[g].blocks;
    // Room for the whole sequence, so that plans in flight keep valid views.
    blocks.reserve(static_cast<size_t>(StateGroup::BlocksFor(sequence.spec().tokens_max)));
    while (static_cast<int64_t>(blocks.size()) < wanted) {
      const std::optional<BlockIndex> block = pools_[g].Allocate();
      CHECK(block.has_value());  // TokensThatFit counted them
      blocks.push_back(*block);
    }
  }
  return n_tokens;
}

// The youngest sequence that may give way to `sequence`: paused ones before those that run, then
// only such as came later. False if there is none. Steps in flight read their sequences' blocks.
bool ModelLane::PreemptFor(const Sequence& sequence, StepPlan& plan) {
  Sequence* victim = nullptr;
  for (auto it = running_.rbegin(); it != running_.rend(); ++it) {
    Sequence* candidate = *it;
    if (candidate == &sequence || candidate->state_ != SequenceState::kRunning ||
        candidate->in_flight()) {
      continue;
    }
    if (candidate->paused()) {
      victim = candidate;
      break;
    }
    if (victim == nullptr && candidate->id() > sequence.id()) {
      victim = candidate;
    }
  }
  if (victim == nullptr) {
    return false;
  }
  Preempt(*victim, plan);
  return true;
}

void ModelLane::Preempt(Sequence& victim, StepPlan& plan) {
  if (IsDecode(victim)) {
    --decodes_left_;  // unpaused victims come later in the pass
  }
  ReleaseBlocks(victim);
  victim.computed_ = 0;
  victim.state_ = SequenceState::kWaiting;
  victim.preempted_ = true;
  ++victim.preemptions_;
  waiting_.emplace(KeyOf(victim), &victim);
  plan.preempted.push_back(victim.id());
}

// Frees blocks that neither the pending positions nor a step in flight can see.
void ModelLane::DropBehindWindow(Sequence& sequence) {
  for (size_t g = 0; g < pools_.size(); ++g) {
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

void ModelLane::ReleaseBlocks(Sequence& sequence) {
  for (size_t g = 0; g < pools_.size(); ++g) {
    Sequence::Table& table = sequence.tables_[g];
    for (size_t i = table.blocks.size(); i > static_cast<size_t>(table.first_live); --i) {
      pools_[g].Release(table.blocks[i - 1]);
    }
    table.blocks.clear();
    table.first_live = 0;
  }
}

void ModelLane::Grant(Sequence& sequence, int64_t n_tokens, StepPlan& plan) {
  const int64_t end = sequence.computed_ + n_tokens;
  recomputed_tokens_ += static_cast<uint64_t>(
      std::max<int64_t>(0, std::min(sequence.high_water_, end) - sequence.computed_));
  sequence.high_water_ = std::max(sequence.high_water_, end);
  CHECK(sequence.num_in_flight_ < static_cast<int32_t>(sequence.starts_in_flight_.size()));
  sequence.starts_in_flight_[static_cast<size_t>(sequence.num_in_flight_++)] = sequence.computed_;
  plan.rows.push_back({.sequence = &sequence,
                       .start = sequence.computed_,
                       .n_tokens = static_cast<int32_t>(n_tokens),
                       .sample = end == sequence.num_tokens()});
  plan.n_tokens += static_cast<int32_t>(n_tokens);
  sequence.computed_ = end;
}

SequenceId ModelLane::OldestId() const {
  CHECK(!running_.empty() || !waiting_.empty());
  SequenceId oldest(std::numeric_limits<uint64_t>::max());
  if (!running_.empty()) {
    oldest = running_.front()->id();
  }
  if (!waiting_.empty()) {
    oldest = std::min(oldest, waiting_.begin()->second->id());
  }
  return oldest;
}

int64_t ModelLane::blocks_used() const {
  int64_t used = 0;
  for (const KvBlockPool& pool : pools_) {
    used += pool.num_used();
  }
  return used;
}

int64_t ModelLane::blocks_total() const {
  int64_t total = 0;
  for (const KvBlockPool& pool : pools_) {
    total += pool.capacity();
  }
  return total;
}

Status ModelLane::CheckIntegrity() const {
  if (!std::is_sorted(running_.begin(), running_.end(), [](const Sequence* a, const Sequence* b) {
        return a->id() < b->id();
      })) {
    return ErrorF(StatusCode::kInternal, "running sequences are out of order");
  }
  for (const auto& [key, sequence] : waiting_) {
    if (sequence->state_ != SequenceState::kWaiting || key != KeyOf(*sequence)) {
      return ErrorF(StatusCode::kInternal, "sequence %d waits wrongly", sequence->id().value());
    }
  }
  for (size_t g = 0; g < pools_.size(); ++g) {
    RETURN_IF_ERROR(pools_[g].CheckIntegrity());
    std::vector<uint32_t> references(static_cast<size_t>(pools_[g].capacity()), 0);
    for (const Sequence* sequence : running_) {
      const Sequence::Table& table = sequence->tables_[g];
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
