#include "cpu/rope_table.h"

#include <algorithm>

#include "cpu/reproducible_math.h"

namespace inferd {
namespace {

// pi / 2 in three parts; the first two have 33 bits, so that a multiple below 2^20 of them is
// exact.
constexpr double kHalfPi1 = 0x1.921fb544p+0;
constexpr double kHalfPi2 = 0x1.0b4611a6p-34;
constexpr double kHalfPi3 = 0x1.3198a2e037073p-69;

// Rows of one unit of work: about ten microseconds.
constexpr int64_t kRowsPerUnit = 16;

}  // namespace

void ReproducibleCosSin(double x, double* cosine, double* sine) {
  // x = quarter * pi/2 + r, |r| <= pi/4 and a little.
  constexpr double kRound = 0x1.8p52;
  const double quarters = (x * 0x1.45f306dc9c883p-1 + kRound) - kRound;
  const double r = ((x - quarters * kHalfPi1) - quarters * kHalfPi2) - quarters * kHalfPi3;
  const double z = r * r;
  double s = 1.0 / 355687428096000.0;  // Taylor, to r^17 / 17!
  s = s * z - 1.0 / 1307674368000.0;
  s = s * z + 1.0 / 6227020800.0;
  s = s * z - 1.0 / 39916800.0;
  s = s * z + 1.0 / 362880.0;
  s = s * z - 1.0 / 5040.0;
  s = s * z + 1.0 / 120.0;
  s = s * z - 1.0 / 6.0;
  s = r + r * z * s;
  double c = -1.0 / 6402373705728000.0;  // to r^18 / 18!
  c = c * z + 1.0 / 20922789888000.0;
  c = c * z - 1.0 / 87178291200.0;
  c = c * z + 1.0 / 479001600.0;
  c = c * z - 1.0 / 3628800.0;
  c = c * z + 1.0 / 40320.0;
  c = c * z - 1.0 / 720.0;
  c = c * z + 1.0 / 24.0;
  c = c * z - 0.5;
  c = c * z + 1.0;
  switch (static_cast<int64_t>(quarters) & 3) {
    case 0:
      *cosine = c;
      *sine = s;
      return;
    case 1:
      *cosine = -s;
      *sine = c;
      return;
    case 2:
      *cosine = -c;
      *sine = -s;
      return;
    default:
      *cosine = s;
      *sine = -c;
      return;
  }
}

RopeTable::RopeTable(const RopeConfig& config) : config_(config) {
  const double log_theta = ReproducibleLog(static_cast<double>(config.theta));
  const int32_t half = config.kind == RopeKind::kNone ? 0 : config.rotary_dim / 2;
  for (int32_t i = 0; i < half; ++i) {
    const double exponent = -2.0 * i / config.rotary_dim;
    const double factor =
        config.factors.empty() ? 1.0 : static_cast<double>(config.factors[static_cast<size_t>(i)]);
    frequencies_.push_back(static_cast<double>(config.position_scale) *
                           ReproducibleExp(exponent * log_theta) / factor);
  }
}

void RopeTable::FillRow(int32_t row, int64_t position) {
  float* cosines = &angles_[Offset(row)];
  float* sines = cosines + frequencies_.size();
  const auto magnitude = static_cast<double>(config_.magnitude);
  for (size_t i = 0; i < frequencies_.size(); ++i) {
    double cosine = 0.0;
    double sine = 0.0;
    ReproducibleCosSin(static_cast<double>(position) * frequencies_[i], &cosine, &sine);
    cosines[i] = static_cast<float>(cosine * magnitude);
    sines[i] = static_cast<float>(sine * magnitude);
  }
}

void RopeTable::Fill(int64_t step, std::span<const int64_t> positions, ThreadTeam& team) {
  if (step_ == step) {
    return;
  }
  step_ = step;
  const auto rows = static_cast<int64_t>(positions.size());
  angles_.resize(std::max(angles_.size(), 2 * frequencies_.size() * positions.size()));
  if (frequencies_.empty()) {
    return;
  }
  team.Run((rows + kRowsPerUnit - 1) / kRowsPerUnit, [&](int, int64_t unit) {
    const int64_t end = std::min(rows, (unit + 1) * kRowsPerUnit);
    for (int64_t row = unit * kRowsPerUnit; row < end; ++row) {
      FillRow(static_cast<int32_t>(row), positions[static_cast<size_t>(row)]);
    }
  });
}

}  // namespace inferd
