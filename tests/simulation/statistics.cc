#include "tests/simulation/statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace inferd::sim {

double Quantile(std::vector<double> values, double q) {
  if (values.empty()) {
    return 0;
  }
  std::sort(values.begin(), values.end());
  const double place = q * static_cast<double>(values.size() - 1);
  const auto below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, values.size() - 1);
  const double share = place - static_cast<double>(below);
  return values[below] + share * (values[above] - values[below]);
}

double Mean(std::span<const double> values) {
  if (values.empty()) {
    return 0;
  }
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double JainIndex(std::span<const double> values) {
  double sum = 0;
  double squares = 0;
  for (const double value : values) {
    sum += value;
    squares += value * value;
  }
  return squares == 0 ? 1 : sum * sum / (static_cast<double>(values.size()) * squares);
}

double KsDistance(std::vector<double> a, std::vector<double> b) {
  std::sort(a.begin(), a.end());
  std::sort(b.begin(), b.end());
  double distance = 0;
  size_t i = 0;
  size_t j = 0;
  while (i < a.size() && j < b.size()) {
    const double value = std::min(a[i], b[j]);
    while (i < a.size() && a[i] == value) {
      ++i;
    }
    while (j < b.size() && b[j] == value) {
      ++j;
    }
    const double at_a = static_cast<double>(i) / static_cast<double>(a.size());
    const double at_b = static_cast<double>(j) / static_cast<double>(b.size());
    distance = std::max(distance, std::abs(at_a - at_b));
  }
  return distance;
}

double KsCritical(size_t n, size_t m, double alpha) {
  const auto sizes = static_cast<double>(n + m) / (static_cast<double>(n) * static_cast<double>(m));
  return std::sqrt(-std::log(alpha / 2) / 2) * std::sqrt(sizes);
}

}  // namespace inferd::sim
