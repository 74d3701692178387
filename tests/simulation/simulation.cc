#include "tests/simulation/simulation.h"

#include <absl/strings/str_format.h>

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include "base/check.h"
#include "base/random.h"
#include "scheduler/scheduler.h"
#include "tests/simulation/checks.h"
#include "tests/simulation/event_queue.h"
#include "tests/simulation/fake_device.h"
#include "tests/simulation/lease_ledger.h"
#include "tests/simulation/scheduler_setup.h"

namespace inferd::sim {
namespace {

struct Event {
  enum class Kind : uint8_t {
    kArrival,
    kCancel,
    kStall,
    kResume,
    kDrain,
    kFault,
    kLoad,
    kUnload,
    kStepDone,
    kLease,
    kWake
  };
  Kind kind = Kind::kWake;
  uint32_t submission = 0;
  Duration lasting{};  // of a stall
  uint32_t model = 0;
};

uint64_t Fold(uint64_t hash, uint64_t value) { return SplitMix64(hash ^ value).Next(); }

// What the time of a step depends on.
struct StepShape {
  int64_t prefill_tokens = 0;
  int64_t decode_rows = 0;
  int64_t context_tokens = 0;
};

// What the driver knows of one submission beside its outcome.
struct Stream {
  SequenceId id;
  bool live = false;
  Duration stalled_until{};
  Duration last_token{};
};

std::vector<int64_t> BudgetsOf(const Workload& workload) {
  std::vector<int64_t> budgets;
  for (const TenantSetup& tenant : workload.tenants) {
    budgets.push_back(tenant.budget_tokens);
  }
  return budgets;
}

// Nobody preempts for fairness, nobody stops reading, and all reserve what they may need: then
// nothing is ever preempted.
bool AllReserved(const Workload& workload) {
  const PolicyKind policy = workload.policy.kind;
  return (policy == PolicyKind::kFcfs || policy == PolicyKind::kDrr ||
          policy == PolicyKind::kVtc) &&
         std::all_of(workload.tenants.begin(),
                     workload.tenants.end(),
                     [](const TenantSetup& tenant) { return tenant.strict; }) &&
         std::none_of(workload.disturbances.begin(),
                      workload.disturbances.end(),
                      [](const Disturbance& disturbance) {
                        return disturbance.kind == Disturbance::Kind::kStall;
                      });
}

class Simulation {
 public:
  Simulation(const Workload& workload, const RunOptions& options)
      : workload_(workload),
        options_(options),
        scheduler_(MakeScheduler(workload)),
        device_(workload.models,
                {.host_percent = workload.device.host_percent,
                 .sensitive_to_chunks = options.sensitive_to_chunks,
                 .check_reads = options.check_reads},
                [this](SequenceId id) { return DomainOf(workload_, submission_of_.at(id)); }),
        checks_(workload, *scheduler_),
        ledger_(BudgetsOf(workload)),
        noise_(workload.seed ^ 0x6e6f697365),
        all_reserved_(AllReserved(workload)),
        streams_(workload.submissions.size()),
        unloading_(workload.models.size(), false) {
    report_.requests.resize(workload.submissions.size());
    report_.tenants.resize(workload.tenants.size());
    for (uint32_t i = 0; i < workload.submissions.size(); ++i) {
      events_.Push(TimePoint(workload.submissions[i].at), {Event::Kind::kArrival, i});
    }
    for (const Disturbance& disturbance : workload.disturbances) {
      PushDisturbance(disturbance);
    }
  }

  Report Run() {
    while (!events_.empty() && !checks_.violation().has_value()) {
      Handle(events_.Pop());
      if (options_.check) {
        checks_.AfterEvent(now());
      }
      UnloadModels();
      const bool more_now = !events_.empty() && events_.next_at() == now();
      if (!more_now) {
        PlanSteps();
      }
    }
    Finish();
    return std::move(report_);
  }

