// Scheduler: who runs in the next step, on which units. Pure: no clock, thread, device or I/O;
// the same calls give the same plans, byte for byte.
//
// Whoever drives it (the engine with a device, a simulation without) repeats: tell it what happened
// (Submit, Cancel, Pause, Resume, leases), Plan, compute what was planned, Commit. At most two
// plans may be uncommitted, and they are committed in order.
//
// One step runs one model: DeviceTurn says which. Within a model: CapacityPlanner says who holds
// state, BatchPlanner who gets tokens, ServicePolicy in which order.
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
#include "base/status.h"
#include "scheduler/device_turn.h"
#include "scheduler/model_lane.h"
#include "scheduler/sequence.h"
#include "scheduler/service.h"
#include "scheduler/service_policy.h"
#include "scheduler/service_rate.h"
#include "scheduler/speculation.h"
#include "scheduler/step_plan.h"
#include "scheduler/tenant_table.h"
#include "scheduler/waiting_bounds.h"

namespace inferd {

struct SchedulerOptions {
  int32_t step_tokens_max = 512;  // token budget of a step; more: longer steps, faster prefill
  int32_t running_max = 256;      // sequences of one model that hold state at once
  // Sequences that never ran yet, of all models together, and their prompts' tokens.
  int32_t waiting_max = 1024;
  int64_t waiting_prompt_tokens_max = kUnlimited;
  int32_t tenants_max = 65'536;  // tenants that ever appeared
  // A sequence that is paused for longer (by the times told to Plan and Submit) gives up its state,
  // or ends as kSlowReader.
  Duration paused_state_max = Duration::max();
  Duration paused_max = Duration::max();
  // Refuse at once what, by the service ahead of it and the rate so far, would have its first token
  // later than its class or its deadline allows.
  bool refuses_late = false;
  // Prefill is cut so that decodes meet their class's token_interval, but not below this.
  int32_t prefill_tokens_min = kBlockTokens;
  // Steps that a model keeps the device while another one waits.
  int32_t model_steps_max = 8;
  SpeculationOptions speculation = {};
  std::vector<ServiceClass> classes = {ServiceClass{}};  // at least one
};

// Why a sequence waits, and for how long. A guess, from public counts: it says nothing of what
// others ask.
struct QueueReport {
  enum class Reason : uint8_t {
    kRunning,     // it does not wait
    kPaused,      // its reader is slow
    kModel,       // the model is being loaded
    kTenantCap,   // its tenant runs as many sequences as it may
    kOwnQueue,    // its tenant's earlier sequences come first
    kOthersTurn,  // tenants that got less service by weight come first
    kRoom,        // it is next, when enough state units are free
  };
  Reason reason = Reason::kRunning;
  int64_t num_before = 0;             // in its own queue
  int64_t num_flows_ahead = 0;        // flows that are served before its own
  int64_t units_ahead = 0;            // service units until its turn comes
  std::optional<Duration> starts_in;  // nothing while no step was measured
};

struct SchedulerStats {
  uint64_t preemptions = 0;
  uint64_t shed = 0;  // ended to make room in the queue
  uint64_t refused_late = 0;
  uint64_t recomputed_tokens = 0;  // granted a second time, after a preemption
  uint64_t swapped_out = 0;        // of the preemptions: state went to the host
  uint64_t swapped_in = 0;
  uint64_t drafted_tokens = 0;   // guessed ahead
  uint64_t accepted_tokens = 0;  // of them, those that came true
  int64_t host_units_used = 0;
  int64_t host_units_total = 0;
  int64_t running = 0;
  int64_t waiting = 0;        // preempted ones included
  int64_t blocks_used = 0;    // by sequences
  int64_t blocks_cached = 0;  // by the prefix cache alone
  int64_t blocks_total = 0;
  PrefixCacheStats cache;
};

// Owns every sequence from Submit until it is finished and no step in flight reads it. Thread: the
// engine thread only.
class Scheduler {
 public:
  static constexpr size_t kInFlightMax = 2;

  explicit Scheduler(const SchedulerOptions& options,
                     std::unique_ptr<ServicePolicy> policy = MakeFcfsPolicy());

  // What a tenant may have, from now on. Tenants that nobody set have a default TenantSpec.
  // kInvalidArgument for a weight out of range, kResourceExhausted above tenants_max.
  Status SetTenant(const TenantId& id, const TenantSpec& spec);

  // kInvalidArgument for pools or a chunk grid that do not fit the geometry or the options.
  StatusOr<ModelSlot> AddModel(ModelSpec spec);
  // The weights of a model that was added without are there.
  void ModelLoaded(ModelSlot model);
  // How long its steps take, from now on.
  void SetStepTime(ModelSlot model, const StepTimeModel& step_time);
  // The model takes no new sequences; those it has go on to their ends.
  void DrainModel(ModelSlot model);
  // Frees the state of a model that was drained: kFailedPrecondition while it has sequences. Its
  // slot is not used again.
  Status RemoveModel(ModelSlot model);
  // Refuses every new sequence from now on.
  void Drain() { draining_ = true; }

