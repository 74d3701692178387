#include "scheduler/tenant_table.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace inferd {
namespace {

// a + b, at most the largest value.
uint64_t SaturatingAdd(uint64_t a, uint64_t b) {
  return a + b < a ? ServicePolicy::kNoWindow : a + b;
}

}  // namespace

// Tracks a quantile by steps that balance there (Robbins and Monro 1951): of five sequences one
// pushes up by four steps, four push down by one.
void Tenant::LearnOutput(int64_t used, int64_t declared) {
  constexpr int64_t kStep = kShareOne / 80;
  constexpr int64_t kShareMin = kShareOne / 20;
  const bool above = used * kShareOne > output_share * declared;
  output_share = std::clamp(output_share + (above ? 4 * kStep : -kStep), kShareMin, kShareOne);
}

TenantTable::TenantTable(std::unique_ptr<ServicePolicy> policy,
                         std::span<const ServiceClass> classes)
    : policy_(std::move(policy)) {
  const size_t count = policy_->flows_by() == FlowsBy::kDevice  ? 1
                       : policy_->flows_by() == FlowsBy::kClass ? classes.size()
                                                                : 0;
  flows_.resize(count);
  backlogged_keys_.resize(count, ServicePolicy::kNoWindow);
  for (size_t i = 0; i < count; ++i) {
    policy_->OnNewFlow(flows_[i], classes[i].order);
  }
}

const Tenant* TenantTable::Find(const TenantId& id) const {
  const auto it = tenants_.find(id);
  return it == tenants_.end() ? nullptr : it->second.get();
}

Tenant& TenantTable::FindOrAdd(const TenantId& id) {
  std::unique_ptr<Tenant>& tenant = tenants_[id];
  if (tenant == nullptr) {
    tenant = std::make_unique<Tenant>();
    tenant->id = id;
    tenant->index = static_cast<uint32_t>(tenants_.size() - 1);
    if (policy_->flows_by() == FlowsBy::kTenant) {
      policy_->OnNewFlow(flows_.emplace_back(), 0);
      backlogged_keys_.push_back(ServicePolicy::kNoWindow);
    }
  }
  return *tenant;
}

Status TenantTable::SetSpec(const TenantId& id, const TenantSpec& spec) {
  if (spec.weight < 1 || spec.weight > TenantSpec::kWeightMax || spec.running_max < 0 ||
      spec.running_tokens_max < 0 || spec.waiting_max < 0 || spec.waiting_prompt_tokens_max < 0 ||
      spec.host_units_max < 0) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "tenant %s: its weight must be in [1, %d] and no limit negative",
                  id.value(),
                  TenantSpec::kWeightMax);
  }
  Tenant& tenant = FindOrAdd(id);
  tenant.spec = spec;
  if (policy_->flows_by() == FlowsBy::kTenant) {
    flows_[tenant.index].weight = spec.weight;
    UpdateBacklog(tenant, tenant.index, flows_[tenant.index].backlogged());
  }
  return OkStatus();
}

FlowIndex TenantTable::FlowOf(const Tenant& tenant, int32_t service_class) const {
  switch (policy_->flows_by()) {
    case FlowsBy::kDevice:
      return 0;
    case FlowsBy::kClass:
      return static_cast<FlowIndex>(service_class);
    case FlowsBy::kTenant:
      break;
  }
  return tenant.index;
}

void TenantTable::AddEligible(Tenant& tenant, FlowIndex index, int64_t units, int64_t tokens_max) {
  Flow& flow = flows_[index];
  const bool before = flow.backlogged();
  flow.waiting_units += units;
  ++flow.num_eligible;
  tenant.eligible_tokens.insert(tokens_max);
  UpdateBacklog(tenant, index, before);
}