 private:
  struct Running {
    StepPlan plan;
    std::vector<RowDraws> draws;
  };

  TimePoint now() const { return events_.now(); }
  Duration elapsed() const { return now().time_since_epoch(); }

  void PushDisturbance(const Disturbance& disturbance) {
    Event event{.submission = disturbance.submission,
                .lasting = disturbance.lasting,
                .model = disturbance.model};
    switch (disturbance.kind) {
      case Disturbance::Kind::kCancel:
        event.kind = Event::Kind::kCancel;
        break;
      case Disturbance::Kind::kStall:
        event.kind = Event::Kind::kStall;
        break;
      case Disturbance::Kind::kDrain:
        event.kind = Event::Kind::kDrain;
        break;
      case Disturbance::Kind::kFault:
        event.kind = Event::Kind::kFault;
        break;
      case Disturbance::Kind::kLoad:
        event.kind = Event::Kind::kLoad;
        break;
      case Disturbance::Kind::kUnload:
        event.kind = Event::Kind::kUnload;
        break;
    }
    events_.Push(TimePoint(disturbance.at), event);
  }

  void Handle(const Event& event) {
    switch (event.kind) {
      case Event::Kind::kArrival:
        Submit(event.submission);
        break;
      case Event::Kind::kCancel:
        Cancel(event.submission);
        break;
      case Event::Kind::kStall:
        Stall(event.submission, event.lasting);
        break;
      case Event::Kind::kResume:
        Resume(event.submission);
        break;
      case Event::Kind::kDrain:
        scheduler_->Drain();
        break;
      case Event::Kind::kFault:
        fault_ = true;
        break;
      case Event::Kind::kLoad:
        scheduler_->ModelLoaded(ModelSlot(event.model));
        break;
      case Event::Kind::kUnload:
        scheduler_->DrainModel(ModelSlot(event.model));
        unloading_[event.model] = true;
        break;
      case Event::Kind::kStepDone:
        CommitOldest();
        break;
      case Event::Kind::kLease:
        ExtendLease(event.submission);
        break;
      case Event::Kind::kWake:
        break;
    }
  }

  void Submit(uint32_t index) {
    report_.requests[index].arrival = elapsed();
    const bool leased =
        !leases() ||
        ledger_.Reserve(workload_.submissions[index].tenant, index, workload_.device.lease_tokens);
    const StatusOr<SequenceId> id = leased ? scheduler_->Submit(SpecOf(workload_, index), now())
                                           : Status(StatusCode::kUnavailable, "quota");
    if (!id.ok()) {
      if (leased) {
        Settle(index);
      }
      End(index, EndKind::kRefused);
      return;
    }
    streams_[index].id = *id;
    streams_[index].live = true;
    submission_of_[*id] = index;
    checks_.OnSubmit(*id);
  }

  // A model that drains goes with its last request, and not before.
  void UnloadModels() {
    for (uint32_t model = 0; model < unloading_.size(); ++model) {
      if (!unloading_[model]) {
        continue;
      }
      const bool used = std::any_of(running_.begin(), running_.end(), [model](const Running& step) {
        return step.plan.model.value() == model;
      });
      bool live = false;
      for (uint32_t i = 0; i < streams_.size() && !live; ++i) {
        live = streams_[i].live && workload_.submissions[i].model == model;
      }
      const bool gone = scheduler_->RemoveModel(ModelSlot(model)).ok();
      unloading_[model] = !gone;
      if (gone && live) {
        checks_.Fail(check::kDrain, "a model is unloaded while it has requests");
      }
      if (!gone && !live && !used) {
        checks_.Fail(check::kDrain, "a model without requests cannot be unloaded");
      }
    }
  }

  void Cancel(uint32_t index) {
    if (streams_[index].live) {
      scheduler_->Cancel(streams_[index].id);
      End(index, EndKind::kCancelled);
    }
  }

