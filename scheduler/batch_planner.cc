#include "scheduler/batch_planner.h"

#include <algorithm>
#include <tuple>

#include "base/check.h"

namespace inferd {
namespace {

constexpr size_t kPrefetchAhead = 8;  // sequences
constexpr size_t kCacheLineBytes = 64;

}  // namespace

int64_t BatchPlanner::PrefillTokensMax() const {
  const StepTimeModel& time = lane_.step_time();
  if (!limits_.has_intervals || time.prefill_token_ns == 0) {
    return limits_.step_tokens_max;
  }
  int64_t decodes = 0;
  int64_t context = 0;
  std::optional<Duration> slack;
  for (const Sequence* sequence : lane_.running()) {
    if (!sequence->is_decode()) {
      continue;
    }
    ++decodes;
    context += sequence->num_tokens();
    if (sequence->token_interval_.has_value() && sequence->first_token_due_ != TimePoint::max()) {
      // One that is late is paced from now on: what was missed must not hold prefill down.
      const TimePoint planned =
          sequence->first_token_due_ +
          *sequence->token_interval_ * static_cast<int64_t>(sequence->output_.size());
      const TimePoint due =
          planned < limits_.now ? limits_.now + *sequence->token_interval_ : planned;
      slack = std::min(slack.value_or(due - limits_.now), due - limits_.now);
    }
  }
  if (!slack.has_value()) {
    return limits_.step_tokens_max;
  }
  const Duration left = *slack - time.Estimate(0, decodes, context);
  const int64_t tokens = left.count() / time.prefill_token_ns;
  return std::clamp<int64_t>(
      tokens,
      std::min<int64_t>(std::max<int64_t>(limits_.prefill_tokens_min, lane_.spec().chunk_grid),
                        limits_.step_tokens_max),
      limits_.step_tokens_max);
}

void BatchPlanner::Fill(bool serve_over_served) {
  plan_.rows.reserve(static_cast<size_t>(lane_.num_running()) + 8);
  draft_tokens_max_ = DraftTokensMax();
  GrantResidents(/*over_served=*/false);
  if (Admit(/*over_served=*/false) && passed_over_ && budget() > 0) {
    GrantResidents(/*over_served=*/false);
  }
  if (plan_.rows.empty() && serve_over_served) {
    GrantResidents(/*over_served=*/true);
    Admit(/*over_served=*/true);
  }
  if (plan_.rows.empty() && serve_over_served) {
    // Giving way makes a flow backlogged, which brings it back into the window: whom the first pass
    // took for over-served, the second may not have.
    GrantResidents(/*over_served=*/false);
  }
  tenants_.Settle();
  lane_.Compact();
  plan_.expected =
      lane_.step_time().Estimate(plan_.n_tokens - num_decodes_, num_decodes_, context_tokens_);
}

// Drafts spend budget that is left when all that can decode do; state that cannot be taken back,
// and a device whose results depend on how a prompt is cut, allow none (rule D6).
int64_t BatchPlanner::DraftTokensMax() const {
  if (limits_.speculation == nullptr || lane_.spec().chunk_grid != 1 || lane_.store().has_slots()) {
    return 0;
  }
  const std::span<Sequence* const> running = lane_.running();
  const int64_t rows = std::count_if(running.begin(), running.end(), [](const Sequence* sequence) {
    return sequence->state() == SequenceState::kRunning && sequence->is_decode();
  });
  return rows > 0 && limits_.speculation->on(rows)
             ? std::max<int64_t>(0, limits_.step_tokens_max / rows - 1)
             : 0;
}

void BatchPlanner::GrantResidents(bool over_served) {
  const uint64_t floor = tenants_.Floor();
  prefills_.clear();
  const std::span<Sequence* const> running = lane_.running();
  for (size_t i = 0; i < running.size(); ++i) {  // Preempt changes states, not this order
    // The sequences are far apart in memory: fetch ahead what the next ones are asked.
    if (i + kPrefetchAhead < running.size()) {
      const char* ahead = reinterpret_cast<const char*>(running[i + kPrefetchAhead]);
      __builtin_prefetch(ahead);
      __builtin_prefetch(ahead + kCacheLineBytes);
    }
    Sequence* sequence = running[i];
    if (sequence->state_ != SequenceState::kRunning || !sequence->plannable() ||
        sequence->granted_in_ == limits_.plan_id) {
      continue;
    }
    if (tenants_.over_served(sequence->flow_, floor) != over_served) {
      passed_over_ = true;
      continue;
    }
    if (!sequence->is_decode()) {
      prefills_.push_back(sequence);
    } else if (budget() > 0) {
      Grow(*sequence, 1);
    }
  }
  tenants_.Settle();
  const auto order = [this](const Sequence* sequence) {
    return std::tuple(sequence->DueIfInTime(limits_.now),
                      tenants_.flow(sequence->flow_).key,
                      sequence->class_order_,
                      sequence->id());
  };
  std::sort(prefills_.begin(), prefills_.end(), [&](const Sequence* a, const Sequence* b) {
    return order(a) < order(b);
  });
  for (Sequence* sequence : prefills_) {
    if (sequence->state_ == SequenceState::kRunning) {
      Grow(*sequence, ChunkTokens(*sequence));
    }
  }
  tenants_.Settle();
}

bool BatchPlanner::Admit(bool over_served) {
  const std::span<Sequence* const> running = lane_.running();
  const bool anyone_active =
      std::any_of(running.begin(), running.end(), [](const Sequence* sequence) {
        return sequence->state() == SequenceState::kRunning && !sequence->paused();
      });
  while (budget() > 0) {
    const CapacityPlanner::Candidate next = capacity_.NextToAdmit(over_served);
    if (next.sequence == nullptr) {
      return true;
    }
    Sequence& sequence = *next.sequence;
    const bool alone = !anyone_active && plan_.rows.empty();
    if (next.again) {
      return false;
    }
    const bool swapped = sequence.state_ == SequenceState::kSwapped;
    if (!swapped) {
      lane_.store().Adopt(sequence);
    }
    const int64_t n_tokens = ChunkTokens(sequence);
    if (n_tokens == 0 || !capacity_.MakeRoomToAdmit(sequence, alone) ||
        Grow(sequence, n_tokens) == 0) {
      if (!swapped) {
        lane_.store().Release(sequence);
      }
      return n_tokens == 0;  // the budget is too small for it: nobody is in its way
    }
    tenants_.Settle();
  }
  return true;
}

int64_t BatchPlanner::ChunkTokens(const Sequence& sequence) const {
  const int64_t prefill_left =
      std::max<int64_t>(0, prefill_tokens_max_ - (plan_.n_tokens - num_decodes_));
  int64_t n_tokens = std::min({sequence.num_pending(), budget(), prefill_left});
  const std::optional<int64_t> checkpoint =
      lane_.store().NextCheckpoint(sequence, lane_.spec().chunk_grid);
  if (checkpoint.has_value()) {  // a multiple of the grid
    const int64_t to_checkpoint = *checkpoint - sequence.computed_;
    if (n_tokens >= to_checkpoint) {
      return to_checkpoint;
    }
  }
  return CutAtGrid(sequence, n_tokens);
}

int64_t BatchPlanner::CutAtGrid(const Sequence& sequence, int64_t n_tokens) const {
  const int64_t grid = lane_.spec().chunk_grid;
  if (grid == 1 || n_tokens == sequence.num_pending()) {
    return n_tokens;
  }
  const int64_t end = (sequence.computed_ + n_tokens) / grid * grid;
  return std::max<int64_t>(0, end - sequence.computed_);
}

int64_t BatchPlanner::Grow(Sequence& sequence, int64_t n_tokens) {
  const int64_t fit = capacity_.MakeRoomToGrow(sequence, n_tokens);
  if (fit < n_tokens) {
    n_tokens = CutAtGrid(sequence, fit);
  }
  if (n_tokens == 0) {
    return 0;
  }
  const bool admitted = sequence.waits();
  const bool swapped = sequence.state_ == SequenceState::kSwapped;
  if (admitted) {
    lane_.Admit(sequence);
  }
  if (admitted && !swapped) {
    lane_.store().CountHit(sequence);
    const int64_t cached = sequence.computed_ - sequence.high_water_;
    if (cached > 0) {
      tenants_.Charge(sequence.flow_, lane_.spec().costs.cached_token * cached);
      sequence.high_water_ = sequence.computed_;
    }
  }
  if (lane_.store().Grow(sequence, sequence.computed_ + n_tokens, lane_.copies()) || admitted) {
    capacity_.RenewPromise(sequence);
  }
  if (swapped) {
    lane_.SwapIn(sequence);
  }
  Grant(sequence, n_tokens);
  return n_tokens;
}

void BatchPlanner::Grant(Sequence& sequence, int64_t n_tokens) {
  const int64_t start = sequence.computed_;
  const int64_t end = start + n_tokens;
  const bool sample = end == sequence.num_tokens();
  std::span<const TokenId> draft;
  if (sample && n_tokens == 1 && draft_tokens_max_ > 0 && !sequence.output_.empty()) {
    // Only into units that it has, and as far as its lease and its length go.
    draft = limits_.speculation->Draft(
        sequence,
        std::min(
            {draft_tokens_max_,
             budget() - 1,
             sequence.covered_ - end,
             sequence.leased_output_tokens_ - static_cast<int64_t>(sequence.output_.size()) - 1,
             sequence.spec().tokens_max - sequence.num_tokens() - 1}));
  }
  const auto n_draft = static_cast<int64_t>(draft.size());
  const ServiceCosts& costs = lane_.spec().costs;
  const int64_t recomputed = std::max<int64_t>(0, std::min(sequence.high_water_, end) - start);
  const int64_t prompt_tokens = std::max<int64_t>(
      0, std::min(end, sequence.num_prompt_tokens()) - std::max(start, sequence.high_water_));
  if (lane_.store().NextCheckpoint(sequence, lane_.spec().chunk_grid) == end) {
    if (std::vector<BlockIndex> checkpoint =
            lane_.store().TakeCheckpoint(sequence, plan_.copies_after);
        !checkpoint.empty()) {
      checkpoints_.emplace(plan_.rows.size(), std::move(checkpoint));
    }
  }
  tenants_.Charge(
      sequence.flow_,
      costs.prompt_token * (prompt_tokens + n_draft) + (sample ? costs.output_token : 0));
  recomputed_tokens_ += recomputed;
  sequence.granted_in_ = limits_.plan_id;
  sequence.high_water_ = std::max(sequence.high_water_, end);
  CHECK(sequence.num_in_flight_ < static_cast<int32_t>(sequence.starts_in_flight_.size()));
  sequence.starts_in_flight_[static_cast<size_t>(sequence.num_in_flight_++)] = start;
  plan_.rows.push_back({.sequence = &sequence,
                        .start = start,
                        .n_tokens = static_cast<int32_t>(n_tokens + n_draft),
                        .sample = sample,
                        .draft = draft});
  plan_.n_tokens += static_cast<int32_t>(n_tokens + n_draft);
  num_decodes_ += n_tokens == 1 ? 1 : 0;
  context_tokens_ += end;
  sequence.computed_ = end;
}

}  // namespace inferd