void TenantTable::RemoveEligible(Tenant& tenant,
                                 FlowIndex index,
                                 int64_t units,
                                 int64_t tokens_max) {
  Flow& flow = flows_[index];
  CHECK(flow.num_eligible > 0);
  const bool before = flow.backlogged();
  flow.waiting_units -= units;
  --flow.num_eligible;
  tenant.eligible_tokens.erase(tenant.eligible_tokens.find(tokens_max));
  UpdateBacklog(tenant, index, before);
}

void TenantTable::AddResident(Tenant& tenant, FlowIndex index, int64_t tokens_max) {
  const bool before = flows_[index].backlogged();
  ++flows_[index].num_resident;
  ++tenant.num_running;
  tenant.running_tokens += tokens_max;
  UpdateBacklog(tenant, index, before);
}

void TenantTable::RemoveResident(Tenant& tenant, FlowIndex index, int64_t tokens_max) {
  CHECK(flows_[index].num_resident > 0 && tenant.num_running > 0);
  const bool before = flows_[index].backlogged();
  --flows_[index].num_resident;
  --tenant.num_running;
  tenant.running_tokens -= tokens_max;
  UpdateBacklog(tenant, index, before);
}

// A tenant at its cap does not wait for the device, so its flow must not hold the floor down. A
// flow that several share stays: its queue passes over the tenant's sequences.
void TenantTable::UpdateBacklog(const Tenant& tenant, FlowIndex index, bool was_backlogged) {
  Flow& flow = flows_[index];
  flow.at_cap = policy_->flows_by() == FlowsBy::kTenant && tenant.at_cap();
  if (!was_backlogged && flow.backlogged()) {
    policy_->OnBacklogged(flows_, index);
  }
  UpdateKey(index);
}

void TenantTable::Charge(FlowIndex index, int64_t units) {
  Flow& flow = flows_[index];
  units += std::exchange(flow.owed_units, 0);
  if (units == 0) {
    return;
  }
  if (flow.uncharged_units == 0) {
    uncharged_.push_back(index);
  }
  flow.uncharged_units += units;
  total_units_ += static_cast<uint64_t>(units);
  flow.service_units += static_cast<uint64_t>(units);
}

void TenantTable::Settle() {
  for (const FlowIndex index : uncharged_) {
    policy_->Charge(flows_[index], flows_[index].uncharged_units);
    flows_[index].uncharged_units = 0;
    UpdateKey(index);
  }
  uncharged_.clear();
}

int64_t TenantTable::UnitsAhead(FlowIndex index, int64_t own_units) const {
  Flow flow = flows_[index];
  if (const uint64_t floor = Floor(); !flow.backlogged() && floor != ServicePolicy::kNoWindow) {
    flow.key = std::max(flow.key, floor);  // as it will be lifted
  }
  const uint64_t end = policy_->KeyAfter(flow, own_units);
  int64_t ahead = own_units;
  for (FlowIndex i = 0; i < flows_.size(); ++i) {
    if (i != index && flows_[i].backlogged() && flows_[i].key <= end) {
      ahead += std::min(flows_[i].waiting_units, policy_->UnitsUntil(flows_[i], end));
    }
  }
  return ahead;
}

uint64_t TenantTable::Floor() const {
  uint64_t floor = ServicePolicy::kNoWindow;
  for (const uint64_t key : backlogged_keys_) {
    floor = std::min(floor, key);
  }
  return floor;
}

bool TenantTable::AnyResidentOverServed(uint64_t floor) const {
  return std::any_of(flows_.begin(), flows_.end(), [&](const Flow& flow) {
    return flow.num_resident > 0 && above_window(flow.key, floor);
  });
}

bool TenantTable::above_window(uint64_t key, uint64_t floor) const {
  return key > SaturatingAdd(floor, policy_->over_served_window());
}

bool TenantTable::in_reorder_window(FlowIndex flow, uint64_t floor) const {
  return flows_[flow].key <= SaturatingAdd(floor, policy_->reorder_window());
}

}  // namespace inferd