  void Stall(uint32_t index, Duration lasting) {
    Stream& stream = streams_[index];
    if (stream.live) {
      scheduler_->Pause(stream.id);
      checks_.OnPause(stream.id, now());
      stream.stalled_until = std::max(stream.stalled_until, elapsed() + lasting);
      events_.Push(now() + lasting, {Event::Kind::kResume, index});
    }
  }

  void Resume(uint32_t index) {
    if (streams_[index].live && elapsed() >= streams_[index].stalled_until) {
      scheduler_->Resume(streams_[index].id);
      checks_.OnResume(streams_[index].id);
    }
  }

  void End(uint32_t index, EndKind kind) {
    RequestOutcome& outcome = report_.requests[index];
    if (outcome.end != EndKind::kOpen) {
      checks_.Fail(check::kSettle, workload_.submissions[index].name + " ends a second time");
    }
    outcome.end = kind;
    outcome.ended = elapsed();
    if (streams_[index].live) {
      streams_[index].live = false;
      Settle(index);
      checks_.OnEnd(streams_[index].id);
      device_.Forget(streams_[index].id);
    }
  }

  bool leases() const { return workload_.device.lease_tokens > 0; }

  void Settle(uint32_t index) {
    if (leases()) {
      const auto wrong = ledger_.Settle(index, report_.requests[index].output_tokens);
      if (wrong.has_value()) {
        checks_.Fail(check::kSettle, *wrong);
      }
    }
  }

  void ExtendLease(uint32_t index) {
    if (!streams_[index].live) {
      return;
    }
    if (ledger_.Extend(index, workload_.device.lease_tokens)) {
      scheduler_->ExtendLease(streams_[index].id, workload_.device.lease_tokens);
    } else {
      scheduler_->DenyLease(streams_[index].id);
    }
  }

  // Whoever may not compute another token under its lease.
  std::set<SequenceId> AtLeaseEdge() const {
    std::set<SequenceId> at_edge;
    for (uint32_t i = 0; leases() && i < streams_.size(); ++i) {
      if (streams_[i].live && report_.requests[i].output_tokens >= ledger_.leased(i)) {
        at_edge.insert(streams_[i].id);
      }
    }
    return at_edge;
  }

  // As many plans as the device takes.
  void PlanSteps() {
    while (std::ssize(running_) < workload_.device.in_flight_max &&
           !checks_.violation().has_value()) {
      checks_.BeforePlan();
      StepPlan plan = scheduler_->Plan(now());
      TakeEnds(plan);
      if (options_.check) {
        checks_.OnPlan(plan, now(), AtLeaseEdge());
      }
      FoldPlan(plan);
      if (plan.empty()) {
        break;
      }
      StartStep(std::move(plan));
    }
    Wake();
  }

  // Something may be due although no event is pending.
  void Wake() {
    const std::optional<TimePoint> deadline = scheduler_->NextDeadline();
    if (running_.empty() && deadline.has_value() && deadline != wake_at_) {
      wake_at_ = deadline;
      events_.Push(std::max(*deadline, now()), {});
    }
  }

  void TakeEnds(const StepPlan& plan) {
    for (const Ended& ended : plan.ended) {
      End(submission_of_.at(ended.id), EndKindOf(ended.reason));
    }
    if (all_reserved_ && !plan.preempted.empty()) {
      checks_.Fail(check::kReserved, "every admission reserved all it may need");
    }
    for (const SequenceId id : plan.preempted) {
      ++report_.requests[submission_of_.at(id)].preemptions;
      ++report_.preemptions;
    }
    for (const SequenceId id : plan.lease_wanted) {
      events_.Push(now() + workload_.device.lease_reply,
                   {Event::Kind::kLease, submission_of_.at(id)});
    }
  }

