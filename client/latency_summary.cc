#include "client/latency_summary.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/check.h"

namespace inferd {

double Percentile(std::span<const double> sorted, double fraction) {
  CHECK(!sorted.empty() && fraction >= 0 && fraction <= 1);
  const double rank = fraction * static_cast<double>(sorted.size() - 1);
  const auto low = static_cast<size_t>(std::floor(rank));
  const size_t high = std::min(low + 1, sorted.size() - 1);
  return std::lerp(sorted[low], sorted[high], rank - std::floor(rank));
}

LatencySummary Summarise(std::vector<double> values_ms) {
  if (values_ms.empty()) {
    return {};
  }
  std::sort(values_ms.begin(), values_ms.end());
  const double sum = std::accumulate(values_ms.begin(), values_ms.end(), 0.0);
  return {.count = values_ms.size(),
          .mean = sum / static_cast<double>(values_ms.size()),
          .p50 = Percentile(values_ms, 0.5),
          .p90 = Percentile(values_ms, 0.9),
          .p99 = Percentile(values_ms, 0.99),
          .max = values_ms.back()};
}

}  // namespace inferd
