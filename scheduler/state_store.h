// StateStore: the state units of one model: a pool for each group, and the tables of its sequences.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/model_geometry.h"
#include "base/status.h"
#include "scheduler/kv_block_pool.h"
#include "scheduler/prefix_cache.h"
#include "scheduler/sequence.h"
#include "scheduler/step_plan.h"

namespace inferd {

// Scheduler's part for memory; nobody else calls it. It gives units to sequences and takes them
// back; who gets and who gives up is decided elsewhere.
// Every sequence that holds state has a promise: the units that its admission counted on beyond
// those it holds. Admissions keep the sum of promises within what is available, so that a sequence
// which was admitted can usually go on (a promise is no reservation: it may be exceeded).
class StateStore {
 public:
  // units[g]: capacity of the pool of group g.
  StateStore(ModelGeometry geometry, std::span<const int64_t> units);
  StateStore(const StateStore&) = delete;
  StateStore& operator=(const StateStore&) = delete;

  const ModelGeometry& geometry() const { return geometry_; }
  size_t num_groups() const { return pools_.size(); }
  bool has_slots() const { return num_slot_groups_ > 0; }

  // A sequence of this model comes, and goes again (it holds nothing then).
  void Attach(Sequence& sequence);
  void Detach(Sequence& sequence);

  // Gives a sequence that holds nothing the units of the longest prefix that the cache has of it,
  // as a whole number of blocks and less than all its tokens; num_computed() is then its end.
  void Adopt(Sequence& sequence);
  // Positions [0, end) of a running sequence are computed: its full blocks go into the cache.
  // checkpoint: units by group that hold its recurrent state at `end`, or empty.
  void Publish(Sequence& sequence, int64_t end, std::span<const BlockIndex> checkpoint);
  // The next position behind num_computed() where recurrent state is worth keeping; nothing in a
  // model without it. A multiple of the grid.
  std::optional<int64_t> NextCheckpoint(const Sequence& sequence, int64_t grid) const {
    return num_slot_groups_ == 0 || sequence.domain_ == kNoDomain
               ? std::nullopt
               : NextCheckpointOfSlots(sequence, grid);
  }
  // Units for a checkpoint, and the copies that fill them once the row is computed; empty if there
  // is no room. The caller gives them back.
  std::vector<BlockIndex> TakeCheckpoint(const Sequence& sequence, std::vector<StateCopy>& copies);
  void GiveBackCheckpoint(std::span<const BlockIndex> checkpoint);
  // The sequence is admitted with what Adopt found.
  void CountHit(const Sequence& sequence);

  // Units of `group` that a sequence holds at once when it has computed `end` positions, in chunks
  // of at most chunk_tokens.
  int64_t UnitsFor(size_t group, int64_t end, int64_t chunk_tokens) const;
  // The sequence's own units are enough for positions [0, end).
  bool HasUnitsFor(const Sequence& sequence, int64_t end) const { return end <= sequence.covered_; }
  // Pending positions of the sequence that its units and the available ones are enough for.
  int64_t TokensThatFit(const Sequence& sequence) const;
  // Units for positions [0, end). They are available. True if it took any; the sequence's promise
  // is then out of date. Adds the copies that must be made before the row.
  bool Grow(Sequence& sequence, int64_t end, std::vector<StateCopy>& copies);
  // Frees units that neither the pending positions nor a step in flight can see.
  void DropBehindWindow(Sequence& sequence) {
    if (has_windows_) {
      DropBlocksBehindWindow(sequence);
    }
  }
  // Takes back everything, the promise included.
  void Release(Sequence& sequence);
  // The same of a sequence whose state is kept elsewhere: it needs units for all of it again.
  void ReleaseUnits(Sequence& sequence);
  // Its state is back, in units of its own: what of it is not in the cache may go there again.
  void Restored(Sequence& sequence);

  // The sequence is expected to need units[g] in all.
  void Promise(Sequence& sequence, std::span<const int64_t> units);
  // Units that could be handed out now to the sequence, and those that admitted sequences count on.
  int64_t available(size_t group, const Sequence& sequence) const {
    return pools_[group].num_free() + cache_.evictable(group, sequence.domain_);
  }
  int64_t promised(size_t group) const { return promised_[group]; }

  // Units that sequences hold; units that only the cache holds.
  int64_t blocks_used() const;
  int64_t blocks_cached() const;
  int64_t blocks_total() const;
  const PrefixCacheStats& cache_stats() const { return cache_.stats(); }
  // kInternal unless pools, references, tables and promises agree. O(units).
  // checkpoints: those that steps in flight still fill.
  Status CheckIntegrity(std::span<const Sequence* const> residents,
                        std::span<const std::vector<BlockIndex>> checkpoints) const;

 private:
  std::optional<int64_t> NextCheckpointOfSlots(const Sequence& sequence, int64_t grid) const;
  void DropBlocksBehindWindow(Sequence& sequence);
  // Positions that the sequence's units are enough for, in every group.
  int64_t Covered(const Sequence& sequence) const;
  void Promise(Sequence& sequence, size_t group, int64_t units);
  BlockIndex Take(size_t group, const Sequence& sequence);
  void GiveBack(size_t group, BlockIndex unit);
  bool is_slot(size_t group) const { return geometry_.groups[group].kind == StateKind::kSlot; }
  const Digest& KeyOf(Sequence& sequence, int64_t block);
  PrefixCache::Match Find(Sequence& sequence);

  const ModelGeometry geometry_;
  std::vector<KvBlockPool> pools_;  // one a group
  PrefixCache cache_;
  const int64_t num_slot_groups_;
  const bool has_windows_;
  std::vector<int64_t> promised_;  // one a group: the sum over sequences
};

// kResourceExhausted if a sequence of `tokens` tokens can never be computed in pools of units[g],
// even alone. Such a sequence must not be submitted.
Status CheckFits(const ModelGeometry& geometry, std::span<const int64_t> units, int64_t tokens);

// The longest sequence for which CheckFits is OK, at most the model's context.
int64_t TokensMaxFor(const ModelGeometry& geometry, std::span<const int64_t> units);

}  // namespace inferd
