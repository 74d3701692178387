#include "scheduler/scheduler.h"

#include <algorithm>
#include <tuple>

#include "base/check.h"
#include "scheduler/batch_planner.h"
#include "scheduler/capacity_planner.h"

namespace inferd {

Scheduler::Scheduler(const SchedulerOptions& options, std::unique_ptr<ServicePolicy> policy)
    : options_(options),
      tenants_(std::move(policy), options_.classes),
      turn_(options.model_steps_max),
      waiting_({.sequences_max = options.waiting_max,
                .prompt_tokens_max = options.waiting_prompt_tokens_max,
                .tenants_max = options.tenants_max}),
      speculation_(options.speculation) {
  CHECK(options.step_tokens_max > 0 && options.running_max > 0 && options.model_steps_max > 0);
  CHECK(!options.classes.empty());
  has_intervals_ = std::any_of(
      options_.classes.begin(), options_.classes.end(), [](const ServiceClass& service) {
        return service.token_interval.has_value();
      });
}

Status Scheduler::SetTenant(const TenantId& id, const TenantSpec& spec) {
  if (tenants_.Find(id) == nullptr &&
      tenants_.num_tenants() >= static_cast<size_t>(options_.tenants_max)) {
    return ErrorF(StatusCode::kResourceExhausted,
                  "tenant %s: the device knows %d tenants already",
                  id.value(),
                  options_.tenants_max);
  }
  return tenants_.SetSpec(id, spec);
}

StatusOr<ModelSlot> Scheduler::AddModel(ModelSpec spec) {
  if (!spec.host.units.empty() && spec.host.units.size() != spec.geometry.groups.size()) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "%d pools of the host for %d state groups",
                  spec.host.units.size(),
                  spec.geometry.groups.size());
  }
  if (spec.units.size() != spec.geometry.groups.size()) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "%d pools for %d state groups",
                  spec.units.size(),
                  spec.geometry.groups.size());
  }
  if (spec.chunk_grid != 1 && (spec.chunk_grid <= 0 || spec.chunk_grid % kBlockTokens != 0 ||
                               spec.chunk_grid > options_.step_tokens_max)) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "chunk_grid: %d is neither 1 nor a multiple of %d up to %d",
                  spec.chunk_grid,
                  kBlockTokens,
                  options_.step_tokens_max);
  }
  lanes_.push_back(std::make_unique<ModelLane>(std::move(spec), tenants_));
  return ModelSlot(static_cast<uint32_t>(lanes_.size() - 1));
}

void Scheduler::ModelLoaded(ModelSlot model) {
  CHECK(model.value() < lanes_.size());
  lanes_[model.value()]->SetResident();
}

void Scheduler::SetStepTime(ModelSlot model, const StepTimeModel& step_time) {
  CHECK(model.value() < lanes_.size());
  lanes_[model.value()]->SetStepTime(step_time);
}

void Scheduler::DrainModel(ModelSlot model) {
  CHECK(model.value() < lanes_.size());
  lanes_[model.value()]->SetStanding(ModelStanding::kDraining);
}

Status Scheduler::RemoveModel(ModelSlot model) {
  CHECK(model.value() < lanes_.size());
  std::unique_ptr<ModelLane>& lane = lanes_[model.value()];
  if (lane->standing() != ModelStanding::kDraining ||
      lane->num_running() + lane->num_waiting() > 0) {
    return ErrorF(StatusCode::kFailedPrecondition,
                  "model in slot %d: drain it first; %d sequences run and %d wait",
                  model.value(),
                  lane->num_running(),
                  lane->num_waiting());
  }
  lane = std::make_unique<ModelLane>(ModelSpec{}, tenants_);
  lane->SetStanding(ModelStanding::kGone);
  return OkStatus();
}