  void StartStep(StepPlan plan) {
    StepShape shape;
    for (const PlanRow& row : plan.rows) {
      const uint32_t index = submission_of_.at(row.sequence->id());
      if (!report_.requests[index].started.has_value()) {
        report_.requests[index].started = elapsed();
        report_.requests[index].cached_tokens = row.sequence->num_cached_tokens();
        report_.cached_tokens += row.sequence->num_cached_tokens();
        high_water_[index] = row.start;
      }
      CountRow(row, index, shape);
      const auto tokens = std::ssize(row.sequence->output()) + 1 + std::ssize(row.draft);
      if (leases() && row.sample && streams_[index].live && tokens > ledger_.leased(index)) {
        checks_.Fail(check::kLease,
                     absl::StrFormat("%s computes token %d of a lease of %d",
                                     workload_.submissions[index].name,
                                     tokens,
                                     ledger_.leased(index)));
      }
    }
    Running running;
    const std::vector<std::string> faults = device_.Run(plan, running.draws);
    if (!faults.empty()) {
      checks_.Fail(check::kState, faults[0]);
    }
    Duration lasts = workload_.device.time.Estimate(
        shape.prefill_tokens, shape.decode_rows, shape.context_tokens);
    lasts += workload_.device.copy_unit * HostCopies(plan);
    if (workload_.device.noise_per_mille > 0) {
      const auto noise = static_cast<int64_t>(
          noise_.Below(static_cast<uint64_t>(workload_.device.noise_per_mille) + 1));
      lasts += lasts / 1000 * noise;
    }
    free_at_ = std::max(free_at_, now()) + lasts;
    report_.busy += lasts;
    ++report_.steps;
    running.plan = std::move(plan);
    running_.push_back(std::move(running));
    events_.Push(free_at_, {Event::Kind::kStepDone});
    if (options_.record_service) {
      RecordService();
    }
  }

  static int64_t HostCopies(const StepPlan& plan) {
    return std::count_if(plan.copies_before.begin(),
                         plan.copies_before.end(),
                         [](const StateCopy& copy) { return copy.from_place != copy.to_place; });
  }

  // Delivered service: what is computed for the first time.
  void CountRow(const PlanRow& row, uint32_t index, StepShape& shape) {
    const Submission& submission = workload_.submissions[index];
    const int64_t end = row.end();
    int64_t& high_water = high_water_[index];
    const int64_t again = std::max<int64_t>(0, std::min(high_water, end) - row.start);
    const int64_t first = std::max(row.start, high_water);
    const int64_t prompt =
        std::max<int64_t>(0, std::min<int64_t>(end, submission.prompt_tokens) - first);
    high_water = std::max(high_water, end);
    report_.recomputed_tokens += again;
    report_.requests[index].recomputed_tokens += again;
    report_.prompt_tokens += prompt;
    report_.tenants[submission.tenant].delivered_units +=
        kPromptTokenUnits * prompt + (row.sample ? kOutputTokenUnits : 0);
    const bool decode = row.n_tokens == 1 + std::ssize(row.draft) && row.sample;
    shape.decode_rows += decode ? 1 : 0;
    shape.prefill_tokens += row.n_tokens - (decode ? 1 : 0);
    shape.context_tokens += end;
  }

  void RecordService() {
    ServiceSample sample{.at = elapsed(), .delivered_units = {}, .waiting = {}};
    for (size_t t = 0; t < report_.tenants.size(); ++t) {
      sample.delivered_units.push_back(report_.tenants[t].delivered_units);
      const Tenant* tenant = scheduler_->tenants().Find(TenantId(workload_.tenants[t].name));
      sample.waiting.push_back(tenant != nullptr && tenant->num_waiting > 0);
    }
    report_.service.push_back(std::move(sample));
  }

