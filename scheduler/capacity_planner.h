// CapacityPlanner: which sequences of a model hold state: admission, promises, preemption.
#pragma once

#include <cstdint>
#include <vector>

#include "scheduler/model_lane.h"

namespace inferd {

// The first of the two planners of a step (the split of TensorRT-LLM): it decides who may be
// resident, BatchPlanner who of those gets tokens. Made for one plan of one lane.
class CapacityPlanner {
 public:
  struct Limits {
    int64_t step_tokens_max = 0;
    int64_t running_max = 0;
    uint64_t plan_id = 0;
    TimePoint now{};
  };
  CapacityPlanner(ModelLane& lane, TenantTable& tenants, const Limits& limits, StepPlan& plan)
      : lane_(lane), tenants_(tenants), limits_(limits), plan_(plan) {}

  struct Candidate {
    Sequence* sequence = nullptr;  // nullptr: nobody
    bool again = false;            // it was preempted in this plan: it would only be so again
  };
  // The waiting sequence to be admitted next: of the flows that wait for this model and are
  // (`over_served`) or are not above the policy's window, the one with the smallest key, or, within
  // the reorder window, the one whose first token is due first.
  Candidate NextToAdmit(bool over_served) const;
  // True if there is room for the sequence, which holds no more than its cached prefix, and for
  // what it is expected to need, made by preempting sequences of over-served flows if that is
  // enough. Nobody is preempted in vain. `alone`: nothing else would run: promises do not count and
  // paused sequences give way.
  bool MakeRoomToAdmit(const Sequence& sequence, bool alone);
  // Units for n_tokens more positions, or for as many as can be had, by preempting sequences that
  // come after it in line and have no grant in this plan. Returns how many.
  int64_t MakeRoomToGrow(Sequence& sequence, int64_t n_tokens);
  // What the sequence is expected to need from now on, as a promise.
  void RenewPromise(Sequence& sequence);

 private:
  Sequence* HeadOf(FlowIndex flow) const;
  std::vector<int64_t> ExpectedUnits(const Sequence& sequence) const;
  std::vector<int64_t> Lacking(const Sequence& sequence) const;
  bool MayYield(const Sequence& sequence, uint64_t floor) const;
  bool YieldsBefore(const Sequence& a, const Sequence& b) const;
  Sequence* VictimForAdmission(uint64_t floor) const;
  Sequence* VictimForGrowth(const Sequence& sequence) const;
  void Preempt(Sequence& victim, const Sequence& beneficiary);

  ModelLane& lane_;
  TenantTable& tenants_;
  const Limits limits_;
  StepPlan& plan_;
};

}  // namespace inferd
