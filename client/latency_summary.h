// LatencySummary: what a set of measured times comes to.
#pragma once

#include <span>
#include <vector>

namespace inferd {

// All in milliseconds; all zero for no measurement.
struct LatencySummary {
  size_t count = 0;
  double mean = 0;
  double p50 = 0;
  double p90 = 0;
  double p99 = 0;
  double max = 0;
  friend bool operator==(const LatencySummary&, const LatencySummary&) = default;
};

// The value below which `fraction` in [0, 1] of the sorted, non-empty values lie, interpolated
// linearly between the two nearest ranks (Hyndman and Fan's type 7).
double Percentile(std::span<const double> sorted, double fraction);

LatencySummary Summarise(std::vector<double> values_ms);

}  // namespace inferd
