// The few statistics that the simulator's figures are made of.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace inferd::sim {

// The q-quantile (0 <= q <= 1) by linear interpolation between order statistics; 0 for no values.
double Quantile(std::vector<double> values, double q);
double Mean(std::span<const double> values);

// Jain's fairness index, (sum x)^2 / (n sum x^2): 1 is equal, 1/n is one takes all; 1 for none.
double JainIndex(std::span<const double> values);

// Kolmogorov-Smirnov, two samples: the largest distance between their distribution functions.
// Ties are counted on both sides before the distance is taken.
double KsDistance(std::vector<double> a, std::vector<double> b);
// The distance above which equal distributions are rejected at level alpha, asymptotic:
// sqrt(-ln(alpha/2)/2) * sqrt((n+m)/(n m)). Good from about 50 a side.
double KsCritical(size_t n, size_t m, double alpha);

// The widest swing of a value over time: what "the gap over any interval" is, in one pass.
class Swing {
 public:
  void Add(double value) {
    low_ = count_ == 0 || value < low_ ? value : low_;
    high_ = count_ == 0 || value > high_ ? value : high_;
    ++count_;
  }
  void Reset() { count_ = 0; }
  double width() const { return count_ == 0 ? 0 : high_ - low_; }

 private:
  double low_ = 0;
  double high_ = 0;
  int64_t count_ = 0;
};

}  // namespace inferd::sim
