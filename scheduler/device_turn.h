// DeviceTurn: which model gets the next step of the device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "scheduler/model_lane.h"
#include "scheduler/tenant_table.h"

namespace inferd {

// A model keeps the device for `steps_max` steps while others wait, unless all it could run is
// over-served; then comes the one whose best flow has the smallest key, of equals the one that has
// gone longest without a step. Scheduler's part; nobody else calls it.
class DeviceTurn {
 public:
  explicit DeviceTurn(int32_t steps_max) : steps_max_(steps_max) {}

  // Indices of the lanes with work, the one to serve first. Remembers who came to have work.
  std::vector<size_t> Order(std::span<const std::unique_ptr<ModelLane>> lanes,
                            const TenantTable& tenants);
  // The lane got a step.
  void Served(size_t lane);

 private:
  const int32_t steps_max_;
  // [lanes] the turn at which it had its last step, or came to have work.
  std::vector<std::optional<uint64_t>> ready_since_;
  uint64_t turn_ = 0;
  size_t current_lane_ = 0;
  int32_t steps_ = 0;  // of the current lane, since it got the device
};

}  // namespace inferd