Status Scheduler::CheckSpec(const SequenceSpec& spec) const {
  if (draining_) {
    return ErrorF(StatusCode::kUnavailable, "the scheduler drains: no new sequences");
  }
  if (spec.model.value() >= lanes_.size() ||
      lanes_[spec.model.value()]->standing() == ModelStanding::kGone) {
    return ErrorF(StatusCode::kNotFound, "no model in slot %d", spec.model.value());
  }
  if (lanes_[spec.model.value()]->standing() == ModelStanding::kDraining) {
    return ErrorF(
        StatusCode::kUnavailable, "the model in slot %d is being taken away", spec.model.value());
  }
  if (spec.prompt == nullptr || spec.prompt->empty() ||
      spec.tokens_max <= static_cast<int64_t>(spec.prompt->size())) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "a sequence needs a prompt and room for a token after it");
  }
  if (spec.service_class < 0 ||
      static_cast<size_t>(spec.service_class) >= options_.classes.size()) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "service class %d: there are %d",
                  spec.service_class,
                  options_.classes.size());
  }
  const ModelSpec& model = lanes_[spec.model.value()]->spec();
  return CheckFits(model.geometry, model.units, spec.tokens_max);
}

StatusOr<SequenceId> Scheduler::Submit(SequenceSpec spec, TimePoint now) {
  RETURN_IF_ERROR(CheckSpec(spec));
  now_ = std::max(now_, now);
  const Tenant* known = tenants_.Find(spec.tenant);
  const int64_t prompt_tokens = static_cast<int64_t>(spec.prompt->size());
  if (known != nullptr && spec.tokens_max > known->spec.running_tokens_max) {
    return ErrorF(StatusCode::kResourceExhausted,
                  "the request may come to %d tokens, and its tenant's running requests to %d in "
                  "all: ask for fewer",
                  spec.tokens_max,
                  known->spec.running_tokens_max);
  }
  RETURN_IF_ERROR(waiting_.CheckTenant(prompt_tokens, known, tenants_.num_tenants()));
  if (waiting_.full()) {
    ShedFor(known);
  }
  RETURN_IF_ERROR(waiting_.CheckDevice(prompt_tokens));
  Tenant& tenant = tenants_.FindOrAdd(spec.tenant);
  const SequenceId id(++last_id_);
  auto owned = std::make_unique<Sequence>(id, std::move(spec));
  Sequence& sequence = *owned;
  const ServiceClass& service =
      options_.classes[static_cast<size_t>(sequence.spec().service_class)];
  sequence.arrival_ = now;
  sequence.class_order_ = service.order;
  if (service.first_token.has_value()) {
    sequence.first_token_due_ = now + *service.first_token;
  }
  sequence.token_interval_ = service.token_interval;
  sequence.tenant_ = &tenant;
  sequence.flow_ = tenants_.FlowOf(tenant, sequence.spec().service_class);
  if (options_.refuses_late) {
    RETURN_IF_ERROR(CheckStart(sequence));
  }
  if (sequence.spec().deadline.has_value()) {
    alarms_.emplace(*sequence.spec().deadline, id, EndReason::kDeadline);
  }
  if (const std::optional<TimePoint> alarm = QueueAlarm(sequence); alarm.has_value()) {
    alarms_.emplace(*alarm, id, EndReason::kQueueTimeout);
  }
  waiting_.Add(sequence, tenant);
  LaneOf(sequence).Enqueue(sequence);
  sequences_.emplace(id, std::move(owned));
  return id;
}

// Its first token comes after what is ahead of it and its own prompt.
Status Scheduler::CheckStart(const Sequence& sequence) {
  const ModelLane& lane = *lanes_[sequence.spec().model.value()];
  const int64_t own = tenants_.flow(sequence.flow_).waiting_units +
                      lane.spec().costs.prompt_token * sequence.num_prompt_tokens();
  const std::optional<Duration> wait = rate_.TimeFor(tenants_.UnitsAhead(sequence.flow_, own));
  const TimePoint due =
      std::min(sequence.first_token_due_, sequence.spec().deadline.value_or(TimePoint::max()));
  if (!wait.has_value() || due == TimePoint::max() || sequence.arrival_ + *wait <= due) {
    return OkStatus();
  }
  ++refused_late_;
  const Duration late = sequence.arrival_ + *wait - due;
  return ErrorF(StatusCode::kUnavailable,
                "its first token would come %d ms too late; try again in %d ms",
                std::chrono::duration_cast<std::chrono::milliseconds>(late).count() + 1,
                std::chrono::duration_cast<std::chrono::milliseconds>(late).count() + 1);
}

