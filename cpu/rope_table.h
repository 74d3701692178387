// RopeTable: the cosines and sines of one rope configuration for the rows of a step.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cpu/thread_team.h"
#include "model/model_config.h"

namespace inferd {

// cos x and sin x for |x| < 2^30 within 4e-16 + 2^-52 |x|, the same bits on every machine: made of
// +, -, * alone.
void ReproducibleCosSin(double x, double* cosine, double* sine);

// Angles are f64: position times a frequency that is computed once. Cosine and sine, times the
// magnitude, are rounded to f32 at the end. No libm: its last bits differ between versions.
class RopeTable {
 public:
  explicit RopeTable(const RopeConfig& config);

  const RopeConfig& config() const { return config_; }
  int32_t half() const { return static_cast<int32_t>(frequencies_.size()); }

  // Fills the rows for these positions, unless they were filled for this step already. Steps are
  // numbered from 1.
  void Fill(int64_t step, std::span<const int64_t> positions, ThreadTeam& team);
  const float* cosines(int32_t row) const { return &angles_[Offset(row)]; }
  const float* sines(int32_t row) const { return &angles_[Offset(row) + frequencies_.size()]; }

 private:
  size_t Offset(int32_t row) const { return 2 * frequencies_.size() * static_cast<size_t>(row); }
  void FillRow(int32_t row, int64_t position);

  RopeConfig config_;
  std::vector<double> frequencies_;  // angle = position * frequencies_[i]
  std::vector<float> angles_;        // [rows][cosines, sines]
  int64_t step_ = 0;                 // that angles_ is for
};

}  // namespace inferd
