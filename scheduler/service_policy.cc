#include "scheduler/service_policy.h"

#include <algorithm>
#include <optional>

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

// Keys that are service by weight.
class ByVirtualTime : public ServicePolicy {
 public:
  uint64_t KeyAfter(const Flow& flow, int64_t units) const override {
    return flow.key + static_cast<uint64_t>(units) * kKeyScale / static_cast<uint64_t>(flow.weight);
  }
  int64_t UnitsUntil(const Flow& flow, uint64_t key) const override {
    return static_cast<int64_t>((key - flow.key) / kKeyScale) * flow.weight;
  }
};

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
  uint64_t KeyAfter(const Flow& flow, int64_t units) const override {
    return flow.key + static_cast<uint64_t>(units / (quantum_ * flow.weight));
  }
  int64_t UnitsUntil(const Flow& flow, uint64_t key) const override {
    return static_cast<int64_t>(key - flow.key) * quantum_ * flow.weight;
  }

 private:
  const int64_t quantum_;
};

class VirtualTokenCounterPolicy final : public ByVirtualTime {
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

class WindowedPolicy final : public ByVirtualTime {
 public:
  explicit WindowedPolicy(int64_t window_units)
      : window_(static_cast<uint64_t>(window_units) * kKeyScale) {}
  std::string_view name() const override { return "windowed"; }
  FlowsBy flows_by() const override { return FlowsBy::kTenant; }
  void OnBacklogged(std::span<Flow> flows, FlowIndex index) override {
    std::optional<uint64_t> least_waiting;
    std::optional<uint64_t> most_resident;
    for (FlowIndex i = 0; i < flows.size(); ++i) {
      const Flow& flow = flows[i];
      // Against flows that wait, not all that have work: one that only runs may be far ahead
      // without being owed anything, and would lift the newcomer out of its turn.
      if (i != index && flow.backlogged()) {
        least_waiting = std::min(least_waiting.value_or(flow.key), flow.key);
      }
      if (flow.num_resident > 0) {
        most_resident = std::max(most_resident.value_or(flow.key), flow.key);
      }
    }
    last_level_ = least_waiting.value_or(most_resident.value_or(last_level_));
    Flow& flow = flows[index];
    const uint64_t held = std::clamp(flow.key, last_level_, last_level_ + window_);
    if (held != flow.key) {
      flow.key = held;
      flow.key_remainder = 0;
    }
  }
  void Charge(Flow& flow, int64_t units) override { AdvanceKey(flow, units); }
  uint64_t reorder_window() const override { return window_; }
  uint64_t over_served_window() const override { return window_; }

 private:
  const uint64_t window_;
  uint64_t last_level_ = 0;
};

}  // namespace

uint64_t ServicePolicy::KeyAfter(const Flow& flow, int64_t /*units*/) const { return flow.key; }
int64_t ServicePolicy::UnitsUntil(const Flow& /*flow*/, uint64_t /*key*/) const {
  return kUnlimited;
}
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

std::unique_ptr<ServicePolicy> MakeWindowedPolicy(int64_t window_units) {
  return std::make_unique<WindowedPolicy>(window_units);
}

}  // namespace inferd
