#include "scheduler/waiting_bounds.h"

#include <tuple>

namespace inferd {

Status WaitingBounds::CheckTenant(int64_t prompt_tokens,
                                  const Tenant* tenant,
                                  size_t num_tenants) const {
  if (tenant == nullptr) {
    return static_cast<int64_t>(num_tenants) < limits_.tenants_max
               ? OkStatus()
               : ErrorF(StatusCode::kUnavailable,
                        "the device knows %d tenants already, no new one is served",
                        limits_.tenants_max);
  }
  if (tenant->num_waiting >= tenant->spec.waiting_max ||
      tenant->waiting_prompt_tokens + prompt_tokens > tenant->spec.waiting_prompt_tokens_max) {
    return ErrorF(StatusCode::kUnavailable,
                  "the tenant's queue is full: %d sequences with %d prompt tokens wait; try again "
                  "later",
                  tenant->num_waiting,
                  tenant->waiting_prompt_tokens);
  }
  return OkStatus();
}

Status WaitingBounds::CheckDevice(int64_t prompt_tokens) const {
  if (full() || prompt_tokens_ + prompt_tokens > limits_.prompt_tokens_max) {
    return ErrorF(StatusCode::kUnavailable,
                  "the queue is full: %d sequences with %d prompt tokens wait; try again later",
                  num_sequences_,
                  prompt_tokens_);
  }
  return OkStatus();
}

Sequence* WaitingBounds::VictimFor(const Tenant* tenant,
                                   const TenantTable& tenants,
                                   std::span<const std::unique_ptr<ModelLane>> lanes) {
  const auto share = [](int64_t waiting, int64_t weight) {
    return waiting * TenantSpec::kWeightMax / weight;
  };
  const Tenant* most = nullptr;
  for (const auto& [id, other] : tenants.all()) {
    if (most == nullptr || share(other->num_waiting, other->spec.weight) >
                               share(most->num_waiting, most->spec.weight)) {
      most = other.get();
    }
  }
  const int64_t own =
      tenant == nullptr ? share(1, 1) : share(tenant->num_waiting + 1, tenant->spec.weight);
  if (most == nullptr || most == tenant || share(most->num_waiting, most->spec.weight) <= own) {
    return nullptr;
  }
  Sequence* victim = nullptr;
  for (const std::unique_ptr<ModelLane>& lane : lanes) {
    Sequence* last = lane->LastNew(*most);
    if (last != nullptr && (victim == nullptr || std::tuple(victim->class_order(), victim->id()) <
                                                     std::tuple(last->class_order(), last->id()))) {
      victim = last;
    }
  }
  return victim;
}

void WaitingBounds::Add(const Sequence& sequence, Tenant& tenant) {
  ++num_sequences_;
  prompt_tokens_ += sequence.num_prompt_tokens();
  ++tenant.num_waiting;
  tenant.waiting_prompt_tokens += sequence.num_prompt_tokens();
}

void WaitingBounds::Remove(const Sequence& sequence, Tenant& tenant) {
  --num_sequences_;
  prompt_tokens_ -= sequence.num_prompt_tokens();
  --tenant.num_waiting;
  tenant.waiting_prompt_tokens -= sequence.num_prompt_tokens();
}

}  // namespace inferd
