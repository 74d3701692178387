// Scheduler: who runs in the next step, on which blocks. Pure: no clock, thread, device or I/O;
// the same calls give the same plans.
//
// One step runs one model. A model keeps the device for model_steps_max steps while others wait;
// then the one that has gone longest without a step follows (ties: the oldest sequence). Within a
// model: FCFS with chunked prefill (model_lane.h). Where a fair order replaces it, it replaces
// the order of ModelLane's queues; a prefix cache would start a sequence at num_computed() > 0
// with references on shared blocks.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/model_geometry.h"
#include "base/status.h"
#include "scheduler/model_lane.h"
#include "scheduler/sequence.h"
#include "scheduler/step_plan.h"

namespace inferd {

struct SchedulerStats {
  uint64_t preemptions = 0;
  uint64_t recomputed_tokens = 0;  // granted a second time, after a preemption
  int64_t running = 0;
  int64_t waiting = 0;  // preempted ones included
  int64_t blocks_used = 0;
  int64_t blocks_total = 0;
};

// Owns every sequence from Submit until it is finished and no step in flight reads it. Thread: the
// engine thread only.
class Scheduler {
 public:
  static constexpr size_t kInFlightMax = 2;

  explicit Scheduler(const SchedulerOptions& options);

  // units[g]: blocks of state group g. kUnimplemented for a state kind that is not scheduled yet.
  StatusOr<ModelSlot> AddModel(const ModelGeometry& geometry, std::span<const int64_t> units);

  // Queues a sequence. kNotFound for the model, kInvalidArgument for an empty prompt or
  // tokens_max within it, kResourceExhausted if it can never fit, kUnavailable if waiting_max
  // sequences wait.
  StatusOr<SequenceId> Submit(SequenceSpec spec);

  // Applies the grants of the next step and returns them; an empty plan has no epoch to commit.
  // At most kInFlightMax plans may be uncommitted: the caller does not ask for more.
  StepPlan Plan(TimePoint now);
  // Epochs are committed in the order they were planned. Appends drawn tokens; what ended while
  // the step ran is ignored, and its blocks are freed once no other step reads them.
  void Commit(uint64_t epoch, const StepResult& result);

  // No grant after this; blocks are free at the latest when the plans in flight are committed.
  // Unknown or finished ids are ignored.
  void Cancel(SequenceId id);
  // A paused sequence keeps what it has but gets no grants; when blocks run out, it is the first
  // to give them up.
  void Pause(SequenceId id);
  void Resume(SequenceId id);

  // nullptr if unknown or finished.
  const Sequence* Find(SequenceId id) const;
  // The earliest deadline of all live sequences.
  std::optional<TimePoint> NextDeadline() const;
  size_t num_in_flight() const { return in_flight_.size(); }
  bool idle() const { return sequences_.empty(); }
  SchedulerStats stats() const;

  // kInternal saying what is wrong if an invariant does not hold. On idle and in tests.
  Status CheckIntegrity() const;

 private:
  struct Lane {
    std::unique_ptr<ModelLane> lane;
    std::optional<uint64_t> ready_since;  // turn at which it last ran, or came to have work
    std::vector<int64_t> units;
  };
  struct InFlight {
    uint64_t epoch = 0;
    std::vector<std::pair<Sequence*, bool>> rows;  // {sequence, sample}
  };

  Sequence* FindLive(SequenceId id);
  ModelLane& LaneOf(const Sequence& sequence);
  void Finish(Sequence& sequence);
  void Expire(TimePoint now, StepPlan& plan);
  // Models with work, the one to serve first.
  std::vector<size_t> LaneOrder();
  void ServedLane(size_t lane);

  const SchedulerOptions options_;
  std::vector<Lane> lanes_;
  std::map<SequenceId, std::unique_ptr<Sequence>> sequences_;
  std::set<std::pair<TimePoint, SequenceId>> deadlines_;
  std::deque<InFlight> in_flight_;
  uint64_t last_id_ = 0;
  uint64_t last_epoch_ = 0;
  int64_t num_never_ran_ = 0;
  uint64_t preemptions_ = 0;
  // Which model holds the device.
  uint64_t turn_ = 0;
  size_t current_lane_ = 0;
  int32_t lane_steps_ = 0;
};

}  // namespace inferd
