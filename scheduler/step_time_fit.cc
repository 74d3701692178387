#include "scheduler/step_time_fit.h"

#include <utility>

namespace inferd {

void StepTimeFit::Add(const MeasuredStep& step) {
  const std::array<double, kTerms + 1> terms = {1.0,
                                                static_cast<double>(step.prefill_tokens),
                                                static_cast<double>(step.decode_rows),
                                                static_cast<double>(step.context_tokens) / 1024,
                                                static_cast<double>(step.took_ns)};
  for (size_t i = 0; i <= kTerms; ++i) {
    for (size_t j = 0; j <= kTerms; ++j) {
      sums_[i][j] += terms[i] * terms[j];
    }
  }
  if (++num_steps_ % kMemorySteps == 0) {
    for (std::array<double, kTerms + 1>& row : sums_) {
      for (double& sum : row) {
        sum /= 2;
      }
    }
  }
}

// Gauss and Jordan over the terms of `mask`, with the largest pivot of each column; false if they
// cannot be told apart or one is negative.
bool StepTimeFit::Solve(unsigned mask, Terms& solution) const {
  std::array<std::array<double, kTerms + 1>, kTerms> rows{};
  for (size_t i = 0; i < kTerms; ++i) {
    const bool in = (mask >> i & 1) != 0;
    for (size_t j = 0; j <= kTerms; ++j) {
      rows[i][j] = in ? sums_[i][j] : i == j ? 1.0 : 0.0;
    }
  }
  for (size_t column = 0; column < kTerms; ++column) {
    size_t pivot = column;
    for (size_t i = column + 1; i < kTerms; ++i) {
      pivot =
          rows[i][column] * rows[i][column] > rows[pivot][column] * rows[pivot][column] ? i : pivot;
    }
    std::swap(rows[column], rows[pivot]);
    if (rows[column][column] * rows[column][column] < 1e-12) {
      return false;
    }
    for (size_t i = 0; i < kTerms; ++i) {
      const double factor = i == column ? 0 : rows[i][column] / rows[column][column];
      for (size_t j = column; j <= kTerms; ++j) {
        rows[i][j] -= factor * rows[column][j];
      }
    }
  }
  for (size_t i = 0; i < kTerms; ++i) {
    solution[i] = rows[i][kTerms] / rows[i][i];
    if (solution[i] < 0) {
      return false;
    }
  }
  return true;
}

double StepTimeFit::SquaredError(const Terms& solution) const {
  double error = sums_[kTerms][kTerms];
  for (size_t i = 0; i < kTerms; ++i) {
    error -= 2 * solution[i] * sums_[i][kTerms];
    for (size_t j = 0; j < kTerms; ++j) {
      error += solution[i] * solution[j] * sums_[i][j];
    }
  }
  return error;
}

// With the base always in, the residuals of the steps sum to zero.
StepTimeModel StepTimeFit::Fit() const {
  Terms best{};
  double best_error = SquaredError(best);
  for (unsigned mask = 1; mask < 1u << kTerms; mask += 2) {
    Terms solution{};
    if (Solve(mask, solution)) {
      if (const double error = SquaredError(solution); error < best_error) {
        best = solution;
        best_error = error;
      }
    }
  }
  return {.base_ns = static_cast<int64_t>(best[0]),
          .prefill_token_ns = static_cast<int64_t>(best[1]),
          .decode_row_ns = static_cast<int64_t>(best[2]),
          .context_kilotoken_ns = static_cast<int64_t>(best[3])};
}

}  // namespace inferd
