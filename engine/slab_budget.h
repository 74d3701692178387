// SlabBudget: how much of the device's memory which model has. It owns no memory.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "engine/engine_report.h"

namespace inferd::engine_internal {

// Weights and KV of all models come out of one budget of slabs of kSlabBytes, so that what one
// model gives back another may have, and huge pages can stand behind both. Address space is not
// scarce: a slab is an amount, its place is the device's matter.
// Invariant: used() is the sum over the models. Not thread-safe.
class SlabBudget {
 public:
  // 0: no bound.
  explicit SlabBudget(int64_t capacity_bytes) : capacity_(capacity_bytes / kSlabBytes) {
    if (capacity_bytes > 0 && capacity_ == 0) {
      capacity_ = 1;
    }
  }

  static int64_t SlabsFor(int64_t bytes) { return (bytes + kSlabBytes - 1) / kSlabBytes; }

  struct Need {
    int64_t weight_bytes = 0;
    int64_t kv_bytes = 0;
  };
  // Takes, or changes what the model has. kResourceExhausted, with who has what, if it does not
  // fit; what the model had it then keeps.
  Status Take(ModelSlot slot, const std::string& model, const Need& need);
  void Give(ModelSlot slot) { uses_.erase(slot); }

  int64_t capacity() const { return capacity_; }  // slabs; 0: no bound
  int64_t used() const;
  std::vector<MemoryUse> uses() const;  // in order of slots

 private:
  int64_t capacity_;
  std::map<ModelSlot, MemoryUse> uses_;
};

}  // namespace inferd::engine_internal
