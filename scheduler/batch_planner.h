// BatchPlanner: fills one step of one model with rows, under the token budget.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "scheduler/capacity_planner.h"
#include "scheduler/model_lane.h"
#include "scheduler/speculation.h"

namespace inferd {

// The second of the two planners of a step. In this order, as long as budget is left:
//   A  decode rows of sequences that hold state, of flows that are not over-served;
//   B  their prefill chunks, the one due first before others;
//   C  admissions, while the head of the line fits;
//   D  A and B again for flows that are over-served no more, since those that waited have been
//      admitted. If the head of the line waits for room, there is no D: what D would take is what
//      the head waits for.
// A flow that is over-served still gets nothing, unless nothing else could run. Grants are charged
// as they are made. Made for one plan of one lane.
class BatchPlanner {
 public:
  struct Limits {
    int64_t step_tokens_max = 0;
    int64_t prefill_tokens_min = 0;  // of step_tokens_max, however late decodes would be
    bool has_intervals = false;      // some class paces its tokens: prefill gives way to decodes
    TimePoint now{};
    const Speculation* speculation = nullptr;
    uint64_t plan_id = 0;
  };
  BatchPlanner(ModelLane& lane,
               TenantTable& tenants,
               CapacityPlanner& capacity,
               const Limits& limits,
               StepPlan& plan)
      : lane_(lane),
        tenants_(tenants),
        capacity_(capacity),
        limits_(limits),
        prefill_tokens_max_(PrefillTokensMax()),
        plan_(plan) {}

  // `serve_over_served`: if the plan would stay empty, over-served flows are served after all.
  void Fill(bool serve_over_served);
  // Tokens granted that had been computed before.
  int64_t recomputed_tokens() const { return recomputed_tokens_; }
  // Checkpoints that the plan fills, by row; to be published, and given back, with its commit.
  std::map<size_t, std::vector<BlockIndex>> TakeCheckpoints() { return std::move(checkpoints_); }

 private:
  // As much prefill beside the decodes as lets the one that is due first be in time.
  int64_t PrefillTokensMax() const;
  void GrantResidents(bool over_served);
  // False if the head of the line did not fit.
  bool Admit(bool over_served);
  // Tokens that each of the rows that decode may guess ahead.
  int64_t DraftTokensMax() const;
  int64_t budget() const { return limits_.step_tokens_max - plan_.n_tokens; }
  int64_t ChunkTokens(const Sequence& sequence) const;
  int64_t CutAtGrid(const Sequence& sequence, int64_t n_tokens) const;
  // Units for up to n_tokens positions and a row of as many as can be had. Returns how many.
  int64_t Grow(Sequence& sequence, int64_t n_tokens);
  void Grant(Sequence& sequence, int64_t n_tokens);

  ModelLane& lane_;
  TenantTable& tenants_;
  CapacityPlanner& capacity_;
  const Limits limits_;
  const int64_t prefill_tokens_max_;
  StepPlan& plan_;
  std::vector<Sequence*> prefills_;
  std::map<size_t, std::vector<BlockIndex>> checkpoints_;
  int64_t draft_tokens_max_ = 0;
  bool passed_over_ = false;  // a sequence of an over-served flow
  int64_t recomputed_tokens_ = 0;
  int64_t num_decodes_ = 0;
  int64_t context_tokens_ = 0;
};

}  // namespace inferd