void Scheduler::ShedFor(const Tenant* tenant) {
  if (Sequence* victim = WaitingBounds::VictimFor(tenant, tenants_, lanes_); victim != nullptr) {
    ++shed_;
    ended_early_.push_back({victim->id(), EndReason::kShed});
    Finish(*victim);
  }
}

std::optional<TimePoint> Scheduler::PauseAlarm(const Sequence& sequence) const {
  return sequence.paused_at_.has_value() && options_.paused_max != Duration::max()
             ? std::optional(*sequence.paused_at_ + options_.paused_max)
             : std::nullopt;
}

// State of streams that nobody reads goes to those that are read.
void Scheduler::ReleasePaused(StepPlan& plan) {
  if (options_.paused_state_max == Duration::max()) {
    return;
  }
  std::vector<std::pair<TimePoint, SequenceId>> released;
  for (const auto& entry : paused_) {
    if (entry.first + options_.paused_state_max > now_) {
      break;
    }
    Sequence& sequence = *FindLive(entry.second);
    if (sequence.in_flight()) {
      continue;
    }
    if (sequence.state_ == SequenceState::kRunning) {
      LaneOf(sequence).Preempt(sequence);
      LaneOf(sequence).Compact();
      plan.preempted.push_back(entry.second);
    }
    released.push_back(entry);
  }
  for (const auto& entry : released) {
    paused_.erase(entry);
  }
}

std::optional<TimePoint> Scheduler::QueueAlarm(const Sequence& sequence) const {
  const std::optional<Duration>& queue_max =
      options_.classes[static_cast<size_t>(sequence.spec().service_class)].queue_max;
  return queue_max.has_value() ? std::optional(sequence.arrival_ + *queue_max) : std::nullopt;
}

void Scheduler::StopCountingAsWaiting(Sequence& sequence) {
  waiting_.Remove(sequence, *sequence.tenant_);
  if (const std::optional<TimePoint> alarm = QueueAlarm(sequence); alarm.has_value()) {
    alarms_.erase({*alarm, sequence.id(), EndReason::kQueueTimeout});
  }
}

StepPlan Scheduler::Plan(TimePoint now) {
  CHECK(in_flight_.size() < kInFlightMax);
  StepPlan plan;
  ++last_plan_;
  now_ = std::max(now_, now);
  plan.ended = std::exchange(ended_early_, {});
  Expire(now, plan);
  EndDenied(plan);
  ReleasePaused(plan);
  units_before_ = tenants_.total_units();
  for (const size_t lane : turn_.Order(lanes_, tenants_)) {
    PlanLane(lane, plan);
    if (!plan.empty()) {
      plan.model = ModelSlot(static_cast<uint32_t>(lane));
      turn_.Served(lane);
      break;
    }
  }
  preemptions_ += plan.preempted.size();
  if (!plan.empty()) {
    Start(plan);
  }
  return plan;
}

void Scheduler::PlanLane(size_t lane, StepPlan& plan) {
  CapacityPlanner capacity(*lanes_[lane],
                           tenants_,
                           {.step_tokens_max = options_.step_tokens_max,
                            .running_max = options_.running_max,
                            .plan_id = last_plan_,
                            .now = now_},
                           plan);
  BatchPlanner batch(*lanes_[lane],
                     tenants_,
                     capacity,
                     {.step_tokens_max = options_.step_tokens_max,
                      .prefill_tokens_min = options_.prefill_tokens_min,
                      .has_intervals = has_intervals_,
                      .now = now_,
                      .speculation = &speculation_,
                      .plan_id = last_plan_},
                     plan);
  batch.Fill(/*serve_over_served=*/in_flight_.empty());
  recomputed_tokens_ += static_cast<uint64_t>(batch.recomputed_tokens());
  checkpoints_ = batch.TakeCheckpoints();
}