  void CommitOldest() {
    Running running = std::move(running_.front());
    running_.pop_front();
    StepResult result;
    result.rows.resize(running.plan.rows.size());
    if (std::exchange(fault_, false)) {
      FailStep(running);
    }
    std::vector<uint32_t> over;
    for (size_t i = 0; i < running.plan.rows.size(); ++i) {
      const PlanRow& row = running.plan.rows[i];
      const uint32_t index = submission_of_.at(row.sequence->id());
      if (!row.sample || !streams_[index].live) {
        continue;
      }
      TakeDraws(row, index, running.draws[i], result.rows[i]);
      if (result.rows[i].finished) {
        over.push_back(index);
      }
    }
    scheduler_->Commit(running.plan.epoch, result);
    checks_.OnCommit(running.plan.epoch);
    for (const uint32_t index : over) {
      CheckOutput(index);
      End(index, EndKind::kFinished);
    }
  }

  // The device failed: what it had computed is not to be relied on.
  void FailStep(const Running& running) {
    for (const PlanRow& row : running.plan.rows) {
      const uint32_t index = submission_of_.at(row.sequence->id());
      if (streams_[index].live) {
        scheduler_->Cancel(streams_[index].id);
        End(index, EndKind::kFault);
      }
    }
  }

  // The token drawn, and those behind it as long as the draft comes true.
  void TakeDraws(const PlanRow& row, uint32_t index, const RowDraws& draws, RowResult& result) {
    result.token = draws[0];
    result.finished = TakeToken(row, index, draws[0], 0);
    for (size_t d = 0; d < row.draft.size() && !result.finished && draws[d] == row.draft[d]; ++d) {
      result.more[d] = draws[d + 1];
      result.finished = TakeToken(row, index, draws[d + 1], ++result.num_more);
      report_.tenants[workload_.submissions[index].tenant].delivered_units += kOutputTokenUnits;
      ++report_.accepted_tokens;
      // What came true is computed: it is not computed again, should it have to be.
      high_water_[index] = std::max(high_water_[index], row.end() + result.num_more);
    }
  }

  // True if it is the last token of its request. `before`: tokens of the same row.
  bool TakeToken(const PlanRow& row, uint32_t index, TokenId token, int64_t before) {
    RequestOutcome& outcome = report_.requests[index];
    if (std::ssize(row.sequence->output()) + before != outcome.output_tokens) {
      checks_.Fail(check::kStream,
                   absl::StrFormat("%s has %d tokens, %d were streamed",
                                   workload_.submissions[index].name,
                                   row.sequence->output().size(),
                                   outcome.output_tokens));
    }
    Stream& stream = streams_[index];
    if (!outcome.first_token.has_value()) {
      outcome.first_token = elapsed();
    } else if (options_.record_token_gaps) {
      report_.token_gaps_s.push_back(
          std::chrono::duration<double>(elapsed() - stream.last_token).count());
    }
    stream.last_token = elapsed();
    outcome.output_hash = FoldToken(outcome.output_hash, token);
    ++report_.output_tokens;
    return ++outcome.output_tokens == workload_.submissions[index].output_tokens;
  }

  // A request's output is what it would be alone; on a sensitive device if chunks are canonical
  // and nothing of it was computed again.
  void CheckOutput(uint32_t index) {
    const bool sensitive = options_.sensitive_to_chunks;
    const uint32_t model = workload_.submissions[index].model;
    if (sensitive && workload_.models[model].groups[0].window == 1) {
      return;  // what decoding left behind is out of sight at once
    }
    if (!options_.check || (sensitive && (!workload_.device.cut_at_blocks ||
                                          report_.requests[index].recomputed_tokens > 0))) {
      return;
    }
    if (report_.requests[index].output_hash != OutputHashAlone(workload_, index, sensitive)) {
      checks_.Fail(check::kOutput,
                   workload_.submissions[index].name + " does not say what it says alone");
    }
  }

