// StateStore: the state units of one model: a pool for each group, and the tables of its sequences.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/model_geometry.h"
#include "base/status.h"
#include "scheduler/kv_block_pool.h"
#include "scheduler/sequence.h"

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

  const ModelGeometry& geometry() const { return geometry_; }
  size_t num_groups() const { return pools_.size(); }

  void Attach(Sequence& sequence) const { sequence.tables_.resize(pools_.size()); }

  // Units of `group` that a sequence holds at once when it has computed `end` positions, in chunks
  // of at most chunk_tokens.
  int64_t UnitsFor(size_t group, int64_t end, int64_t chunk_tokens) const;
  // Pending positions of the sequence that its units and the available ones are enough for.
  int64_t TokensThatFit(const Sequence& sequence) const;
  // Units for positions [0, end). They are available. True if it took any; the sequence's promise
  // is then out of date.
  bool Grow(Sequence& sequence, int64_t end);
  // Frees units that neither the pending positions nor a step in flight can see.
  void DropBehindWindow(Sequence& sequence);
  // Takes back everything, the promise included.
  void Release(Sequence& sequence);

  // The sequence is expected to need units[g] in all.
  void Promise(Sequence& sequence, std::span<const int64_t> units);
  // Units that could be handed out now, and those that admitted sequences count on.
  int64_t available(size_t group) const { return pools_[group].num_free(); }
  int64_t promised(size_t group) const { return promised_[group]; }

  int64_t blocks_used() const;
  int64_t blocks_total() const;
  // kInternal unless pools, references, tables and promises agree. O(units).
  Status CheckIntegrity(std::span<const Sequence* const> residents) const;

 private:
  void Promise(Sequence& sequence, size_t group, int64_t units);

  const ModelGeometry geometry_;
  std::vector<KvBlockPool> pools_;  // one a group
  std::vector<int64_t> promised_;   // one a group: the sum over sequences
};

// kResourceExhausted if a sequence of `tokens` tokens can never be computed in pools of units[g],
// even alone. Such a sequence must not be submitted.
Status CheckFits(const ModelGeometry& geometry, std::span<const int64_t> units, int64_t tokens);

// The longest sequence for which CheckFits is OK, at most the model's context.
int64_t TokensMaxFor(const ModelGeometry& geometry, std::span<const int64_t> units);

}  // namespace inferd
