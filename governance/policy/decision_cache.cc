#include "governance/policy/decision_cache.h"

#include <bit>
#include <functional>
#include <utility>

namespace inferd {

DecisionCache::DecisionCache(size_t num_slots) {
  if (num_slots == 0) {
    return;
  }
  slots_per_shard_ = std::bit_ceil((num_slots + kNumShards - 1) / kNumShards);
  for (Shard& shard : shards_) {
    MutexLock lock(shard.mutex);
    shard.slots.resize(slots_per_shard_);
  }
}

SharedPolicyDecision DecisionCache::Find(std::string_view key) const {
  if (slots_per_shard_ == 0) {
    return nullptr;
  }
  const size_t hash = std::hash<std::string_view>{}(key);
  Shard& shard = shards_[hash % kNumShards];
  MutexLock lock(shard.mutex);
  const Slot& slot = shard.slots[hash / kNumShards % slots_per_shard_];
  return slot.key == key ? slot.decision : nullptr;
}

void DecisionCache::Put(std::string_view key, SharedPolicyDecision decision) {
  if (slots_per_shard_ == 0 || key.size() > kKeyBytesMax) {
    return;
  }
  const size_t hash = std::hash<std::string_view>{}(key);
  Shard& shard = shards_[hash % kNumShards];
  Slot old;  // freed after the lock
  MutexLock lock(shard.mutex);
  Slot& slot = shard.slots[hash / kNumShards % slots_per_shard_];
  old = std::exchange(slot, Slot{.key = std::string(key), .decision = std::move(decision)});
}

}  // namespace inferd
