// FitStepTime: the scheduler's StepTimeModel from a log of measured steps.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "scheduler/service.h"

namespace inferd {

// One step: what the model's terms are counted in, and what it took.
struct MeasuredStep {
  int64_t prefill_tokens = 0;
  int64_t decode_rows = 0;
  int64_t context_tokens = 0;  // ends of all rows, summed
  double took_ns = 0;
};

namespace fit_internal {

constexpr size_t kTerms = 4;
using Terms = std::array<double, kTerms>;

inline Terms TermsOf(const MeasuredStep& step) {
  return {1.0,
          static_cast<double>(step.prefill_tokens),
          static_cast<double>(step.decode_rows),
          static_cast<double>(step.context_tokens) / 1024};
}

// Least squares over the terms of `mask`; false if they cannot be told apart or one is negative.
inline bool Solve(std::span<const MeasuredStep> steps, unsigned mask, Terms& solution) {
  std::array<std::array<double, kTerms + 1>, kTerms> rows{};
  for (const MeasuredStep& step : steps) {
    const Terms terms = TermsOf(step);
    for (size_t i = 0; i < kTerms; ++i) {
      for (size_t j = 0; j < kTerms; ++j) {
        rows[i][j] += terms[i] * terms[j];
      }
      rows[i][kTerms] += terms[i] * step.took_ns;
    }
  }
  for (size_t i = 0; i < kTerms; ++i) {
    if ((mask >> i & 1) == 0) {
      for (size_t j = 0; j <= kTerms; ++j) {
        rows[i][j] = i == j ? 1 : 0;
      }
    }
  }
  // Gauss and Jordan, with the largest pivot of each column.
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

}  // namespace fit_internal

// The least-squares fit with no negative term; a term that would be negative is left out. With the
// base always in, the residuals of the log sum to zero.
inline StepTimeModel FitStepTime(std::span<const MeasuredStep> steps) {
  using fit_internal::kTerms;
  fit_internal::Terms best{};
  double best_error = -1;
  for (unsigned mask = 1; mask < 1u << kTerms; mask += 2) {
    fit_internal::Terms solution{};
    if (!fit_internal::Solve(steps, mask, solution)) {
      continue;
    }
    double error = 0;
    for (const MeasuredStep& step : steps) {
      const fit_internal::Terms terms = fit_internal::TermsOf(step);
      double residual = -step.took_ns;
      for (size_t i = 0; i < kTerms; ++i) {
        residual += solution[i] * terms[i];
      }
      error += residual * residual;
    }
    if (best_error < 0 || error < best_error) {
      best = solution;
      best_error = error;
    }
  }
  return {.base_ns = static_cast<int64_t>(best[0]),
          .prefill_token_ns = static_cast<int64_t>(best[1]),
          .decode_row_ns = static_cast<int64_t>(best[2]),
          .context_kilotoken_ns = static_cast<int64_t>(best[3])};
}

}  // namespace inferd
