#include "tests/simulation/random_workload.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "base/random.h"

namespace inferd::sim {
namespace {

class Generator {
 public:
  Generator(WorkloadKind kind, uint64_t seed)
      : kind_(kind), random_(seed * 2 + 1), caps_(seed * 2) {
    workload_.seed = seed;
  }

  Workload Make() {
    Device();
    Models();
    Tenants();
    for (uint32_t tenant = 0; tenant < workload_.tenants.size(); ++tenant) {
      Arrivals(tenant);
    }
    SortByTime(workload_);
    if (kind_ == WorkloadKind::kFuzz) {
      Disturbances();
      SortByTime(workload_);
    }
    return std::move(workload_);
  }

 private:
  int64_t Between(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(random_.Below(static_cast<uint64_t>(high - low + 1)));
  }
  bool OneIn(uint64_t n) { return random_.Below(n) == 0; }

  int32_t AnyClass() { return static_cast<int32_t>(random_.Below(kServiceClasses)); }

  // About log-uniform: short ones are as frequent as long ones.
  int32_t Length(int64_t low, int64_t high) {
    const double exponent =
        random_.Unit() * std::log(static_cast<double>(high) / static_cast<double>(low));
    return static_cast<int32_t>(std::clamp<int64_t>(
        std::llround(static_cast<double>(low) * std::exp(exponent)), low, high));
  }

