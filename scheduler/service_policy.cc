#include "scheduler/service_policy.h"

#include <algorithm>

namespace inferd {
namespace {

// Exact over time: what the weight does not divide stays in the remainder.
void AdvanceKey(Flow& flow, int64_t units) {
  const uint64_t weight = static_cast<uint64_t>(flow.weight);
  const uint64_t scaled =
      static_cast<uint64_t>(units) * ServicePolicy::kKeyScale + flow.key_remainder;
  flow.key += scaled / weight;
  flow.key_remainder = scaled % weight;
}

class FcfsPolicy final : public ServicePolicy {
 public:
  std::string_view name() const override { return "fcfs"; }
  FlowsBy flows_by() const override { return FlowsBy::kDevice; }
  void Charge(Flow& /*flow*/, int64_t /*units*/) override {}
};

class StrictPriorityPolicy final : public ServicePolicy {
 public:
  std::string_view name() const override { return "priority"; }
  FlowsBy flows_by() const override { return FlowsBy::kClass; }
  void OnNewFlow(Flow& flow, int32_t class_order) override {
    flow.key = static_cast<uint64_t>(class_order);
  }
  void Charge(Flow& /*flow*/, int64_t /*units*/) override {}
  uint64_t over_served_window() const override { return 0; }
};

// The key is the round in which the flow is served next.
class DeficitRoundRobinPolicy final : public ServicePolicy {
 public:
  explicit DeficitRoundRobinPolicy(int64_t quantum_units) : quantum_(quantum_units) {}
  std::string_view name() const override { return "drr"; }
  FlowsBy flows_by() const override { return FlowsBy::kTenant; }
  void OnBacklogged(std::span<Flow> flows, FlowIndex index) override {
    uint64_t round = kNoWindow;
    for (FlowIndex i = 0; i < flows.size(); ++i) {
      if (i != index && flows[i].backlogged()) {
        round = std::min(round, flows[i].key);
      }
    }
    if (round != kNoWindow && flows[index].key < round) {  // an idle flow hoards no rounds
      flows[index].key = round;
      flows[index].key_remainder = 0;
    }
  }
  void Charge(Flow& flow, int64_t units) override {
    const uint64_t per_round = static_cast<uint64_t>(quantum_ * flow.weight);
    const uint64_t used = flow.key_remainder + static_cast<uint64_t>(units);
    flow.key += used / per_round;
    flow.key_remainder = used % per_round;
  }

 private:
  const int64_t quantum_;
};

class VirtualTokenCounterPolicy final : public ServicePolicy {
 public:
  std::string_view name() const override { return "vtc"; }
  FlowsBy flows_by() const override { return FlowsBy::kTenant; }
  void OnBacklogged(std::span<Flow> flows, FlowIndex index) override {
    uint64_t least = kNoWindow;
    for (FlowIndex i = 0; i < flows.size(); ++i) {
      if (i != index && flows[i].backlogged()) {
        least = std::min(least, flows[i].key);
      }
    }
    if (least == kNoWindow) {  // the queue was empty: the level of the one that left it last
      least = last_served_key_;
    }
    flows[index].key = std::max(flows[index].key, least);
  }
  void Charge(Flow& flow, int64_t units) override {
    AdvanceKey(flow, units);
    last_served_key_ = flow.key;
  }

 private:
  uint64_t last_served_key_ = 0;
};

}  // namespace

void ServicePolicy::OnNewFlow(Flow& /*flow*/, int32_t /*class_order*/) {}
void ServicePolicy::OnBacklogged(std::span<Flow> /*flows*/, FlowIndex /*index*/) {}

std::unique_ptr<ServicePolicy> MakeFcfsPolicy() { return std::make_unique<FcfsPolicy>(); }
std::unique_ptr<ServicePolicy> MakeStrictPriorityPolicy() {
  return std::make_unique<StrictPriorityPolicy>();
}
std::unique_ptr<ServicePolicy> MakeDeficitRoundRobinPolicy(int64_t quantum_units) {
  return std::make_unique<DeficitRoundRobinPolicy>(quantum_units);
}
std::unique_ptr<ServicePolicy> MakeVirtualTokenCounterPolicy() {
  return std::make_unique<VirtualTokenCounterPolicy>();
}

}  // namespace inferd
