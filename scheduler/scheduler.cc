#include "scheduler/scheduler.h"

#include <algorithm>
#include <tuple>

#include "base/check.h"

namespace inferd {

Scheduler::Scheduler(const SchedulerOptions& options) : options_(options) {
  CHECK(options.step_tokens_max > 0 && options.running_max > 0 && options.model_steps_max > 0);
  CHECK(!options.cut_at_blocks || options.step_tokens_max >= kBlockTokens);
}

StatusOr<ModelSlot> Scheduler::AddModel(const ModelGeometry& geometry,
                                        std::span<const int64_t> units) {
  for (const StateGroup& group : geometry.groups) {
    if (group.kind != StateKind::kBlocks) {
      return ErrorF(StatusCode::kUnimplemented, "recurrent state is not scheduled yet");
    }
  }
  if (units.size() != geometry.groups.size()) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "%d pools for %d state groups",
                  units.size(),
                  geometry.groups.size());
  }
  lanes_.push_back({.lane = std::make_unique<ModelLane>(geometry, units, options_),
                    .ready_since = std::nullopt,
                    .units = std::vector<int64_t>(units.begin(), units.end())});
  return ModelSlot(static_cast<uint32_t>(lanes_.size() - 1));
}

StatusOr<SequenceId> Scheduler::Submit(SequenceSpec spec) {
  if (spec.model.value() >= lanes_.size()) {
    return ErrorF(StatusCode::kNotFound, "no model in slot %d", spec.model.value());
  }
  if (spec.prompt == nullptr || spec.prompt->empty() ||
      spec.tokens_max <= static_cast<int64_t>(spec.prompt->size())) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "a sequence needs a prompt and room for a token after it");
  }
  const Lane& lane = lanes_[spec.model.value()];
  RETURN_IF_ERROR(CheckFits(lane.lane->geometry(), lane.units, spec.tokens_max));
  if (num_never_ran_ >= options_.waiting_max) {
    return ErrorF(StatusCode::kUnavailable, "%d sequences wait already", num_never_ran_);
  }
  const SequenceId id(++last_id_);
  if (spec.deadline.has_value()) {
    deadlines_.emplace(*spec.deadline, id);
  }
  auto sequence = std::make_unique<Sequence>(id, std::move(spec));
  LaneOf(*sequence).Enqueue(*sequence);
  sequences_.emplace(id, std::move(sequence));
  ++num_never_ran_;
  return id;
}

StepPlan Scheduler::Plan(TimePoint now) {
  CHECK(in_flight_.size() < kInFlightMax);
  StepPlan plan;
  Expire(now, plan);
  for (const size_t lane : LaneOrder()) {
    lanes_[lane].lane->Plan(plan);
    if (!plan.empty()) {
      plan.model = ModelSlot(static_cast<uint32_t>(lane));
      ServedLane(lane);
      break;
    }
  }
  preemptions_ += plan.preempted.size();
  if (plan.empty()) {
    return plan;
  }
  plan.epoch = ++last_epoch_;
  InFlight& step = in_flight_.emplace_back();
  step.epoch = plan.epoch;
  step.rows.reserve(plan.rows.size());
  for (const PlanRow& row : plan.rows) {
    Sequence* sequence = FindLive(row.sequence->id());
    if (!sequence->started_) {
      sequence->started_ = true;
      --num_never_ran_;
    }
    step.rows.emplace_back(sequence, row.sample);
  }
  return plan;
}

void Scheduler::Commit(uint64_t epoch, const StepResult& result) {
  CHECK(!in_flight_.empty() && in_flight_.front().epoch == epoch);
  const InFlight step = std::move(in_flight_.front());
  in_flight_.pop_front();
  CHECK(result.rows.size() == step.rows.size());
  for (size_t i = 0; i < step.rows.size(); ++i) {
    const auto& [sequence, sample] = step.rows[i];
    sequence->starts_in_flight_[0] = sequence->starts_in_flight_[1];
    --sequence->num_in_flight_;
    if (sequence->state_ == SequenceState::kFinished) {
      Finish(*sequence);
    } else if (sample) {
      sequence->output_.push_back(result.rows[i].token);
      if (result.rows[i].finished) {
        Finish(*sequence);
      } else {
        CHECK(sequence->num_tokens() < sequence->spec().tokens_max);
      }
    }
  }
}

