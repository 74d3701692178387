// ServiceRate: service units by time, of the steps so far.
#pragma once

#include <cstdint>
#include <optional>

#include "base/clock.h"

namespace inferd {

// A moving average over about the last 32 steps: older ones count less. For predictions alone,
// never for the order.
class ServiceRate {
 public:
  // A step gave `units` of service in `time`; one of no known time says nothing.
  void Add(int64_t units, Duration time) {
    if (time > Duration::zero()) {
      units_ += units - units_ / kSteps;
      time_ns_ += time.count() - time_ns_ / kSteps;
    }
  }
  // How long `units` take; nothing while no step was measured.
  std::optional<Duration> TimeFor(int64_t units) const {
    if (units_ == 0) {
      return std::nullopt;
    }
    return Duration(static_cast<int64_t>(static_cast<__int128>(units) * time_ns_ / units_));
  }

 private:
  static constexpr int64_t kSteps = 32;
  int64_t units_ = 0;
  int64_t time_ns_ = 0;
};

}  // namespace inferd