  // Queues a sequence that arrived at `now`. kNotFound for the model, kInvalidArgument for an empty
  // prompt, tokens_max within it or an unknown class, kResourceExhausted if it can never fit,
  // kUnavailable if it could not start in time, if the scheduler or the model drains, or if a bound
  // of waiting sequences is reached, the tenant's or the device's. At the device's bound a tenant
  // with less than its share of the queue takes a place from the one furthest above its own.
  StatusOr<SequenceId> Submit(SequenceSpec spec, TimePoint now);

  // Applies the grants of the next step and returns them; an empty plan has no epoch to commit.
  // At most kInFlightMax plans may be uncommitted: the caller does not ask for more.
  StepPlan Plan(TimePoint now);
  // Epochs are committed in the order they were planned. Appends drawn tokens; what ended while
  // the step ran is ignored, and its units are freed once no other step reads them.
  void Commit(uint64_t epoch, const StepResult& result);

  // No grant after this, and no end is told; units are free at the latest when the plans in flight
  // are committed. Unknown or finished ids are ignored, here and below.
  void Cancel(SequenceId id);
  // A paused sequence (its reader is slow) keeps what it has but gets no grants; when units run
  // out, it is the first to give them up.
  void Pause(SequenceId id);
  void Resume(SequenceId id);
  // A sequence with a lease computes no output token beyond it: at the edge it gets no grants until
  // it is extended by `output_tokens`, or, once it is denied, ends there as kLease.
  void ExtendLease(SequenceId id, int64_t output_tokens);
  void DenyLease(SequenceId id);

  // nothing if unknown or finished.
  std::optional<QueueReport> Explain(SequenceId id) const;
  // nullptr if unknown or finished.
  const Sequence* Find(SequenceId id) const;
  // The earliest time at which Plan would end a sequence by itself.
  std::optional<TimePoint> NextDeadline() const;
  size_t num_in_flight() const { return in_flight_.size(); }
  bool idle() const { return sequences_.empty(); }
  SchedulerStats stats() const;
  // Accounts, for metrics and tests.
  const TenantTable& tenants() const { return tenants_; }

  // kInternal saying what is wrong if an invariant does not hold. On idle and in tests.
  Status CheckIntegrity() const;

 private:
  struct InFlight {
    struct Row {
      Sequence* sequence = nullptr;
      int64_t end = 0;
      bool sample = false;
      int64_t n_draft = 0;
      std::vector<BlockIndex> checkpoint;  // that the step fills, or empty
    };
    uint64_t epoch = 0;
    Duration expected{};
    uint64_t units = 0;  // of service
    std::vector<Row> rows;
  };
  // When a sequence ends by itself: its deadline, while it waits its class's queue_max, while it is
  // paused paused_max.
  using Alarm = std::tuple<TimePoint, SequenceId, EndReason>;

  Status CheckSpec(const SequenceSpec& spec) const;
  Status CheckStart(const Sequence& sequence);
  // A sequence of the tenant furthest above its share of the queue makes way for one of `tenant`.
  void ShedFor(const Tenant* tenant);
  std::optional<TimePoint> PauseAlarm(const Sequence& sequence) const;
  void EndPause(Sequence& sequence);
  void ReleasePaused(StepPlan& plan);
  Sequence* FindLive(SequenceId id);
  ModelLane& LaneOf(const Sequence& sequence);
  std::optional<TimePoint> QueueAlarm(const Sequence& sequence) const;
  void StopCountingAsWaiting(Sequence& sequence);
  void Finish(Sequence& sequence);
  void Expire(TimePoint now, StepPlan& plan);
  void EndDenied(StepPlan& plan);
  void PlanLane(size_t lane, StepPlan& plan);
  // The plan has rows: they are in flight from now on.
  void Start(StepPlan& plan);
  void CommitRow(InFlight::Row& row, const RowResult& result);
  // Takes the tokens drawn, those of a draft that came true included.
  void AppendTokens(InFlight::Row& row, const RowResult& result);

  const SchedulerOptions options_;
  TenantTable tenants_;
  std::vector<std::unique_ptr<ModelLane>> lanes_;  // [models ever added]
  DeviceTurn turn_;
  WaitingBounds waiting_;
  ServiceRate rate_;
  const Speculation speculation_;
  std::map<SequenceId, std::unique_ptr<Sequence>> sequences_;
  std::set<Alarm> alarms_;
  std::set<SequenceId> denied_;                        // leases
  std::set<std::pair<TimePoint, SequenceId>> paused_;  // that may still hold state
  std::vector<Ended> ended_early_;                     // to be told by the next plan
  TimePoint now_{};                                    // the latest that was told
  bool draining_ = false;
  bool has_intervals_ = false;  // some class paces its tokens
  uint64_t units_before_ = 0;   // all service when the step in work was begun
  std::deque<InFlight> in_flight_;
  std::map<size_t, std::vector<BlockIndex>> checkpoints_;  // of the plan in work, by row
  uint64_t last_id_ = 0;
  uint64_t last_epoch_ = 0;
  uint64_t last_plan_ = 0;
  uint64_t preemptions_ = 0;
  uint64_t shed_ = 0;
  uint64_t refused_late_ = 0;
  uint64_t recomputed_tokens_ = 0;
  uint64_t drafted_tokens_ = 0;
  uint64_t accepted_tokens_ = 0;
};

}  // namespace inferd