void Scheduler::Cancel(SequenceId id) {
  if (Sequence* sequence = FindLive(id); sequence != nullptr) {
    Finish(*sequence);
  }
}

// Ends a sequence: now, or, if a step in flight reads it, when the last such step is committed.
void Scheduler::Finish(Sequence& sequence) {
  if (sequence.state_ != SequenceState::kFinished) {
    if (!sequence.started_) {
      --num_never_ran_;
    }
    if (const std::optional<TimePoint>& deadline = sequence.spec().deadline; deadline.has_value()) {
      deadlines_.erase({*deadline, sequence.id()});
    }
  }
  if (sequence.in_flight()) {
    sequence.state_ = SequenceState::kFinished;
    sequence.paused_ = true;  // no grants
    return;
  }
  LaneOf(sequence).Remove(sequence);
  sequences_.erase(sequence.id());
}

void Scheduler::Pause(SequenceId id) {
  if (Sequence* sequence = FindLive(id); sequence != nullptr) {
    sequence->paused_ = true;
  }
}

void Scheduler::Resume(SequenceId id) {
  if (Sequence* sequence = FindLive(id); sequence != nullptr) {
    sequence->paused_ = false;
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
  return *lanes_[sequence.spec().model.value()].lane;
}

std::optional<TimePoint> Scheduler::NextDeadline() const {
  return deadlines_.empty() ? std::nullopt : std::optional(deadlines_.begin()->first);
}

void Scheduler::Expire(TimePoint now, StepPlan& plan) {
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    const SequenceId id = deadlines_.begin()->second;
    plan.expired.push_back(id);
    Cancel(id);
  }
}

std::vector<size_t> Scheduler::LaneOrder() {
  std::vector<size_t> order;
  for (size_t lane = 0; lane < lanes_.size(); ++lane) {
    if (!lanes_[lane].lane->HasWork()) {
      lanes_[lane].ready_since.reset();
      continue;
    }
    if (!lanes_[lane].ready_since.has_value()) {
      lanes_[lane].ready_since = turn_;
    }
    order.push_back(lane);
  }
  const bool stays = lane_steps_ < options_.model_steps_max;
  std::sort(order.begin(), order.end(), [this, stays](size_t a, size_t b) {
    const auto key = [this, stays](size_t lane) {
      return std::tuple(!(stays && lane == current_lane_),
                        *lanes_[lane].ready_since,
                        lanes_[lane].lane->OldestId(),
                        lane);
    };
    return key(a) < key(b);
  });
  return order;
}

void Scheduler::ServedLane(size_t lane) {
  lane_steps_ = lane == current_lane_ ? lane_steps_ + 1 : 1;
  current_lane_ = lane;
  lanes_[lane].ready_since = ++turn_;
}

SchedulerStats Scheduler::stats() const {
  SchedulerStats stats{.preemptions = preemptions_};
  for (const Lane& lane : lanes_) {
    stats.recomputed_tokens += lane.lane->recomputed_tokens();
    stats.running += lane.lane->num_running();
    stats.waiting += lane.lane->num_waiting();
    stats.blocks_used += lane.lane->blocks_used();
    stats.blocks_total += lane.lane->blocks_total();
  }
  return stats;
}

Status Scheduler::CheckIntegrity() const {
  int64_t in_lanes = 0;
  for (const Lane& lane : lanes_) {
    RETURN_IF_ERROR(lane.lane->CheckIntegrity());
    in_lanes += lane.lane->num_running() + lane.lane->num_waiting();
  }
  if (in_lanes != static_cast<int64_t>(sequences_.size())) {
    return ErrorF(
        StatusCode::kInternal, "%d sequences, %d in the lanes", sequences_.size(), in_lanes);
  }
  int64_t never_ran = 0;
  size_t with_deadline = 0;
  for (const auto& [id, sequence] : sequences_) {
    const bool live = sequence->state_ != SequenceState::kFinished;
    never_ran += live && !sequence->started_ ? 1 : 0;
    with_deadline += live && sequence->spec().deadline.has_value() ? 1 : 0;
    if (!live && !sequence->in_flight()) {
      return ErrorF(StatusCode::kInternal, "sequence %d ended and stayed", id.value());
    }
  }
  if (never_ran != num_never_ran_ || with_deadline != deadlines_.size()) {
    return ErrorF(StatusCode::kInternal, "counts of waiting sequences or deadlines are off");
  }
  return OkStatus();
}

}  // namespace inferd
