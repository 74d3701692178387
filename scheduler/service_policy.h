// ServicePolicy: in which order flows are served. The one seam between FCFS, strict priority, DRR,
// VTC and windowed virtual time; everything else of the scheduler is the same for all.
//
// A flow is what a policy orders: the whole device (FCFS), a class (strict priority), a tenant (the
// others). Its key is the policy's: of the flows that wait, the one with the smallest key is
// admitted first; ties go to the smaller flow index. Within a flow the order is the class's order,
// then its first-token deadline, then arrival; preempted sequences come before new ones.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string_view>

#include "scheduler/service.h"

namespace inferd {

using FlowIndex = uint32_t;

// One flow's account. Changed by the scheduler and its policy alone.
struct Flow {
  int64_t weight = 1;
  uint64_t key = 0;
  uint64_t key_remainder = 0;   // of a charge that the weight does not divide: no drift
  uint64_t service_units = 0;   // W: everything that was charged
  int64_t num_eligible = 0;     // waiting sequences that could be admitted: not paused, model there
  int64_t num_resident = 0;     // sequences that hold state
  int64_t waiting_units = 0;    // what the eligible ones are expected to cost
  bool at_cap = false;          // none of those is within its tenant's caps
  int64_t uncharged_units = 0;  // granted in the step in work, not yet in the key
  int64_t owed_units = 0;       // got before, to be charged with the next grant
  bool backlogged() const { return num_eligible > 0 && !at_cap; }
};

enum class FlowsBy : uint8_t { kDevice, kClass, kTenant };

// Pure and deterministic. Owned by one Scheduler.
class ServicePolicy {
 public:
  static constexpr uint64_t kNoWindow = std::numeric_limits<uint64_t>::max();
  // Key units of one service unit of a flow of weight 1; divisible by all small weights.
  static constexpr uint64_t kKeyScale = 5040;

  virtual ~ServicePolicy() = default;
  virtual std::string_view name() const = 0;
  virtual FlowsBy flows_by() const = 0;
  // A flow is made; index and weight are set, or in kClass the class's order.
  virtual void OnNewFlow(Flow& flow, int32_t class_order);
  // flows[index] just became backlogged.
  virtual void OnBacklogged(std::span<Flow> flows, FlowIndex index);
  // flow got `units` of service.
  virtual void Charge(Flow& flow, int64_t units) = 0;
  // For predictions: the key after `units` more, and the units that bring the key to `key`
  // (kUnlimited: service does not move it).
  virtual uint64_t KeyAfter(const Flow& flow, int64_t units) const;
  virtual int64_t UnitsUntil(const Flow& flow, uint64_t key) const;
  // With v the smallest key of a backlogged flow: flows with key <= v + window are admitted in any
  // order that serves deadlines. Key units.
  virtual uint64_t reorder_window() const { return 0; }
  // Flows with key > v + window are over-served: they get what nobody else can use, and their
  // sequences give way to those of backlogged flows. kNoWindow: nobody ever is.
  virtual uint64_t over_served_window() const { return kNoWindow; }
};

// First come, first served, whoever it is.
std::unique_ptr<ServicePolicy> MakeFcfsPolicy();
// By the class's order alone; a lower class gives way as soon as a higher one waits.
std::unique_ptr<ServicePolicy> MakeStrictPriorityPolicy();
// Deficit round robin over tenants (Shreedhar and Varghese 1995): each round, quantum·weight units.
std::unique_ptr<ServicePolicy> MakeDeficitRoundRobinPolicy(int64_t quantum_units);
// Virtual token counter (Sheng et al. 2024): the least-served tenant is admitted first; a tenant
// that returns is lifted to the least of those that wait; nobody is preempted for fairness.
std::unique_ptr<ServicePolicy> MakeVirtualTokenCounterPolicy();
// Windowed virtual time, ours: tenants in order of service received by weight, with a window of
// `window_units` (Theta) inside which deadlines order the work; who is above the window gets
// leftovers only and gives way to those that wait. A flow that comes to wait is lifted to
//   V = the least key of the other flows that wait; if none does, the largest of those that hold
//   state; if none does, the last V
// and held to [V, V + Theta]: nobody hoards credit, old debt beyond the window is forgiven.
// With G the largest charge by weight of one plan to one flow, while g waits every flow i with work
// has key(i) - key(g) <= Theta + G; two flows that wait all along got service by weight that
// differs by at most 2 (Theta + G). 4096 to 8192 units is sane; below the usual context it
// thrashes.
std::unique_ptr<ServicePolicy> MakeWindowedPolicy(int64_t window_units);

}  // namespace inferd
