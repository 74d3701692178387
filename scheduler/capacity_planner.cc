#include "scheduler/capacity_planner.h"

#include <algorithm>
#include <tuple>

namespace inferd {

CapacityPlanner::Candidate CapacityPlanner::NextToAdmit(bool over_served) const {
  const uint64_t floor = tenants_.Floor();
  using Order = std::tuple<TimePoint, uint64_t, FlowIndex>;
  Sequence* best = nullptr;
  Order best_order(TimePoint::max(), ServicePolicy::kNoWindow, 0);
  const std::span<const uint64_t> keys = tenants_.backlogged_keys();
  for (FlowIndex flow = 0; flow < lane_.num_queues(); ++flow) {
    const uint64_t key = keys[flow];
    // Without deadlines the key alone decides, and the queue need not be looked at.
    if (key == ServicePolicy::kNoWindow ||
        (!lane_.any_due() && key >= std::get<uint64_t>(best_order)) ||
        tenants_.above_window(key, floor) != over_served || lane_.queue(flow).empty()) {
      continue;
    }
    Sequence* head = HeadOf(flow);
    if (head == nullptr) {
      continue;
    }
    const bool in_window = tenants_.in_reorder_window(flow, floor);
    const Order order(in_window ? head->DueIfInTime(limits_.now) : TimePoint::max(), key, flow);
    if (best == nullptr || order < best_order) {
      best = head;
      best_order = order;
    }
  }
  return {.sequence = best, .again = best != nullptr && best->preempted_in_ == limits_.plan_id};
}

// The first of the flow that is within its tenant's caps: flows may be shared by several tenants.
Sequence* CapacityPlanner::HeadOf(FlowIndex flow) const {
  for (const auto& [key, sequence] : lane_.queue(flow)) {
    if (sequence->tenant_->MayRun(sequence->spec().tokens_max)) {
      return sequence;
    }
  }
  return nullptr;
}

// What is known, and of the output that may follow the share that the tenant usually uses. The
// last token of a sequence is never computed.
std::vector<int64_t> CapacityPlanner::ExpectedUnits(const Sequence& sequence) const {
  const int64_t tokens_max = sequence.spec().tokens_max;
  const int64_t output = sequence.tenant_->ExpectedOutput(tokens_max - sequence.num_tokens());
  const int64_t end = std::min(tokens_max - 1, sequence.num_tokens() + output);
  std::vector<int64_t> units;
  for (size_t g = 0; g < lane_.store().num_groups(); ++g) {
    units.push_back(lane_.store().UnitsFor(g, end, limits_.step_tokens_max));
  }
  return units;
}

// Units of each group that are lacking for what the sequence is expected to need.
std::vector<int64_t> CapacityPlanner::Lacking(const Sequence& sequence) const {
  std::vector<int64_t> lacking = ExpectedUnits(sequence);
  for (size_t g = 0; g < lacking.size(); ++g) {
    lacking[g] += lane_.store().promised(g) - sequence.tables_[g].num_held() -
                  lane_.store().available(g, sequence);
  }
  return lacking;
}

bool CapacityPlanner::MakeRoomToAdmit(const Sequence& sequence, bool alone) {
  if (alone && lane_.num_running() < limits_.running_max) {
    return true;
  }
  const uint64_t floor = tenants_.Floor();
  std::vector<int64_t> lacking = Lacking(sequence);
  int64_t rows_lacking = lane_.num_running() + 1 - limits_.running_max;
  const auto enough = [&] {
    return rows_lacking <= 0 &&
           std::all_of(lacking.begin(), lacking.end(), [](int64_t units) { return units <= 0; });
  };
  if (enough()) {
    return true;
  }
  if (lane_.num_paused_running() == 0 && !tenants_.AnyResidentOverServed(floor)) {
    return false;
  }
  for (const Sequence* victim : lane_.running()) {
    if (MayYield(*victim, floor)) {
      --rows_lacking;
      for (size_t g = 0; g < lacking.size(); ++g) {
        lacking[g] -= victim->tables_[g].num_held() + victim->promised_[g];
      }
    }
  }
  while (enough()) {  // blocks that victims share with others may make it less than was counted
    Sequence* victim = VictimForAdmission(floor);
    if (victim == nullptr) {
      return false;
    }
    Preempt(*victim, sequence);
    const std::vector<int64_t> left = Lacking(sequence);
    if (lane_.num_running() < limits_.running_max &&
        std::all_of(left.begin(), left.end(), [](int64_t units) { return units <= 0; })) {
      return true;
    }
  }
  return false;
}

// Paused, or of an over-served flow; and no step reads its state.
bool CapacityPlanner::MayYield(const Sequence& sequence, uint64_t floor) const {
  return sequence.state_ == SequenceState::kRunning && !sequence.in_flight() &&
         (sequence.paused_ || tenants_.over_served(sequence.flow_, floor));
}

// a gives way before b does: paused first, then the flow with more service, the lower class, the
// younger sequence.
bool CapacityPlanner::YieldsBefore(const Sequence& a, const Sequence& b) const {
  const auto rank = [this](const Sequence& sequence) {
    return std::tuple(
        sequence.paused_, tenants_.flow(sequence.flow_).key, sequence.class_order_, sequence.id());
  };
  return rank(a) > rank(b);
}

Sequence* CapacityPlanner::VictimForAdmission(uint64_t floor) const {
  Sequence* victim = nullptr;
  for (Sequence* candidate : lane_.running()) {
    if (MayYield(*candidate, floor) && (victim == nullptr || YieldsBefore(*candidate, *victim))) {
      victim = candidate;
    }
  }
  return victim;
}

Sequence* CapacityPlanner::VictimForGrowth(const Sequence& sequence) const {
  Sequence* victim = nullptr;
  for (Sequence* candidate : lane_.running()) {
    if (candidate != &sequence && candidate->state_ == SequenceState::kRunning &&
        !candidate->in_flight() && YieldsBefore(*candidate, sequence) &&
        (victim == nullptr || YieldsBefore(*candidate, *victim))) {
      victim = candidate;
    }
  }
  return victim;
}

int64_t CapacityPlanner::MakeRoomToGrow(Sequence& sequence, int64_t n_tokens) {
  if (n_tokens == 0) {
    return 0;
  }
  lane_.store().DropBehindWindow(sequence);
  if (lane_.store().HasUnitsFor(sequence, sequence.computed_ + n_tokens)) {
    return n_tokens;
  }
  int64_t fit = lane_.store().TokensThatFit(sequence);
  while (fit < n_tokens) {
    Sequence* victim = VictimForGrowth(sequence);
    if (victim == nullptr) {
      break;
    }
    Preempt(*victim, sequence);
    fit = lane_.store().TokensThatFit(sequence);
  }
  return std::min(fit, n_tokens);
}

// The victim's way back, by copies or by computing again, is charged to the flow that took its
// room; to the victim it is free (its high-water mark).
void CapacityPlanner::Preempt(Sequence& victim, const Sequence& beneficiary) {
  tenants_.Charge(beneficiary.flow_, lane_.spec().costs.prompt_token * lane_.Preempt(victim));
  victim.preempted_in_ = limits_.plan_id;
  plan_.preempted.push_back(victim.id());
}

void CapacityPlanner::RenewPromise(Sequence& sequence) {
  lane_.store().Promise(sequence, ExpectedUnits(sequence));
}

}  // namespace inferd