void Scheduler::Start(StepPlan& plan) {
  plan.epoch = ++last_epoch_;
  plan.copies_before = std::exchange(lanes_[plan.model.value()]->copies(), {});
  InFlight& step = in_flight_.emplace_back();
  step.epoch = plan.epoch;
  step.expected = plan.expected;
  step.units = tenants_.total_units() - units_before_;
  step.rows.reserve(plan.rows.size());
  for (size_t i = 0; i < plan.rows.size(); ++i) {
    const PlanRow& row = plan.rows[i];
    Sequence& sequence = const_cast<Sequence&>(*row.sequence);  // ours
    if (!sequence.started_) {
      sequence.started_ = true;
      StopCountingAsWaiting(sequence);
    }
    if (sequence.leased_output_tokens_ != kUnlimited && !sequence.lease_asked_ &&
        2 * static_cast<int64_t>(sequence.output_.size() + 1) >= sequence.leased_output_tokens_) {
      sequence.lease_asked_ = true;
      plan.lease_wanted.push_back(sequence.id());
    }
    const auto checkpoint = checkpoints_.find(i);
    step.rows.push_back({.sequence = &sequence,
                         .end = row.end(),
                         .sample = row.sample,
                         .n_draft = static_cast<int64_t>(row.draft.size()),
                         .checkpoint = checkpoint == checkpoints_.end()
                                           ? std::vector<BlockIndex>{}
                                           : std::move(checkpoint->second)});
  }
}

void Scheduler::Commit(uint64_t epoch, const StepResult& result) {
  CHECK(!in_flight_.empty() && in_flight_.front().epoch == epoch);
  InFlight step = std::move(in_flight_.front());
  in_flight_.pop_front();
  CHECK(result.rows.size() == step.rows.size());
  rate_.Add(static_cast<int64_t>(step.units),
            result.duration > Duration::zero() ? result.duration : step.expected);
  for (size_t i = 0; i < step.rows.size(); ++i) {
    CommitRow(step.rows[i], result.rows[i]);
  }
}

void Scheduler::CommitRow(InFlight::Row& row, const RowResult& result) {
  Sequence& sequence = *row.sequence;
  ModelLane& lane = LaneOf(sequence);
  StateStore& store = lane.store();
  sequence.starts_in_flight_[0] = sequence.starts_in_flight_[1];
  --sequence.num_in_flight_;
  if (sequence.state_ != SequenceState::kFinished) {
    AppendTokens(row, result);
    // Where bits depend on how tokens were computed, others find what was prefilled alone (rule
    // D3): behind the prompt it may have been decoded, or computed again in other chunks.
    const int64_t end =
        lane.spec().chunk_grid == 1 ? row.end : std::min(row.end, sequence.num_prompt_tokens());
    store.Publish(sequence,
                  end,
                  end == row.end ? std::span<const BlockIndex>(row.checkpoint)
                                 : std::span<const BlockIndex>());
  }
  store.GiveBackCheckpoint(row.checkpoint);
  if (sequence.state_ == SequenceState::kFinished) {
    Finish(sequence);
    return;
  }
  if (!row.sample) {
    return;
  }
  if (!result.finished) {
    CHECK(sequence.num_tokens() < sequence.spec().tokens_max);
    return;
  }
  const int64_t prompt = sequence.num_prompt_tokens();
  sequence.tenant_->LearnOutput(sequence.num_tokens() - prompt,
                                sequence.spec().tokens_max - prompt);
  Finish(sequence);
}

void Scheduler::AppendTokens(InFlight::Row& row, const RowResult& result) {
  if (!row.sample) {
    return;
  }
  Sequence& sequence = *row.sequence;
  sequence.output_.push_back(result.token);
  if (row.n_draft == 0) {
    return;
  }
  CHECK(result.num_more <= row.n_draft);
  for (int32_t i = 0; i < result.num_more; ++i) {
    const size_t index = static_cast<size_t>(i);
    CHECK(sequence.output_.back() == sequence.draft_[index]);
    sequence.output_.push_back(result.more[index]);
  }
  const ServiceCosts& costs = LaneOf(sequence).spec().costs;
  tenants_.Owe(sequence.flow_, (costs.output_token - costs.prompt_token) * result.num_more);
  row.end += result.num_more;
  sequence.computed_ += result.num_more;
  sequence.high_water_ = std::max(sequence.high_water_, sequence.computed_);
  speculation_.Learn(sequence, row.n_draft, result.num_more);
  drafted_tokens_ += static_cast<uint64_t>(row.n_draft);
  accepted_tokens_ += static_cast<uint64_t>(result.num_more);
}

