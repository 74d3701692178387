// ModelLane: the sequences and the block pools of one model, and the grants of one step of it.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "base/model_geometry.h"
#include "base/status.h"
#include "scheduler/kv_block_pool.h"
#include "scheduler/step_plan.h"

namespace inferd {

struct SchedulerOptions {
  int32_t step_tokens_max = 512;  // token budget of a step; more: longer steps, faster prefill
  int32_t running_max = 256;      // sequences of one model that hold blocks at once
  int32_t waiting_max = 1024;     // sequences that never ran yet, of all models together
  // A prefill chunk that does not reach the prompt's end ends at a multiple of kBlockTokens, for
  // devices or states that need it. Then step_tokens_max >= kBlockTokens.
  bool cut_at_blocks = false;
  // Steps that a model keeps the device while another one waits (scheduler.h).
  int32_t model_steps_max = 8;
};

// Scheduler's part for one model; nobody else calls it. Sequences are Scheduler's, the lane orders
// them and holds the references of their blocks. Policy: first come, first served, by SequenceId;
// one pass over the running sequences, then admissions, under one token budget.
class ModelLane {
 public:
  // units[g]: capacity of the pool of group g.
  ModelLane(ModelGeometry geometry,
            std::span<const int64_t> units,
            const SchedulerOptions& options);

  // A new sequence, behind all others.
  void Enqueue(Sequence& sequence);
  // Takes a sequence out of the lane and frees its blocks. It is not in flight.
  void Remove(Sequence& sequence);

  // True if some sequence could get tokens now, blocks permitting.
  bool HasWork() const;
  // Grants rows and counts them as in flight. No rows if nothing can run.
  void Plan(StepPlan& plan);

  const ModelGeometry& geometry() const { return geometry_; }
  // The sequence first in line. There is one.
  SequenceId OldestId() const;
  int64_t num_running() const { return static_cast<int64_t>(running_.size()); }
  int64_t num_waiting() const { return static_cast<int64_t>(waiting_.size()); }
  int64_t blocks_used() const;
  int64_t blocks_total() const;
  uint64_t recomputed_tokens() const { return recomputed_tokens_; }

  // kInternal unless pools, references, tables and orders agree. O(blocks).
  Status CheckIntegrity() const;

 private:
  // Preempted sequences before new ones, each in order of arrival.
  using WaitingKey = std::pair<bool, SequenceId>;  // {is new, id}
  static WaitingKey KeyOf(const Sequence& sequence) {
    return {!sequence.preempted_, sequence.id()};
  }

  int64_t ChunkTokens(const Sequence& sequence, int64_t budget) const;
  int64_t CutAtBlock(const Sequence& sequence, int64_t n_tokens) const;
  int64_t TokensThatFit(const Sequence& sequence) const;
  int64_t Reserve(Sequence& sequence, int64_t n_tokens, StepPlan& plan, bool may_preempt);
  bool PreemptFor(const Sequence& sequence, StepPlan& plan);
  void Preempt(Sequence& victim, StepPlan& plan);
  void DropBehindWindow(Sequence& sequence);
  void ReleaseBlocks(Sequence& sequence);
  void Grant(Sequence& sequence, int64_t n_tokens, StepPlan& plan);
  void GrantRunning(StepPlan& plan);
  void Admit(StepPlan& plan);
  bool CanAdmit(const Sequence& sequence) const;
  int64_t UnitsWanted(const Sequence& sequence, size_t group) const;

  const ModelGeometry geometry_;
  const SchedulerOptions options_;
  std::vector<KvBlockPool> pools_;  // one a group
  std::vector<Sequence*> running_;  // ascending id
  std::map<WaitingKey, Sequence*> waiting_;
  int64_t decodes_left_ = 0;  // in a plan: decode rows still to be granted
  uint64_t recomputed_tokens_ = 0;
};

// kResourceExhausted if a sequence of `tokens` tokens can never be computed in pools of units[g],
// even alone. Such a sequence must not be submitted.
Status CheckFits(const ModelGeometry& geometry, std::span<const int64_t> units, int64_t tokens);

// The longest sequence for which CheckFits is OK, at most the model's context.
int64_t TokensMaxFor(const ModelGeometry& geometry, std::span<const int64_t> units);

}  // namespace inferd
