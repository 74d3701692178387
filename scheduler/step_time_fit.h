// StepTimeFit: the StepTimeModel that fits the steps measured so far.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "scheduler/service.h"

namespace inferd {

// One step: what the model's terms are counted in, and what it took.
struct MeasuredStep {
  int64_t prefill_tokens = 0;
  int64_t decode_rows = 0;
  int64_t context_tokens = 0;  // ends of all rows, summed
  int64_t took_ns = 0;
};

// Least squares with no negative term: one that would be negative is left out. Keeps sums, not
// steps; those of the last kMemorySteps or so count most, so that it follows a device whose speed
// changes. Plain value: the same steps give the same model. Not thread-safe.
class StepTimeFit {
 public:
  static constexpr int64_t kMemorySteps = 4096;

  void Add(const MeasuredStep& step);
  int64_t num_steps() const { return num_steps_; }  // ever
  // Zeros while no step was added.
  StepTimeModel Fit() const;

 private:
  // Of a step: 1, prefill tokens, decode rows, context in 1,024 tokens; and what it took.
  static constexpr size_t kTerms = 4;
  using Terms = std::array<double, kTerms>;
  using Sums = std::array<std::array<double, kTerms + 1>, kTerms + 1>;

  bool Solve(unsigned mask, Terms& solution) const;
  double SquaredError(const Terms& solution) const;

  Sums sums_{};  // of products of terms
  int64_t num_steps_ = 0;
};

}  // namespace inferd
