#include "engine/slab_budget.h"

namespace inferd::engine_internal {
namespace {

constexpr int64_t kMebibytesPerSlab = kSlabBytes >> 20;

}  // namespace

int64_t SlabBudget::used() const {
  int64_t used = 0;
  for (const auto& [slot, use] : uses_) {
    used += use.weight_slabs + use.kv_slabs;
  }
  return used;
}

std::vector<MemoryUse> SlabBudget::uses() const {
  std::vector<MemoryUse> uses;
  for (const auto& [slot, use] : uses_) {
    uses.push_back(use);
  }
  return uses;
}

Status SlabBudget::Take(ModelSlot slot, const std::string& model, const Need& need) {
  const MemoryUse use{.model = model,
                      .weight_slabs = SlabsFor(need.weight_bytes),
                      .kv_slabs = SlabsFor(need.kv_bytes)};
  const auto had = uses_.find(slot);
  const int64_t others =
      used() - (had == uses_.end() ? 0 : had->second.weight_slabs + had->second.kv_slabs);
  if (capacity_ > 0 && others + use.weight_slabs + use.kv_slabs > capacity_) {
    std::string table;
    for (const auto& [other, held] : uses_) {
      if (other != slot) {
        table += absl::StrFormat("; model %s has %d MiB of weights and %d MiB of KV",
                                 held.model,
                                 held.weight_slabs * kMebibytesPerSlab,
                                 held.kv_slabs * kMebibytesPerSlab);
      }
    }
    return ErrorF(StatusCode::kResourceExhausted,
                  "model %s does not fit: it needs %d MiB of weights and %d MiB of KV, and %d of "
                  "%d MiB are free%s; unload a model, lower kv_cache.bytes_max or raise "
                  "device.memory_bytes_max",
                  model,
                  use.weight_slabs * kMebibytesPerSlab,
                  use.kv_slabs * kMebibytesPerSlab,
                  (capacity_ - others) * kMebibytesPerSlab,
                  capacity_ * kMebibytesPerSlab,
                  table);
  }
  uses_[slot] = use;
  return OkStatus();
}

}  // namespace inferd::engine_internal
