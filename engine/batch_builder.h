// BatchBuilder: a StepPlan as the arrays that a device reads.
#pragma once

#include <vector>

#include "backend/forward_batch.h"
#include "engine/generation_state.h"
#include "scheduler/step_plan.h"

namespace inferd::engine_internal {

// Which choice a row belongs to.
struct RowOwner {
  GenerationState* generation = nullptr;
  int32_t choice = 0;
};

// Keeps its arrays from step to step, so that a steady batch allocates nothing. Engine thread only.
class BatchBuilder {
 public:
  // owners[i] belongs to plan.rows[i]. What is returned by the accessors borrows from the plan's
  // sequences and from the owners, and is valid until the next Build or the plan's commit.
  void Build(const StepPlan& plan, const std::vector<RowOwner>& owners, size_t num_groups);

  const ForwardBatch& batch() const { return batch_; }
  // For each row of the plan that samples, in their order: one draw, and one behind each token of
  // its draft.
  const std::vector<SampleRow>& sample_rows() const { return sample_rows_; }

 private:
  void AddDraws(const PlanRow& row, const RowOwner& owner, std::vector<TokenId>& history);

  ForwardBatch batch_;
  std::vector<SampleRow> sample_rows_;
  std::vector<std::vector<TokenId>> histories_;  // by row: output and draft
};

}  // namespace inferd::engine_internal
