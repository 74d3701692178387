// HostStore: state of preempted sequences of one model, kept in host memory until they go on.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/model_geometry.h"
#include "base/status.h"
#include "scheduler/kv_block_pool.h"
#include "scheduler/sequence.h"
#include "scheduler/step_plan.h"

namespace inferd {

// Memory of the host for state of preempted sequences.
struct HostPool {
  std::vector<int64_t> units = {};  // one a state group; empty: state is never kept there
  int64_t bytes_per_s = 0;          // of copies, one way
};

// Scheduler's part; nobody else calls it. It owns no memory: it says which unit is copied where,
// and whoever runs the plans copies, in the order of StepPlan::copies_before. That order alone
// makes it safe to hand out a unit again as soon as the copy that reads it is listed.
class HostStore {
 public:
  HostStore(const ModelGeometry& geometry, const HostPool& pool);

  // Units that the running sequence holds, over all groups; and how long copying them there and
  // back takes.
  static int64_t UnitsOf(const Sequence& sequence);
  Duration CopyTime(const Sequence& sequence) const;
  bool HasRoomFor(const Sequence& sequence) const;
  // Everything that a running sequence holds goes to the host; it keeps its own units until they
  // are released. There is room.
  void CopyOut(Sequence& sequence, std::vector<StateCopy>& copies);
  // Back into the units that the sequence holds by now, in all groups.
  void CopyIn(Sequence& sequence, std::vector<StateCopy>& copies);
  // What the host keeps of the sequence is of no use any more.
  void Drop(Sequence& sequence);

  int64_t num_used() const;
  int64_t capacity() const;
  // kInternal unless the units used are those of `swapped`.
  Status CheckIntegrity(std::span<const Sequence* const> swapped) const;

 private:
  const ModelGeometry& geometry_;
  const int64_t bytes_per_s_;
  std::vector<KvBlockPool> pools_;  // one a group, or none
};

}  // namespace inferd
