// DecisionCache: decisions that were made before, of a bounded number.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/thread_annotations.h"
#include "governance/policy/policy_request.h"

namespace inferd {

// Shared by the cache and by whoever asked: a decision may leave the cache while it is used.
using SharedPolicyDecision = std::shared_ptr<const PolicyDecision>;

// Each key has one place; a new key there replaces the old. Whole keys are compared, so that no
// choice of keys makes one decision pass for another, or a look-up slow. Thread-safe.
class DecisionCache {
 public:
  // `num_slots` is rounded up to a power of two, 64 at least; 0 keeps nothing.
  explicit DecisionCache(size_t num_slots);

  // Null if it is not there.
  SharedPolicyDecision Find(std::string_view key) const;
  // A key above kKeyBytesMax is not kept.
  void Put(std::string_view key, SharedPolicyDecision decision);

  static constexpr size_t kKeyBytesMax = 1024;

 private:
  struct Slot {
    std::string key;
    SharedPolicyDecision decision;
  };
  struct Shard {
    Mutex mutex;
    std::vector<Slot> slots GUARDED_BY(mutex);
  };
  static constexpr size_t kNumShards = 64;

  size_t slots_per_shard_ = 0;
  mutable std::array<Shard, kNumShards> shards_;
};

}  // namespace inferd
