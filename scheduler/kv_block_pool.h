// KvBlockPool: which state units of one group are free. The scheduler's only notion of memory.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/ids.h"
#include "base/status.h"

namespace inferd {

// Hands out fixed-size KV-cache blocks by index, with a reference count each. It owns no device
// memory. Thread: the engine thread only. Invariant: num_free() + num_used() == capacity(); a
// block is used while anyone holds a reference. Never blocks, evicts or preempts: Scheduler does.
class KvBlockPool {
 public:
  // capacity < kNoBlock.
  explicit KvBlockPool(int64_t capacity);

  // A block with one reference; nothing when all are used. The one freed last comes first, so
  // that memory stays warm and untouched blocks stay untouched.
  std::optional<BlockIndex> Allocate();
  // One more holder of a used block.
  void AddReference(BlockIndex block);
  // One holder less; the last one frees it.
  void Release(BlockIndex block);

  int64_t capacity() const { return static_cast<int64_t>(references_.size()); }
  int64_t num_free() const { return static_cast<int64_t>(free_.size()); }
  int64_t num_used() const { return capacity() - num_free(); }
  // Holders of a block; 0: free.
  uint32_t references(BlockIndex block) const { return references_[block]; }

  // kInternal saying what is wrong unless every block is either free once or referenced.
  // O(capacity): on idle and in tests.
  Status CheckIntegrity() const;

 private:
  std::vector<BlockIndex> free_;      // a stack
  std::vector<uint32_t> references_;  // [capacity]
};

}  // namespace inferd
