// TenantTable: the accounts of tenants and flows, and which flows wait.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "scheduler/service.h"
#include "scheduler/service_policy.h"

namespace inferd {

// One tenant on this device. At a stable address as long as the scheduler lives.
struct Tenant {
  TenantId id;
  TenantSpec spec;
  uint32_t index = 0;  // in order of first appearance
  int64_t num_running = 0;
  int64_t running_tokens = 0;  // that those may come to
  std::multiset<int64_t>
      eligible_tokens;      // that each which waits and could be admitted may come to
  int64_t num_waiting = 0;  // never ran yet
  int64_t waiting_prompt_tokens = 0;
  int64_t num_host_units = 0;
  // rho: the share of the declared output that four of five of its sequences stay within, learnt
  // as they finish. In 1/kShareOne.
  int64_t output_share = kShareOne / 4;
  static constexpr int64_t kShareOne = 1024;

  // Within its caps, one more that may come to so many tokens?
  bool MayRun(int64_t tokens_max) const {
    return num_running < spec.running_max &&
           (num_running == 0 || tokens_max <= spec.running_tokens_max - running_tokens);
  }
  // Of those that wait none is within its caps: it does not wait for the device.
  bool at_cap() const { return !eligible_tokens.empty() && !MayRun(*eligible_tokens.begin()); }
  // A sequence that might have had `declared` output tokens finished with `used`.
  void LearnOutput(int64_t used, int64_t declared);
  // Output tokens still to be expected of one that may have `left` more.
  int64_t ExpectedOutput(int64_t left) const {
    return spec.reserves_all_output ? left : (left * output_share + kShareOne - 1) / kShareOne;
  }
};

// Scheduler's part for accounts; nobody else calls it. Flows are made as tenants and classes
// appear and never go. Invariant: flow.num_eligible and num_resident agree with the lanes' queues.
class TenantTable {
 public:
  TenantTable(std::unique_ptr<ServicePolicy> policy, std::span<const ServiceClass> classes);

  const ServicePolicy& policy() const { return *policy_; }
  // nullptr if it never appeared.
  const Tenant* Find(const TenantId& id) const;
  // Made with a default TenantSpec if it is new.
  Tenant& FindOrAdd(const TenantId& id);
  // kInvalidArgument for a weight out of range or a negative limit.
  Status SetSpec(const TenantId& id, const TenantSpec& spec);

  FlowIndex FlowOf(const Tenant& tenant, int32_t service_class) const;
  const Flow& flow(FlowIndex index) const { return flows_[index]; }
  std::span<const Flow> flows() const { return flows_; }
  const std::map<TenantId, std::unique_ptr<Tenant>>& all() const { return tenants_; }
  uint64_t total_units() const { return total_units_; }  // of service, ever
  size_t num_tenants() const { return tenants_.size(); }

  // A sequence of the flow became, or is no longer, one that waits and could be admitted.
  // `units`: what it is expected to cost; `tokens_max`: what it may come to.
  void AddEligible(Tenant& tenant, FlowIndex flow, int64_t units, int64_t tokens_max);
  void RemoveEligible(Tenant& tenant, FlowIndex flow, int64_t units, int64_t tokens_max);
  // A sequence holds state from now on, or does not any more.
  void AddResident(Tenant& tenant, FlowIndex flow, int64_t tokens_max);
  void RemoveResident(Tenant& tenant, FlowIndex flow, int64_t tokens_max);

  // Service that a flow got, to be charged with its next grant: a plan's charge is all at once.
  void Owe(FlowIndex flow, int64_t units) { flows_[flow].owed_units += units; }
  // Service granted: counts at once in service_units, in the key with the next Settle.
  void Charge(FlowIndex flow, int64_t units);
  void Settle();

  // Service that others and the flow's own queue are given before `own_units` more of the flow's
  // are: each other flow takes what it has waiting, at most until its key passes the flow's.
  int64_t UnitsAhead(FlowIndex flow, int64_t own_units) const;
  // v: the smallest key of a backlogged flow; kNoWindow if none is.
  uint64_t Floor() const;
  // [flows] the key of those that are backlogged, kNoWindow of others.
  std::span<const uint64_t> backlogged_keys() const { return backlogged_keys_; }
  // Some flow that holds state is above v by more than the policy's window.
  bool AnyResidentOverServed(uint64_t floor) const;
  // Above v by more than the policy's window.
  bool above_window(uint64_t key, uint64_t floor) const;
  bool over_served(FlowIndex flow, uint64_t floor) const {
    return above_window(flows_[flow].key, floor);
  }
  // May be admitted beside the flow at v, in any order.
  bool in_reorder_window(FlowIndex flow, uint64_t floor) const;

 private:
  void UpdateBacklog(const Tenant& tenant, FlowIndex flow, bool was_backlogged);
  void UpdateKey(FlowIndex flow) {
    backlogged_keys_[flow] =
        flows_[flow].backlogged() ? flows_[flow].key : ServicePolicy::kNoWindow;
  }

  const std::unique_ptr<ServicePolicy> policy_;
  std::map<TenantId, std::unique_ptr<Tenant>> tenants_;
  std::vector<Flow> flows_;
  std::vector<uint64_t> backlogged_keys_;  // so that a plan finds the next one in few cache lines
  uint64_t total_units_ = 0;
  std::vector<FlowIndex> uncharged_;  // flows with uncharged units
};

}  // namespace inferd