  // Where everything that has not ended stands.
  std::string LiveText() const {
    std::string text;
    for (size_t i = 0; i < streams_.size(); ++i) {
      const Sequence* sequence = streams_[i].live ? scheduler_->Find(streams_[i].id) : nullptr;
      if (sequence != nullptr) {
        text += absl::StrFormat(" %s (%s%s, computed %d of %d, %d preemptions, lease %d);",
                                workload_.submissions[i].name,
                                sequence->state() == SequenceState::kRunning ? "runs" : "waits",
                                sequence->paused() ? ", paused" : "",
                                sequence->num_computed(),
                                sequence->num_tokens(),
                                sequence->num_preemptions(),
                                ledger_.leased(static_cast<uint32_t>(i)));
      }
    }
    return text;
  }

  void FoldPlan(const StepPlan& plan) {
    uint64_t hash = Fold(report_.plan_hash, plan.model.value());
    for (const PlanRow& row : plan.rows) {
      hash = Fold(hash, row.sequence->id().value());
      hash = Fold(hash, static_cast<uint64_t>(row.start));
      hash = Fold(hash, static_cast<uint64_t>(row.n_tokens));
      for (size_t g = 0; g < workload_.models[plan.model.value()].groups.size(); ++g) {
        for (const BlockIndex block : row.sequence->block_table(g)) {
          hash = Fold(hash, block);
        }
      }
    }
    for (const StateCopy& copy : plan.copies_before) {
      if (copy.from_place != copy.to_place) {
        hash = Fold(hash, (uint64_t{copy.from} << 32) + copy.to);
      }
    }
    for (const Ended& ended : plan.ended) {
      hash = Fold(hash, ended.id.value());
    }
    for (const SequenceId id : plan.preempted) {
      hash = Fold(hash, ~id.value());
    }
    report_.plan_hash = hash;
  }

  void Finish() {
    report_.ended = elapsed();
    const SchedulerStats stats = scheduler_->stats();
    report_.blocks_held = stats.blocks_used + stats.host_units_used;
    report_.swapped_in = static_cast<int64_t>(stats.swapped_in);
    report_.cache_lookup_tokens = static_cast<int64_t>(stats.cache.lookup_tokens);
    report_.cache_hit_tokens = static_cast<int64_t>(stats.cache.hit_tokens);
    if (!checks_.violation().has_value() && !scheduler_->idle()) {
      checks_.Fail(check::kDrain, "nothing happens any more, but there is" + LiveText());
    }
    if (!checks_.violation().has_value() &&
        report_.recomputed_tokens != static_cast<int64_t>(stats.recomputed_tokens)) {
      checks_.Fail(check::kIntegrity,
                   absl::StrFormat("%d tokens were computed again, the scheduler says %d",
                                   report_.recomputed_tokens,
                                   stats.recomputed_tokens));
    }
    if (const auto wrong = ledger_.Check(scheduler_->idle()); wrong.has_value()) {
      checks_.Fail(check::kSettle, *wrong);
    }
    report_.violation = checks_.violation();
    const FairnessMonitor& fairness = checks_.fairness();
    report_.lemma_excess = fairness.lemma_excess();
    report_.pair_gap = fairness.pair_gap();
    report_.largest_grant = fairness.largest_grant();
    report_.bound_used = fairness.bound_used();
  }

  const Workload& workload_;
  const RunOptions options_;
  std::unique_ptr<Scheduler> scheduler_;
  std::map<SequenceId, uint32_t> submission_of_;
  FakeDevice device_;
  Checks checks_;
  LeaseLedger ledger_;
  SplitMix64 noise_;
  const bool all_reserved_;
  std::vector<Stream> streams_;
  std::map<uint32_t, int64_t> high_water_;  // by submission
  EventQueue<Event> events_;
  std::deque<Running> running_;
  TimePoint free_at_{};
  std::optional<TimePoint> wake_at_;
  std::vector<bool> unloading_;  // [models] draining, and not gone yet
  bool fault_ = false;
  Report report_;
};

}  // namespace

Report Simulate(const Workload& workload, const RunOptions& options) {
  return Simulation(workload, options).Run();
}

}  // namespace inferd::sim
