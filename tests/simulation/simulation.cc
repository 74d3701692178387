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
#include "tests/simulation/outcome_recorder.h"
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

// What the driver knows of one submission beside its outcome.
struct Stream {
  SequenceId id;
  bool live = false;
  Duration stalled_until{};
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
        recorder_(workload, options, checks_),
        ledger_(BudgetsOf(workload)),
        noise_(workload.seed ^ 0x6e6f697365),
        all_reserved_(AllReserved(workload)),
        streams_(workload.submissions.size()),
        unloading_(workload.models.size(), false) {
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
    return Finish();
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
    recorder_.Arrived(index, elapsed());
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
    recorder_.RecordEnd(index, kind, elapsed());
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
      const auto wrong = ledger_.Settle(index, recorder_.outcome(index).output_tokens);
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
      if (streams_[i].live && recorder_.outcome(i).output_tokens >= ledger_.leased(i)) {
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
      recorder_.Planned(plan);
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
      recorder_.Preempted(submission_of_.at(id));
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
      recorder_.Started(row, index, elapsed(), shape);
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
    recorder_.StepTakes(lasts);
    running.plan = std::move(plan);
    running_.push_back(std::move(running));
    events_.Push(free_at_, {Event::Kind::kStepDone});
    if (options_.record_service) {
      recorder_.SampleService(*scheduler_, elapsed());
    }
  }

  static int64_t HostCopies(const StepPlan& plan) {
    return std::count_if(plan.copies_before.begin(),
                         plan.copies_before.end(),
                         [](const StateCopy& copy) { return copy.from_place != copy.to_place; });
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
      recorder_.TakeDraws(row, index, running.draws[i], elapsed(), result.rows[i]);
      if (result.rows[i].finished) {
        over.push_back(index);
      }
    }
    scheduler_->Commit(running.plan.epoch, result);
    checks_.OnCommit(running.plan.epoch);
    for (const uint32_t index : over) {
      recorder_.CheckOutput(index);
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

  Report Finish() {
    if (!checks_.violation().has_value() && !scheduler_->idle()) {
      checks_.Fail(check::kDrain, "nothing happens any more, but there is" + LiveText());
    }
    if (const auto wrong = ledger_.Check(scheduler_->idle()); wrong.has_value()) {
      checks_.Fail(check::kSettle, *wrong);
    }
    return recorder_.Finish(*scheduler_, elapsed());
  }

  const Workload& workload_;
  const RunOptions options_;
  std::unique_ptr<Scheduler> scheduler_;
  std::map<SequenceId, uint32_t> submission_of_;
  FakeDevice device_;
  Checks checks_;
  OutcomeRecorder recorder_;
  LeaseLedger ledger_;
  SplitMix64 noise_;
  const bool all_reserved_;
  std::vector<Stream> streams_;
  EventQueue<Event> events_;
  std::deque<Running> running_;
  TimePoint free_at_{};
  std::optional<TimePoint> wake_at_;
  std::vector<bool> unloading_;  // [models] draining, and not gone yet
  bool fault_ = false;
};

}  // namespace

Report Simulate(const Workload& workload, const RunOptions& options) {
  return Simulation(workload, options).Run();
}

}  // namespace inferd::sim