  void Device() {
    DeviceSetup& device = workload_.device;
    const bool fuzz = kind_ == WorkloadKind::kFuzz;
    device.step_tokens_max = fuzz ? Between(64, 512) : Between(64, 1024);
    device.running_max = fuzz ? Between(1, 16) : Between(4, 64);
    device.waiting_max = fuzz && OneIn(4) ? Between(4, 24) : 4096;
    device.in_flight_max = Between(1, 2);
    device.cut_at_blocks = OneIn(3);
    device.prefix_cache = !OneIn(3);
    if (fuzz && OneIn(3)) {
      device.lease_tokens = Between(4, 64);
      device.lease_reply = std::chrono::milliseconds(OneIn(2) ? 0 : Between(1, 200));
    }
    if (fuzz && OneIn(6)) {
      device.queue_timeout = std::chrono::milliseconds(Between(200, 5000));
    }
    if (OneIn(3)) {
      device.host_percent = Between(5, 150);
      device.copy_unit = std::chrono::microseconds(Between(10, 20'000));
    }
    if (fuzz && OneIn(4)) {
      device.paused_state_max = std::chrono::milliseconds(Between(10, 1500));
    }
    if (fuzz && OneIn(4)) {
      device.paused_max = std::chrono::milliseconds(Between(10, 3000));
    }
    device.draft_tokens = OneIn(3) ? Between(1, 4) : 0;
    device.refuses_late = fuzz && OneIn(6);
    device.noise_per_mille = OneIn(2) ? Between(0, 300) : 0;
    workload_.policy.theta = int64_t{256} << random_.Below(6);
    if (fuzz && OneIn(4)) {
      workload_.policy.kind = static_cast<PolicyKind>(random_.Below(5));
    }
  }

  void Models() {
    const int64_t models = kind_ == WorkloadKind::kFuzz ? Between(1, 3) : 1;
    for (int64_t m = 0; m < models; ++m) {
      ModelSetup model{.name = "m" + std::to_string(m), .context_tokens_max = 2048, .groups = {}};
      if (kind_ == WorkloadKind::kFairness) {
        model.groups.push_back({.units = Between(24, 200)});
      } else {
        const bool full = !OneIn(4);
        if (full) {
          model.groups.push_back({.units = Between(7, 20)});
        }
        if (!full || OneIn(3)) {
          model.groups.push_back(
              {.window = static_cast<int32_t>(Between(1, 300)), .units = Between(8, 20)});
        }
        if (OneIn(4)) {  // recurrent layers
          model.groups.push_back({.kind = StateKind::kSlot, .units = Between(4, 20)});
        }
      }
      model.loading = kind_ == WorkloadKind::kFuzz && OneIn(6);
      workload_.models.push_back(std::move(model));
    }
  }

  void Tenants() {
    const int64_t tenants = kind_ == WorkloadKind::kFuzz ? Between(1, 5) : Between(2, 8);
    const bool all_strict = OneIn(workload_.policy.kind == PolicyKind::kFair ? 6 : 2);
    for (int64_t t = 0; t < tenants; ++t) {
      TenantSetup tenant{.name = "t" + std::to_string(t)};
      tenant.weight = OneIn(2) ? 1 : Between(1, 8);
      tenant.strict = all_strict || OneIn(5);
      tenant.waiting_max = kind_ == WorkloadKind::kFuzz && OneIn(4) ? Between(2, 16) : 4096;
      if (kind_ == WorkloadKind::kFuzz && OneIn(5)) {
        tenant.running_max = Between(1, 6);
      }
      if (kind_ == WorkloadKind::kFuzz && caps_.Below(4) == 0) {
        tenant.running_tokens_max = 128 << caps_.Below(5);
      }
      if (workload_.device.lease_tokens > 0 && OneIn(2)) {
        tenant.budget_tokens = Between(20, 600);
      }
      workload_.tenants.push_back(std::move(tenant));
    }
  }

  // A burst, a steady stream, or bursts with pauses between them.
  void Arrivals(uint32_t tenant) {
    const bool fuzz = kind_ == WorkloadKind::kFuzz;
    const int64_t requests = fuzz ? Between(2, 16) : Between(8, 40);
    const uint64_t shape = random_.Below(3);
    const int64_t gap_ms = Between(1, fuzz ? 400 : 1500);
    const int64_t start_ms = OneIn(2) ? 0 : Between(0, 4000);
    const int64_t longest = fuzz ? 300 : 700;
    const int32_t own_class = OneIn(2) ? AnyClass() : -1;
    const int32_t prefix = OneIn(2) ? Length(20, 200) : 0;
    Duration at = std::chrono::milliseconds(start_ms);
    for (int64_t i = 0; i < requests; ++i) {
      Submission request{.name = workload_.tenants[tenant].name + "." + std::to_string(i + 1),
                         .at = at,
                         .tenant = tenant,
                         .shared = {},
                         .deadline = std::nullopt};
      request.model = static_cast<uint32_t>(random_.Below(workload_.models.size()));
      request.prompt_tokens = Length(1, longest);
      request.output_tokens = Length(1, fuzz ? 120 : 300);
      request.output_max =
          request.output_tokens * (OneIn(2) ? 1 : static_cast<int32_t>(Between(1, 4)));
      request.service_class = own_class >= 0 ? own_class : AnyClass();
      if (prefix > 0 && !OneIn(4)) {  // the same content for some tenants
        request.shared.push_back({.content = tenant % 2, .tokens = prefix});
        request.prompt_tokens = std::max(request.prompt_tokens, prefix);
      }
      if (fuzz && OneIn(12)) {
        request.deadline = std::chrono::milliseconds(Between(1, 5000));
      }
      request.deterministic = fuzz && OneIn(4);
      workload_.submissions.push_back(std::move(request));
      if (shape == 1 || (shape == 2 && OneIn(5))) {
        at += std::chrono::milliseconds(Between(1, 2 * gap_ms));
      }
    }
  }

  void Disturbances() {
    const uint64_t cancels = random_.Below(4);  // of 4
    const uint64_t stalls = random_.Below(3);   // of 8
    for (uint32_t i = 0; i < workload_.submissions.size(); ++i) {
      const Duration arrival = workload_.submissions[i].at;
      if (random_.Below(8) < cancels) {
        workload_.disturbances.push_back(
            {.kind = Disturbance::Kind::kCancel,
             .at = arrival + std::chrono::milliseconds(Between(0, 3000)),
             .submission = i});
      }
      if (random_.Below(8) < stalls) {
        workload_.disturbances.push_back(
            {.kind = Disturbance::Kind::kStall,
             .at = arrival + std::chrono::milliseconds(Between(0, 2000)),
             .submission = i,
             .lasting = std::chrono::milliseconds(Between(1, 3000))});
      }
    }
    for (int64_t faults = OneIn(4) ? Between(1, 3) : 0; faults > 0; --faults) {
      workload_.disturbances.push_back(
          {.kind = Disturbance::Kind::kFault, .at = std::chrono::milliseconds(Between(0, 5000))});
    }
    for (uint32_t model = 0; model < workload_.models.size(); ++model) {
      if (workload_.models[model].loading) {
        workload_.disturbances.push_back({.kind = Disturbance::Kind::kLoad,
                                          .at = std::chrono::milliseconds(Between(0, 2000)),
                                          .model = model});
      }
      if (OneIn(8)) {
        workload_.disturbances.push_back({.kind = Disturbance::Kind::kUnload,
                                          .at = std::chrono::milliseconds(Between(500, 6000)),
                                          .model = model});
      }
    }
    if (OneIn(8)) {
      workload_.disturbances.push_back(
          {.kind = Disturbance::Kind::kDrain, .at = std::chrono::milliseconds(Between(500, 6000))});
    }
  }

  const WorkloadKind kind_;
  SplitMix64 random_;
  SplitMix64 caps_;  // apart, so that what the others draw stays as it was
  Workload workload_;
};

}  // namespace

Workload RandomWorkload(WorkloadKind kind, uint64_t seed) { return Generator(kind, seed).Make(); }

}  // namespace inferd::sim
