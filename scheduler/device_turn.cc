#include "scheduler/device_turn.h"

#include <algorithm>
#include <tuple>

namespace inferd {

std::vector<size_t> DeviceTurn::Order(std::span<const std::unique_ptr<ModelLane>> lanes,
                                      const TenantTable& tenants) {
  struct Entry {
    std::tuple<bool, bool, uint64_t, uint64_t, SequenceId, size_t> key;
    size_t lane;
  };
  ready_since_.resize(lanes.size());
  const uint64_t floor = tenants.Floor();
  const bool stays = steps_ < steps_max_;
  std::vector<Entry> entries;
  for (size_t i = 0; i < lanes.size(); ++i) {
    if (!lanes[i]->HasWork()) {
      ready_since_[i].reset();
      continue;
    }
    if (!ready_since_[i].has_value()) {
      ready_since_[i] = turn_;
    }
    if (lanes.size() == 1) {
      return {i};
    }
    const uint64_t lowest = lanes[i]->LowestKey();
    entries.push_back({.key = {tenants.above_window(lowest, floor),
                               !(stays && i == current_lane_),
                               lowest,
                               *ready_since_[i],
                               lanes[i]->OldestId(),
                               i},
                       .lane = i});
  }
  std::sort(
      entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.key < b.key; });
  std::vector<size_t> order;
  order.reserve(entries.size());
  for (const Entry& entry : entries) {
    order.push_back(entry.lane);
  }
  return order;
}

void DeviceTurn::Served(size_t lane) {
  steps_ = lane == current_lane_ ? steps_ + 1 : 1;
  current_lane_ = lane;
  ready_since_[lane] = ++turn_;
}

}  // namespace inferd
