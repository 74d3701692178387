// What programs that measure make of their samples.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace inferd {

// The sample of rank q * (n - 1), rounded down; q from 0 to 1. There is at least one.
inline double Quantile(std::vector<double> samples, double q) {
  std::sort(samples.begin(), samples.end());
  return samples[static_cast<size_t>(q * static_cast<double>(samples.size() - 1))];
}

// Of an even number the greater of the two in the middle.
inline double Median(std::vector<double> samples) {
  std::sort(samples.begin(), samples.end());
  return samples[samples.size() / 2];
}

// Two things measured in turns, so that both see the same host.
struct PairedSamples {
  std::vector<double> a, b, differences;  // a - b
};

// Calls a and b, which give a sample each, `pairs` times after a warm-up.
template <typename A, typename B>
PairedSamples MeasurePairs(int pairs, const A& a, const B& b) {
  constexpr int kWarmUp = 20;
  PairedSamples samples;
  for (int i = 0; i < pairs + kWarmUp; ++i) {
    // The order alternates too, so that neither is always the one after the other.
    double of_a = 0;
    double of_b = 0;
    if (i % 2 == 0) {
      of_a = a();
      of_b = b();
    } else {
      of_b = b();
      of_a = a();
    }
    if (i >= kWarmUp) {
      samples.a.push_back(of_a);
      samples.b.push_back(of_b);
      samples.differences.push_back(of_a - of_b);
    }
  }
  return samples;
}

}  // namespace inferd