void Scheduler::Cancel(SequenceId id) {
  // Shed, and not told of it yet: the caller has ended it first.
  std::erase_if(ended_early_, [id](const Ended& ended) { return ended.id == id; });
  if (Sequence* sequence = FindLive(id); sequence != nullptr) {
    Finish(*sequence);
  }
}

// Ends a sequence: now, or, if a step in flight reads it, when the last such step is committed.
void Scheduler::Finish(Sequence& sequence) {
  if (sequence.state_ != SequenceState::kFinished) {
    if (!sequence.started_) {
      StopCountingAsWaiting(sequence);
    }
    if (const std::optional<TimePoint>& deadline = sequence.spec().deadline; deadline.has_value()) {
      alarms_.erase({*deadline, sequence.id(), EndReason::kDeadline});
    }
    denied_.erase(sequence.id());
    EndPause(sequence);
  }
  if (sequence.in_flight()) {
    sequence.state_ = SequenceState::kFinished;
    LaneOf(sequence).SetPaused(sequence, true);  // no grants
    return;
  }
  LaneOf(sequence).Remove(sequence);
  sequences_.erase(sequence.id());
}

void Scheduler::Pause(SequenceId id) {
  Sequence* sequence = FindLive(id);
  if (sequence == nullptr || sequence->paused_) {
    return;
  }
  LaneOf(*sequence).SetPaused(*sequence, true);
  sequence->paused_at_ = now_;
  paused_.emplace(now_, id);
  if (const std::optional<TimePoint> alarm = PauseAlarm(*sequence); alarm.has_value()) {
    alarms_.emplace(*alarm, id, EndReason::kSlowReader);
  }
}

void Scheduler::Resume(SequenceId id) {
  if (Sequence* sequence = FindLive(id); sequence != nullptr) {
    EndPause(*sequence);
    LaneOf(*sequence).SetPaused(*sequence, false);
  }
}

void Scheduler::EndPause(Sequence& sequence) {
  if (const std::optional<TimePoint> alarm = PauseAlarm(sequence); alarm.has_value()) {
    alarms_.erase({*alarm, sequence.id(), EndReason::kSlowReader});
  }
  if (sequence.paused_at_.has_value()) {
    paused_.erase({*sequence.paused_at_, sequence.id()});
    sequence.paused_at_.reset();
  }
}

void Scheduler::ExtendLease(SequenceId id, int64_t output_tokens) {
  if (Sequence* sequence = FindLive(id);
      sequence != nullptr && output_tokens > 0 && sequence->leased_output_tokens_ != kUnlimited) {
    sequence->leased_output_tokens_ += output_tokens;
    sequence->lease_asked_ = false;
    denied_.erase(id);
  }
}

void Scheduler::DenyLease(SequenceId id) {
  if (FindLive(id) != nullptr) {
    denied_.insert(id);
  }
}

void Scheduler::EndDenied(StepPlan& plan) {
  std::vector<SequenceId> over;
  for (const SequenceId id : denied_) {
    const Sequence& sequence = *FindLive(id);
    if (!sequence.leased() && !sequence.in_flight()) {
      over.push_back(id);
    }
  }
  for (const SequenceId id : over) {
    plan.ended.push_back({id, EndReason::kLease});
    Cancel(id);
  }
}

const Sequence* Scheduler::Find(SequenceId id) const {
  const auto it = sequences_.find(id);
  return it == sequences_.end() || it->second->state_ == SequenceState::kFinished
             ? nullptr
             : it->second.get();
}

Sequence* Scheduler::FindLive(SequenceId id) {
  return const_cast<Sequence*>(std::as_const(*this).Find(id));
}

ModelLane& Scheduler::LaneOf(const Sequence& sequence) {
  return *lanes_[sequence.spec().model.value()];
}

std::optional<TimePoint> Scheduler::NextDeadline() const {
  return alarms_.empty() ? std::nullopt : std::optional(std::get<TimePoint>(*alarms_.begin()));
}

void Scheduler::Expire(TimePoint now, StepPlan& plan) {
  while (!alarms_.empty() && std::get<TimePoint>(*alarms_.begin()) <= now) {
    const auto [time, id, reason] = *alarms_.begin();
    plan.ended.push_back({id, reason});
    Cancel(id);
  }
}

}  // namespace inferd
