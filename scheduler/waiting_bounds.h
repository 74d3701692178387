// WaitingBounds: how many sequences may wait that never ran, of the device and of each tenant.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "base/status.h"
#include "scheduler/model_lane.h"
#include "scheduler/tenant_table.h"

namespace inferd {

// Counts the sequences that never ran yet and their prompts' tokens. Scheduler's part; nobody else
// calls it. Invariant: a sequence is counted from its submission to its first grant or its end.
class WaitingBounds {
 public:
  struct Limits {
    int64_t sequences_max = 0;
    int64_t prompt_tokens_max = 0;
    int64_t tenants_max = 0;
  };
  explicit WaitingBounds(const Limits& limits) : limits_(limits) {}

  // kUnavailable if the tenant's bounds (nullptr: a new tenant), or the device's, are reached.
  // A flood fills its own tenant's part of the queue, not everyone's.
  Status CheckTenant(int64_t prompt_tokens, const Tenant* tenant, size_t num_tenants) const;
  Status CheckDevice(int64_t prompt_tokens) const;
  bool full() const { return num_sequences_ >= limits_.sequences_max; }
  // Who makes way for a sequence of `tenant` when the queue is full: the last in line, of the
  // lowest class, of the tenant furthest above its share of the queue by weight; nullptr if that
  // is not further than `tenant` would be. Nothing of it was streamed.
  static Sequence* VictimFor(const Tenant* tenant,
                             const TenantTable& tenants,
                             std::span<const std::unique_ptr<ModelLane>> lanes);

  void Add(const Sequence& sequence, Tenant& tenant);
  void Remove(const Sequence& sequence, Tenant& tenant);
  int64_t num_sequences() const { return num_sequences_; }
  int64_t prompt_tokens() const { return prompt_tokens_; }

 private:
  const Limits limits_;
  int64_t num_sequences_ = 0;
  int64_t prompt_tokens_ = 0;
};

}  // namespace inferd
