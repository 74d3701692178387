// ModelLane: the sequences of one model: which hold state, which wait and in which order.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <tuple>
#include <vector>

#include "base/model_geometry.h"
#include "base/status.h"
#include "scheduler/host_store.h"
#include "scheduler/service.h"
#include "scheduler/state_store.h"
#include "scheduler/step_plan.h"
#include "scheduler/tenant_table.h"

namespace inferd {

// What the scheduler must know of a model.
struct ModelSpec {
  ModelGeometry geometry = {};
  std::vector<int64_t> units = {};  // one a state group: what the device holds
  // Where prefill may be cut: chunks that do not reach the last known token end at multiples of
  // this. 1: anywhere, for a device whose rows do not depend on the cut (its contract); else a
  // multiple of kBlockTokens, at most step_tokens_max.
  int32_t chunk_grid = 1;
  ServiceCosts costs = {};
  StepTimeModel step_time = {};
  // Where state of preempted sequences may be kept; for it geometry.groups[g].unit_bytes are set.
  HostPool host = {};
  // False: its weights are still on the way. Sequences may come, and wait for ModelLoaded.
  bool resident = true;
};

// A model's way through the scheduler.
enum class ModelStanding : uint8_t {
  kServing,
  kDraining,  // takes no new sequences
  kGone,      // its slot is not used again
};

// Scheduler's part for one model; nobody else calls it. Sequences are Scheduler's, the lane orders
// them and keeps the counts of their flows and tenants. It decides nothing: CapacityPlanner says
// who holds state, BatchPlanner who gets tokens.
class ModelLane {
 public:
  // Within a flow: preempted sequences before new ones, then as ServicePolicy says.
  using QueueKey = std::tuple<bool, int32_t, TimePoint, SequenceId>;
  using Queue = std::map<QueueKey, Sequence*>;

  ModelLane(ModelSpec spec, TenantTable& tenants);

  const ModelSpec& spec() const { return spec_; }
  const StepTimeModel& step_time() const { return step_time_; }
  void SetStepTime(const StepTimeModel& step_time) { step_time_ = step_time; }
  ModelStanding standing() const { return standing_; }
  void SetStanding(ModelStanding standing) { standing_ = standing; }
  StateStore& store() { return store_; }
  const StateStore& store() const { return store_; }
  const HostStore& host() const { return host_; }
  // Copies to be made before the rows of the lane's next plan.
  std::vector<StateCopy>& copies() { return copies_; }

  // A new sequence.
  void Enqueue(Sequence& sequence);
  // Takes a sequence out of the lane and frees its units. It is not in flight.
  void Remove(Sequence& sequence);
  void SetPaused(Sequence& sequence, bool paused);
  // What waited for the model's weights may be admitted from now on.
  void SetResident();
  // Service that the sequence is still expected to need, its own output by its tenant's habits.
  int64_t ExpectedUnits(const Sequence& sequence) const;
  // Sequences of its flow before one that waits in a queue.
  int64_t NumBefore(const Sequence& sequence) const;
  int64_t UnitsBefore(const Sequence& sequence) const;
  bool resident() const { return resident_; }
  // Of the tenant's sequences that never ran, the last in line; nullptr if there is none.
  Sequence* LastNew(const Tenant& tenant) const;
  // From waiting to running: it is about to get its first grant.
  void Admit(Sequence& sequence);
  // A sequence that was kSwapped holds units for all its state again: it is copied back.
  void SwapIn(Sequence& sequence);
  // From running back to waiting; its units are free. It is not in flight. It stays in running()
  // until Compact. Returns what its way back will cost, as prompt tokens.
  int64_t Preempt(Sequence& sequence);
  void Compact();

  // In order of arrival. Between Preempt and Compact, some wait again.
  std::span<Sequence* const> running() const { return running_; }
  // Sequences of a flow that could be admitted: not paused.
  const Queue& queue(FlowIndex flow) const;
  size_t num_queues() const { return queues_.size(); }
  // Some sequence that waits has a first-token deadline.
  bool any_due() const { return num_due_ > 0; }
  int64_t num_running() const { return num_running_; }
  int64_t num_paused_running() const { return num_paused_running_; }
  int64_t num_waiting() const { return num_waiting_; }
  uint64_t swapped_out() const { return swapped_out_; }  // sequences, ever
  uint64_t swapped_in() const { return swapped_in_; }

  // Some sequence could get tokens now, units permitting.
  bool HasWork() const;
  // The smallest key of a flow that has such a sequence; kNoWindow if none.
  uint64_t LowestKey() const;
  // The sequence first in line. There is one.
  SequenceId OldestId() const;

  // kInternal unless store, queues and counts agree. O(units).
  Status CheckIntegrity(std::span<const std::vector<BlockIndex>> checkpoints) const;

 private:
  static QueueKey KeyOf(const Sequence& sequence);
  bool PrefersSwap(const Sequence& sequence) const;
  void Wait(Sequence& sequence);
  void StopWaiting(Sequence& sequence);

  const ModelSpec spec_;
  StepTimeModel step_time_;
  ModelStanding standing_ = ModelStanding::kServing;
  bool resident_;
  TenantTable& tenants_;
  StateStore store_;
  HostStore host_;
  std::vector<StateCopy> copies_;
  std::vector<Sequence*> running_;         // ascending id
  std::vector<Queue> queues_;              // by flow
  std::map<SequenceId, Sequence*> aside_;  // waiting, but not to be admitted: paused or no weights
  int64_t num_running_ = 0;
  int64_t num_paused_running_ = 0;
  int64_t num_waiting_ = 0;
  int64_t num_due_ = 0;
  uint64_t swapped_out_ = 0;
  uint64_t swapped_in_ = 0;
};

}  // namespace inferd
