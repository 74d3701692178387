// HostState: memory of the host for the KV of preempted choices of one model.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "backend/device.h"
#include "scheduler/step_plan.h"

namespace inferd::engine_internal {

// As many units of each state group as `bytes` hold; memory is touched as units are copied. Core
// thread only. Movable; empty by default.
class HostState {
 public:
  HostState() = default;
  // unit_bytes: one a group.
  HostState(int64_t bytes, std::vector<int64_t> unit_bytes);

  const std::vector<int64_t>& units() const { return units_; }  // empty: it holds nothing
  // One of the plan's copies, between `state` and this. CHECKs that it is one.
  void Copy(const StateCopy& copy, DeviceState& state);

 private:
  std::span<std::byte> UnitAt(size_t group, BlockIndex unit);

  std::vector<int64_t> unit_bytes_;
  std::vector<int64_t> units_;
  std::vector<std::unique_ptr<std::byte[]>> groups_;
};

}  // namespace inferd::engine_internal
