#include "engine/host_state.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/check.h"

namespace inferd::engine_internal {
namespace {

constexpr int64_t kUnitsMax = int64_t{1} << 24;  // of a group, to be kept account of

}  // namespace

HostState::HostState(int64_t bytes, std::vector<int64_t> unit_bytes)
    : unit_bytes_(std::move(unit_bytes)) {
  const int64_t all = std::accumulate(unit_bytes_.begin(), unit_bytes_.end(), int64_t{0});
  const int64_t units = all > 0 ? std::min(bytes / all, kUnitsMax) : 0;
  if (units == 0) {
    return;
  }
  for (const int64_t of_group : unit_bytes_) {
    units_.push_back(units);
    groups_.push_back(
        std::make_unique_for_overwrite<std::byte[]>(static_cast<size_t>(units * of_group)));
  }
}

std::span<std::byte> HostState::UnitAt(size_t group, BlockIndex unit) {
  CHECK(group < groups_.size() && int64_t{unit} < units_[group]);
  const auto bytes = static_cast<size_t>(unit_bytes_[group]);
  return {groups_[group].get() + bytes * unit, bytes};
}

void HostState::Copy(const StateCopy& copy, DeviceState& state) {
  CHECK(copy.from_place != copy.to_place);  // no model has slots yet
  const auto group = static_cast<int32_t>(copy.group);
  if (copy.to_place == StatePlace::kHost) {
    state.SaveUnit(group, copy.from, UnitAt(copy.group, copy.to));
  } else {
    state.LoadUnit(group, copy.to, UnitAt(copy.group, copy.from));
  }
}

}  // namespace inferd::engine_internal
