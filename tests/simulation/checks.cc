#include "tests/simulation/checks.h"

#include <absl/strings/str_format.h>

#include <algorithm>

namespace inferd::sim {
namespace {

constexpr uint64_t kIntegrityEvery = 4;  // events; it looks at every unit

bool KeepsTenantsApart(PolicyKind kind) { return kind == PolicyKind::kFair; }

std::string Of(SequenceId id) { return absl::StrFormat("sequence %d", id.value()); }

}  // namespace

Checks::Checks(const Workload& workload, const Scheduler& scheduler)
    : workload_(workload),
      scheduler_(scheduler),
      fairness_(static_cast<double>(workload.policy.theta)) {}

void Checks::Fail(const char* check, std::string what) {
  if (!violation_.has_value()) {
    violation_ = Violation{
        .check = check, .what = std::move(what), .at = now_.time_since_epoch(), .step = steps_};
  }
}

void Checks::OnEnd(SequenceId id) {
  live_.erase(id);
  ended_.insert(id);
  tables_.erase(id);
  paused_since_.erase(id);
}

void Checks::BeforePlan() {
  const std::span<const Flow> flows = scheduler_.tenants().flows();
  anyone_waited_ =
      std::any_of(flows.begin(), flows.end(), [](const Flow& flow) { return flow.backlogged(); });
}

void Checks::OnPlan(const StepPlan& plan,
                    TimePoint now,
                    const std::set<SequenceId>& at_lease_edge) {
  now_ = now;
  steps_ += plan.empty() ? 0 : 1;
  CheckBudget(plan);
  for (const PlanRow& row : plan.rows) {
    CheckRow(plan, row);
  }
  CheckInFlight(plan);
  CheckWork(plan, at_lease_edge);
  CheckOverdue();
  if (KeepsTenantsApart(workload_.policy.kind)) {
    if (auto wrong = fairness_.AfterPlan(scheduler_.tenants()); wrong.has_value()) {
      Fail(check::kFairness, std::move(*wrong));
    }
  }
  RememberBacklog();
}

void Checks::CheckBudget(const StepPlan& plan) {
  int64_t tokens = 0;
  std::set<SequenceId> seen;
  for (const PlanRow& row : plan.rows) {
    tokens += row.n_tokens;
    if (!seen.insert(row.sequence->id()).second) {
      Fail(check::kBudget, Of(row.sequence->id()) + " has two rows in one plan");
    }
  }
  if (tokens != plan.n_tokens || tokens > workload_.device.step_tokens_max ||
      std::ssize(plan.rows) > workload_.device.running_max) {
    Fail(check::kBudget,
         absl::StrFormat("%d tokens (said: %d) of %d and %d rows of %d",
                         tokens,
                         plan.n_tokens,
                         workload_.device.step_tokens_max,
                         plan.rows.size(),
                         workload_.device.running_max));
  }
}

void Checks::CheckRow(const StepPlan& plan, const PlanRow& row) {
  const Sequence& sequence = *row.sequence;
  const int64_t end = row.end();
  if (ended_.contains(sequence.id())) {
    Fail(check::kCancel, Of(sequence.id()) + " is granted tokens after its end");
  }
  if (sequence.paused()) {
    Fail(check::kCancel, Of(sequence.id()) + " is granted tokens while it is paused");
  }
  if (sequence.spec().model != plan.model || end <= row.start || row.start < 0 ||
      (!row.draft.empty() &&
       (!row.sample || end + std::ssize(row.draft) >= sequence.spec().tokens_max)) ||
      end > sequence.num_tokens() || row.sample != (end == sequence.num_tokens())) {
    Fail(check::kBudget,
         absl::StrFormat("%s: row [%d, %d) of %d tokens makes no sense",
                         Of(sequence.id()),
                         row.start,
                         end,
                         sequence.num_tokens()));
  }
  if (workload_.device.cut_at_blocks && !row.sample && end % kBlockTokens != 0) {
    Fail(check::kChunks, absl::StrFormat("%s is cut at %d, off the grid", Of(sequence.id()), end));
  }
  CheckTables(row, workload_.models[plan.model.value()].groups.size());
}

// Entries never change while a sequence keeps its state, but for those behind the window.
void Checks::CheckTables(const PlanRow& row, size_t n_groups) {
  const SequenceId id = row.sequence->id();
  std::vector<std::vector<BlockIndex>>& known = tables_[id];
  if (known.size() != n_groups || preemptions_[id] != row.sequence->num_preemptions()) {
    known.assign(n_groups, {});
    preemptions_[id] = row.sequence->num_preemptions();
  }
  const std::vector<GroupSetup>& groups =
      workload_.models[row.sequence->spec().model.value()].groups;
  for (size_t g = 0; g < n_groups; ++g) {
    if (groups[g].kind == StateKind::kSlot) {
      continue;  // a cached state is exchanged for one of its own
    }
    const std::span<const BlockIndex> table = row.sequence->block_table(g);
    bool same = table.size() >= known[g].size();
    for (size_t i = 0; same && i < known[g].size(); ++i) {
      same = table[i] == known[g][i] || table[i] == kNoBlock;
    }
    if (!same) {
      Fail(check::kTables, absl::StrFormat("%s: the table of group %d changed", Of(id), g));
    }
    known[g].assign(table.begin(), table.end());
  }
}

// No step in flight may lose a unit to another sequence's writes.
void Checks::CheckInFlight(const StepPlan& plan) {
  InUse use{.epoch = plan.epoch, .units = {}};
  const uint32_t model = plan.model.value();
  for (const PlanRow& row : plan.rows) {
    const SequenceId id = row.sequence->id();
    const std::vector<GroupSetup>& groups = workload_.models[model].groups;
    for (size_t g = 0; g < groups.size(); ++g) {
      const std::span<const BlockIndex> table = row.sequence->block_table(g);
      const bool slot = groups[g].kind == StateKind::kSlot;
      const int64_t first =
          slot ? 0 : StateGroup{.window = groups[g].window}.FirstLiveBlock(row.start);
      for (auto i = static_cast<size_t>(first); i < table.size(); ++i) {
        if (table[i] == kNoBlock) {
          continue;
        }
        const UnitKey key(model, g, table[i]);
        use.units[key].insert(id);
        const bool writes = slot || (static_cast<int64_t>(i) >= row.start / kBlockTokens);
        for (const InUse& other : in_flight_) {
          const auto found = other.units.find(key);
          if (writes && found != other.units.end() &&
              (found->second.size() > 1 || !found->second.contains(id))) {
            Fail(check::kInFlight,
                 absl::StrFormat("%s writes unit %d of group %d, which step %d still reads",
                                 Of(id),
                                 table[i],
                                 g,
                                 other.epoch));
          }
        }
      }
    }
  }
  for (const StateCopy& copy : plan.copies_before) {
    if (copy.from_place != StatePlace::kHost) {
      continue;
    }
    for (const InUse& other : in_flight_) {
      if (other.units.contains(UnitKey(model, copy.group, copy.to))) {
        Fail(check::kInFlight,
             absl::StrFormat("unit %d of group %d is copied to, and step %d still reads it",
                             copy.to,
                             copy.group,
                             other.epoch));
      }
    }
  }
  for (const StateCopy& copy : plan.copies_after) {
    use.units[UnitKey(model, copy.group, copy.to)].insert(SequenceId(0));  // nobody's to write
  }
  if (!plan.empty()) {
    in_flight_.push_back(std::move(use));
  }
}

void Checks::OnCommit(uint64_t epoch) {
  std::erase_if(in_flight_, [epoch](const InUse& use) { return use.epoch == epoch; });
}

// Nobody waits and budget is left: then whoever holds room for its next token has a row.
void Checks::CheckWork(const StepPlan& plan, const std::set<SequenceId>& at_lease_edge) {
  if (plan.empty() || anyone_waited_ || plan.n_tokens >= workload_.device.step_tokens_max) {
    return;
  }
  std::set<SequenceId> granted;
  for (const PlanRow& row : plan.rows) {
    granted.insert(row.sequence->id());
  }
  for (const SequenceId id : live_) {
    const Sequence* sequence = scheduler_.Find(id);
    if (sequence == nullptr || sequence->state() != SequenceState::kRunning || sequence->paused() ||
        sequence->spec().model != plan.model || sequence->num_pending() != 1 ||
        granted.contains(id) || at_lease_edge.contains(id)) {
      continue;
    }
    const std::vector<GroupSetup>& groups = workload_.models[plan.model.value()].groups;
    bool has_room = true;
    for (size_t g = 0; g < groups.size(); ++g) {
      const auto blocks = std::ssize(sequence->block_table(g));
      has_room = has_room && (groups[g].kind == StateKind::kSlot ||
                              blocks * kBlockTokens > sequence->num_computed());
    }
    if (has_room) {
      Fail(check::kWork,
           absl::StrFormat("%s could decode, and %d of %d tokens are granted",
                           Of(id),
                           plan.n_tokens,
                           workload_.device.step_tokens_max));
    }
  }
}

void Checks::CheckOverdue() {
  for (const SequenceId id : live_) {
    const Sequence* sequence = scheduler_.Find(id);
    if (sequence != nullptr && sequence->state() != SequenceState::kFinished &&
        sequence->spec().deadline.has_value() && *sequence->spec().deadline < now_) {
      Fail(check::kOverdue, Of(id) + " lives on after its deadline");
    }
    const Duration queue_max = workload_.device.queue_timeout;
    if (sequence != nullptr && queue_max > Duration::zero() &&
        sequence->state() == SequenceState::kWaiting && sequence->num_preemptions() == 0 &&
        sequence->arrival() + queue_max < now_) {
      Fail(check::kQueueTimeout, Of(id) + " waits for longer than its class allows");
    }
  }
  for (const auto& [id, since] : paused_since_) {
    const Duration paused_max = workload_.device.paused_max;
    if (paused_max > Duration::zero() && since + paused_max < now_ &&
        scheduler_.Find(id) != nullptr) {
      Fail(check::kOverdue, Of(id) + " lives on though nobody reads it");
    }
  }
}

void Checks::CheckCaps() {
  for (const TenantSetup& setup : workload_.tenants) {
    const Tenant* tenant = scheduler_.tenants().Find(TenantId(setup.name));
    if (tenant != nullptr && (tenant->num_running > tenant->spec.running_max ||
                              tenant->running_tokens > tenant->spec.running_tokens_max ||
                              tenant->num_waiting > tenant->spec.waiting_max)) {
      Fail(check::kCaps,
           absl::StrFormat("tenant %s: %d running with %d tokens, %d waiting",
                           setup.name,
                           tenant->num_running,
                           tenant->running_tokens,
                           tenant->num_waiting));
    }
  }
}

// A flow that becomes backlogged stands within the window of those that are.
void Checks::CheckLift() {
  const std::span<const Flow> flows = scheduler_.tenants().flows();
  uint64_t lowest = ServicePolicy::kNoWindow;
  for (size_t i = 0; i < backlogged_.size(); ++i) {
    if (backlogged_[i] && flows[i].backlogged()) {
      lowest = std::min(lowest, flows[i].key);
    }
  }
  if (lowest == ServicePolicy::kNoWindow) {
    return;
  }
  const uint64_t window = static_cast<uint64_t>(workload_.policy.theta) * ServicePolicy::kKeyScale;
  for (size_t i = 0; i < flows.size(); ++i) {
    const bool was = i < backlogged_.size() && backlogged_[i];
    if (!was && flows[i].backlogged() &&
        (flows[i].key < lowest || flows[i].key > lowest + window)) {
      Fail(
          check::kLift,
          absl::StrFormat("tenant %d returns with key %d; the others stand at %d, the window is %d",
                          i,
                          flows[i].key,
                          lowest,
                          window));
    }
  }
}

void Checks::RememberBacklog() {
  const std::span<const Flow> flows = scheduler_.tenants().flows();
  backlogged_.resize(flows.size());
  for (size_t i = 0; i < flows.size(); ++i) {
    backlogged_[i] = flows[i].backlogged();
  }
}

void Checks::AfterEvent(TimePoint now) {
  now_ = now;
  if (++events_ % kIntegrityEvery == 0 || scheduler_.idle()) {
    if (const Status status = scheduler_.CheckIntegrity(); !status.ok()) {
      Fail(check::kIntegrity, std::string(Message(status)));
    }
  }
  CheckCaps();
  if (KeepsTenantsApart(workload_.policy.kind)) {
    CheckLift();
    fairness_.AfterEvent(scheduler_.tenants());
  }
  RememberBacklog();
}

}  // namespace inferd::sim
