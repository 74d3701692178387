#include "engine/core.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/check.h"
#include "base/log.h"

namespace inferd::engine_internal {
namespace {

// How long the thread sleeps at most while a deadline is pending: the clock may be one that a
// condition variable does not know.
constexpr Duration kDeadlinePollMax = std::chrono::milliseconds(20);

SchedulerOptions ForScheduler(const EngineOptions& options) {
  return {.step_tokens_max = options.step_tokens_max,
          .running_max = options.running_max,
          .waiting_max = options.waiting_max,
          .waiting_prompt_tokens_max = options.waiting_prompt_tokens_max,
          .paused_state_max = options.paused_state_max,
          .paused_max = options.paused_max,
          .refuses_late = options.refuses_late,
          .model_steps_max = options.model_steps_max,
          .speculation = options.speculation,
          .classes = options.classes};
}

std::pair<FinishReason, Status> ForEvent(EndReason reason) {
  switch (reason) {
    case EndReason::kDeadline:
      return {FinishReason::kDeadline, OkStatus()};
    case EndReason::kQueueTimeout:
      return {FinishReason::kError,
              ErrorF(StatusCode::kUnavailable,
                     "the request waited longer than its class allows; try again later")};
    case EndReason::kShed:
      return {FinishReason::kError,
              ErrorF(StatusCode::kUnavailable,
                     "the queue was full and the tenant had more than its share of it; try again "
                     "later")};
    case EndReason::kSlowReader:
      return {FinishReason::kError,
              ErrorF(StatusCode::kUnavailable, "the answer was not read for too long")};
    case EndReason::kLease:
      break;
  }
  return {FinishReason::kError,
          ErrorF(StatusCode::kResourceExhausted, "the quota ended while the answer was drawn")};
}

}  // namespace

Core::Core(
    Device& device, const Clock& clock, EventSink& sink, const EngineOptions& options, Inbox& inbox)
    : device_(device),
      clock_(clock),
      sink_(sink),
      inbox_(inbox),
      options_(options),
      scheduler_(ForScheduler(options), MakeWindowedPolicy(options.fairness_window_units)) {}

Status Core::AddModel(LoadedModel model) {
  ModelSpec spec{.geometry = model.resident->config.geometry, .units = model.units};
  const std::vector<int64_t> unit_bytes = UnitBytes(device_, model.resident->config);
  for (size_t g = 0; g < unit_bytes.size(); ++g) {
    spec.geometry.groups[g].unit_bytes = unit_bytes[g];
  }
  spec.step_time = options_.step_time;
  spec.host = {.units = model.host.units(), .bytes_per_s = options_.swap_bytes_per_s};
  ASSIGN_OR_RETURN(const ModelSlot slot, scheduler_.AddModel(std::move(spec)));
  CHECK(slot == model.resident->slot);
  models_.push_back(std::move(model));
  UpdateStats();
  return OkStatus();
}

bool Core::RemoveModel(ModelSlot model, bool evict, LoadedModel& removed) {
  if (!scheduler_.RemoveModel(model).ok()) {
    if (evict) {
      evicting_.insert(model);
    }
    return false;
  }
  evicting_.erase(model);
  removed = std::exchange(models_[model.value()], {});
  UpdateStats();
  return true;
}

void Core::Run() {
  bool ran_step = false;
  while (true) {
    Mail mail = inbox_.Take(TimeToWait(ran_step));
    const bool stop = mail.stop;
    TakeMail(std::move(mail));
    if (stop) {
      break;
    }
    for (const ModelSlot model : std::exchange(evicting_, {})) {
      FinishAll(FinishReason::kError,
                ErrorF(StatusCode::kUnavailable, "the model is being taken away; try again later"),
                model);
    }
    if (options_.observer != nullptr) {
      options_.observer->BeforePlan(scheduler_);
    }
    const StepPlan plan = scheduler_.Plan(clock_.Now());
    if (options_.observer != nullptr) {
      options_.observer->AfterPlan(scheduler_, plan);
    }
    for (const Ended& ended : plan.ended) {
      const auto it = owners_.find(ended.id);
      CHECK(it != owners_.end());  // what the engine ended is not told
      const RowOwner owner = it->second;
      const auto [reason, error] = ForEvent(ended.reason);
      EndChoice(*owner.generation, owner.choice, reason, error);
    }
    RenewLeases(plan);
    ran_step = !plan.empty();
    if (ran_step) {
      RunStep(plan);
    }
    Publish();
    UpdateStats();
  }
  CancelAll();
}

void Core::CancelAll() {
  TakeMail(inbox_.Take(Duration::zero()));
  FinishAll(FinishReason::kCancelled, OkStatus());
  Publish();
  UpdateStats();
}

// Nothing while there are steps to run; else until something happens or a deadline passes.
std::optional<Duration> Core::TimeToWait(bool ran_step) const {
  if (ran_step) {
    return Duration::zero();
  }
  if (const std::optional<TimePoint> deadline = scheduler_.NextDeadline(); deadline.has_value()) {
    return std::clamp(*deadline - clock_.Now(), Duration::zero(), kDeadlinePollMax);
  }
  return std::nullopt;
}

void Core::TakeMail(Mail&& mail) {
  for (Arrival& arrival : mail.arrivals) {
    Admit(std::move(arrival));
  }
  for (const Signal& signal : mail.signals) {
    Obey(signal);
  }
}

void Core::Admit(Arrival&& arrival) {
  auto owned = MakeGenerationState(
      arrival.stream, std::move(arrival.request), std::move(arrival.model), arrival.tokens_max);
  GenerationState& generation = *owned;
  generation.registration = std::move(arrival.registration);
  generations_.emplace(arrival.stream, std::move(owned));
  // The first lease is part of what the quota reserved for the request.
  const std::optional<int64_t> lease =
      options_.leases != nullptr ? std::optional(options_.lease_tokens) : std::nullopt;
  for (int32_t choice = 0; choice < generation.request.n; ++choice) {
    const StatusOr<SequenceId> id =
        failure_.ok() ? scheduler_.Submit({.model = generation.request.model,
                                           .tenant = generation.request.tenant,
                                           .service_class = generation.request.service_class,
                                           .prompt = generation.request.prompt,
                                           .prefix = arrival.prefix,
                                           .tokens_max = arrival.tokens_max,
                                           .deadline = generation.request.deadline,
                                           .leased_output_tokens = lease},
                                          clock_.Now())
                      : StatusOr<SequenceId>(failure_);
    if (!id.ok()) {
      EndChoice(generation, choice, FinishReason::kError, id.status());
      continue;
    }
    generation.choices[static_cast<size_t>(choice)].sequence = *id;
    owners_.emplace(*id, RowOwner{.generation = &generation, .choice = choice});
  }
}

void Core::Obey(const Signal& signal) {
  const auto it = generations_.find(signal.stream);
  if (it == generations_.end()) {
    return;  // it ended in the meantime
  }
  GenerationState& generation = *it->second;
  for (int32_t choice = 0; choice < generation.request.n; ++choice) {
    GenerationState::Choice& state = generation.choices[static_cast<size_t>(choice)];
    if (state.state.done()) {
      continue;
    }
    if (signal.cancel) {
      scheduler_.Cancel(state.sequence);
      EndChoice(generation, choice, FinishReason::kCancelled, OkStatus());
    } else if (signal.pause) {
      scheduler_.Pause(state.sequence);
    } else {
      scheduler_.Resume(state.sequence);
    }
  }
}

void Core::RunStep(const StepPlan& plan) {
  row_owners_.clear();
  for (const PlanRow& row : plan.rows) {
    row_owners_.push_back(owners_.at(row.sequence->id()));
  }
  MarkPlanned(plan);
  const TimePoint begun = clock_.Now();
  if (const Status status = Compute(plan); !status.ok()) {
    failure_ = ErrorF(StatusCode::kUnavailable, "the device is lost: %s", Message(status));
    Log(LogLevel::kError,
        "the device failed; the engine refuses everything from now on",
        {{"device", device_.capabilities().name}, {"error", std::string(Message(status))}});
    inbox_.Fail(failure_);
    FinishAll(FinishReason::kError, failure_);
    scheduler_.Commit(plan.epoch, {.rows = std::vector<RowResult>(plan.rows.size())});
    return;
  }
  const TimePoint computed = clock_.Now();
  StepResult result = TakeTokens(plan);
  result.duration = computed - begun;
  LearnStepTime(plan, result.duration);
  if (options_.observer != nullptr) {
    options_.observer->AfterStep(plan, result.duration);
  }
  scheduler_.Commit(plan.epoch, result);
}

void Core::LearnStepTime(const StepPlan& plan, Duration took) {
  if (options_.step_time_fit_steps == 0 || !plan.copies_before.empty()) {
    return;  // copies are no part of the model
  }
  MeasuredStep step{.took_ns = took.count()};
  for (const PlanRow& row : plan.rows) {
    const bool decode = row.sample && row.end() == row.start + 1;
    step.decode_rows += decode ? 1 : 0;
    step.prefill_tokens += row.n_tokens - (decode ? 1 : 0);
    step.context_tokens += row.end();
  }
  StepTimeFit& fit = models_[plan.model.value()].step_time_fit;
  fit.Add(step);
  if (fit.num_steps() % options_.step_time_fit_steps == 0) {
    scheduler_.SetStepTime(plan.model, fit.Fit());
  }
}

void Core::MarkPlanned(const StepPlan& plan) {
  const TimePoint now = clock_.Now();
  for (size_t i = 0; i < plan.rows.size(); ++i) {
    GenerationState& generation = *row_owners_[i].generation;
    GenerationState::Choice& choice =
        generation.choices[static_cast<size_t>(row_owners_[i].choice)];
    TokenCounts& tokens = CountsOf(generation);
    const uint64_t computed =
        choice.first_token.has_value() || plan.rows[i].sequence->num_preemptions() > 0
            ? 0
            : static_cast<uint64_t>(plan.rows[i].n_tokens);
    counts_.prompt_tokens += computed;
    tokens.prompt += computed;
    if (choice.first_planned.has_value()) {
      continue;
    }
    choice.first_planned = now;
    choice.cached_tokens = static_cast<int32_t>(plan.rows[i].sequence->num_cached_tokens());
    counts_.prompt_tokens += static_cast<uint64_t>(choice.cached_tokens);
    counts_.cached_tokens += static_cast<uint64_t>(choice.cached_tokens);
    tokens.prompt += static_cast<uint64_t>(choice.cached_tokens);
    tokens.cached += static_cast<uint64_t>(choice.cached_tokens);
    ++newly_started_;
    if (!generation.started) {
      generation.started = true;
      GenerationEvent& event = events_.emplace_back();
      event.stream = generation.stream;
      event.kind = GenerationEvent::Kind::kStarted;
      event.usage.prompt_tokens = static_cast<int32_t>(generation.request.prompt->size());
      event.usage.cached_tokens = choice.cached_tokens;
      event.timings.queue = now - generation.request.arrival;
    }
  }
}

Status Core::Compute(const StepPlan& plan) {
  LoadedModel& model = models_[plan.model.value()];
  for (const StateCopy& copy : plan.copies_before) {
    model.host.Copy(copy, *model.state);
  }
  CHECK(plan.copies_after.empty());  // no model has slots yet
  builder_.Build(plan, row_owners_, model.units.size());
  const std::vector<SampleRow>& draws = builder_.sample_rows();
  sampled_.assign(draws.size(), SampledToken{});
  model.transformer->Forward(builder_.batch(), *model.state);
  if (!draws.empty()) {
    device_.Sample(model.transformer->logits(), draws, sampled_);
  }
  return device_.Synchronize();
}

// What was drawn goes into the choices; each says whether its sequence ends with it.
StepResult Core::TakeTokens(const StepPlan& plan) {
  const TimePoint now = clock_.Now();
  StepResult result;
  result.rows.resize(plan.rows.size());
  size_t draw = 0;
  for (size_t i = 0; i < plan.rows.size(); ++i) {
    if (!plan.rows[i].sample) {
      continue;
    }
    GenerationState& generation = *row_owners_[i].generation;
    const int32_t index = row_owners_[i].choice;
    GenerationState::Choice& choice = generation.choices[static_cast<size_t>(index)];
    if (!choice.first_token.has_value()) {
      choice.first_token = now;
    }
    const std::span<const TokenId> draft = plan.rows[i].draft;
    const std::span<SampledToken> drawn = std::span(sampled_).subspan(draw, draft.size() + 1);
    draw += drawn.size();
    RowResult& row = result.rows[i];
    row.token = drawn[0].token;
    row.finished = TakeToken(generation, index, std::move(drawn[0]));
    // Behind a guess that came true stands a token that was drawn from what is known by now.
    for (size_t d = 0; d < draft.size() && !row.finished; ++d) {
      const TokenId last = d == 0 ? row.token : row.more[d - 1];
      if (last != draft[d]) {
        break;
      }
      row.more[d] = drawn[d + 1].token;
      ++row.num_more;
      row.finished = TakeToken(generation, index, std::move(drawn[d + 1]));
    }
  }
  counts_.last_step = now;
  ++counts_.steps;
  return result;
}

bool Core::TakeToken(GenerationState& generation, int32_t choice, SampledToken&& token) {
  ++counts_.output_tokens;
  ++CountsOf(generation).output;
  GenerationEvent event;
  event.stream = generation.stream;
  event.choice = choice;
  const bool finished =
      generation.choices[static_cast<size_t>(choice)].state.Accept(std::move(token), event);
  if (finished) {
    Close(generation, choice, event);
  }
  events_.push_back(std::move(event));
  return finished;
}

void Core::FinishAll(FinishReason reason, const Status& error, std::optional<ModelSlot> model) {
  std::vector<StreamHandle> streams;
  for (const auto& [stream, generation] : generations_) {
    if (!model.has_value() || generation->request.model == *model) {
      streams.push_back(stream);
    }
  }
  std::sort(streams.begin(), streams.end());
  for (const StreamHandle stream : streams) {
    GenerationState& generation = *generations_.at(stream);
    for (int32_t choice = 0; choice < generation.request.n; ++choice) {
      GenerationState::Choice& state = generation.choices[static_cast<size_t>(choice)];
      if (!state.state.done()) {
        scheduler_.Cancel(state.sequence);
        EndChoice(generation, choice, reason, error);
      }
    }
  }
}

void Core::EndChoice(GenerationState& generation,
                     int32_t choice,
                     FinishReason reason,
                     const Status& error) {
  GenerationEvent event;
  event.stream = generation.stream;
  event.choice = choice;
  event.error = error;
  generation.choices[static_cast<size_t>(choice)].state.End(reason, event);
  Close(generation, choice, event);
  events_.push_back(std::move(event));
}

void Core::Close(GenerationState& generation, int32_t choice, GenerationEvent& event) {
  const GenerationState::Choice& state = generation.choices[static_cast<size_t>(choice)];
  const TimePoint now = clock_.Now();
  const TimePoint planned = state.first_planned.value_or(now);
  const TimePoint first_token = state.first_token.value_or(now);
  event.timings = {.queue = planned - generation.request.arrival,
                   .prefill = first_token - planned,
                   .decode = now - first_token};
  if (!state.first_planned.has_value()) {
    ++newly_started_;  // it waits no longer
  }
  event.usage.cached_tokens = state.cached_tokens;
  owners_.erase(state.sequence);
  --generation.num_open;
  event.last = generation.num_open == 0;
  if (event.last) {
    over_.push_back(generation.stream);
  }
}

// One batch a step. Streams that ended are forgotten after their last event is out.
void Core::Publish() {
  if (newly_started_ > 0) {
    inbox_.Started(std::exchange(newly_started_, 0));
  }
  std::erase_if(events_, [this](const GenerationEvent& event) { return TakeRegistration(event); });
  if (!events_.empty()) {
    sink_.Publish(std::exchange(events_, {}));
  }
  for (const StreamHandle stream : over_) {
    generations_.erase(stream);
    inbox_.Finished(stream);
  }
  over_.clear();
}

bool Core::TakeRegistration(const GenerationEvent& event) {
  const GenerationState& generation = *generations_.at(event.stream);
  if (generation.registration == nullptr) {
    return false;
  }
  if (event.last) {
    const bool computed =
        event.reason == FinishReason::kStop || event.reason == FinishReason::kLength;
    generation.registration->set_value(
        computed           ? OkStatus()
        : event.error.ok() ? ErrorF(StatusCode::kCancelled, "the engine stopped before it was done")
                           : event.error);
  }
  return true;
}

void Core::RenewLeases(const StepPlan& plan) {
  for (const SequenceId id : plan.lease_wanted) {
    const RowOwner& owner = owners_.at(id);
    const int64_t granted = options_.leases->Renew({.stream = owner.generation->stream,
                                                    .choice = owner.choice,
                                                    .request = owner.generation->request,
                                                    .output_tokens = options_.lease_tokens});
    if (granted > 0) {
      scheduler_.ExtendLease(id, granted);
    } else {
      scheduler_.DenyLease(id);
    }
  }
}

Core::TokenCounts& Core::CountsOf(const GenerationState& generation) {
  return token_counts_[{generation.request.tenant, generation.request.model.value()}];
}

void Core::UpdateStats() {
  const SchedulerStats scheduler = scheduler_.stats();
  counts_.preemptions = scheduler.preemptions;
  counts_.swapped_out = scheduler.swapped_out;
  counts_.swapped_in = scheduler.swapped_in;
  counts_.drafted_tokens = scheduler.drafted_tokens;
  counts_.accepted_tokens = scheduler.accepted_tokens;
  counts_.running = scheduler.running;
  counts_.waiting = scheduler.waiting;
  counts_.kv_blocks_used = scheduler.blocks_used;
  counts_.kv_blocks_cached = scheduler.blocks_cached;
  counts_.kv_blocks_total = scheduler.blocks_total;
  MutexLock lock(stats_mutex_);
  published_ = counts_;
}

EngineStats Core::stats() const {
  MutexLock lock(stats_mutex_);
  return published_;
}

}  // namespace inferd::engine_internal
