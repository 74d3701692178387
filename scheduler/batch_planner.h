// BatchPlanner: fills one step of one model with rows, under the token budget.
#pragma once

#include <cstdint>
#include <vector>

#include "scheduler/capacity_planner.h"
#include "scheduler/model_lane.h"

namespace inferd {

// The second of the two planners of a step. In this order, as long as budget is left:
//   A  decode rows of sequences that hold state, of flows that are not over-served;
//   B  their prefill chunks, the one due first before others;
//   C  admissions, while the head of the line fits;
//   D  the same for over-served flows, unless the head of the line waits for room: what they would
//      take now is what it waits for.
// Grants are charged as they are made. Made for one plan of one lane.
class BatchPlanner {
 public:
  BatchPlanner(ModelLane& lane,
               TenantTable& tenants,
               CapacityPlanner& capacity,
               int64_t step_tokens_max,
               StepPlan& plan)
      : lane_(lane),
        tenants_(tenants),
        capacity_(capacity),
        step_tokens_max_(step_tokens_max),
        plan_(plan) {}

  void Fill();
  // Tokens granted that had been computed before.
  int64_t recomputed_tokens() const { return recomputed_tokens_; }

 private:
  void GrantResidents(bool over_served);
  // False if the head of the line did not fit.
  bool Admit(bool over_served);
  int64_t budget() const { return step_tokens_max_ - plan_.n_tokens; }
  int64_t ChunkTokens(const Sequence& sequence) const;
  int64_t CutAtGrid(const Sequence& sequence, int64_t n_tokens) const;
  // Units for up to n_tokens positions and a row of as many as can be had. Returns how many.
  int64_t Grow(Sequence& sequence, int64_t n_tokens);
  void Grant(Sequence& sequence, int64_t n_tokens);

  ModelLane& lane_;
  TenantTable& tenants_;
  CapacityPlanner& capacity_;
  const int64_t step_tokens_max_;
  StepPlan& plan_;
  std::vector<Sequence*> prefills_;
  int64_t recomputed_tokens_ = 0;
  int64_t num_decodes_ = 0;
  int64_t context_tokens_ = 0;
};

}  // namespace inferd
