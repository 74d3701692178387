#include "cpu/exact_math.h"

#include <array>
#include <cmath>

namespace inferd::cpu_internal {

double Dot(const double* a, const double* b, int64_t n) {
  constexpr int64_t kLanes = 16;
  std::array<double, kLanes> lanes{};
  const int64_t whole = n / kLanes * kLanes;
  for (int64_t i = 0; i < whole; i += kLanes) {
    for (int64_t j = 0; j < kLanes; ++j) {
      lanes[static_cast<size_t>(j)] += a[i + j] * b[i + j];
    }
  }
  double sum = 0.0;
  for (const double lane : lanes) {
    sum += lane;
  }
  for (int64_t i = whole; i < n; ++i) {
    sum += a[i] * b[i];
  }
  return sum;
}

double Activate(Activation activation, double x) {
  if (activation == Activation::kSilu) {
    return x / (1.0 + std::exp(-x));
  }
  constexpr double kSqrt2OverPi = 0.79788456080286535588;
  return 0.5 * x * (1.0 + std::tanh(kSqrt2OverPi * (x + 0.044715 * x * x * x)));
}

double Cap(double value, double cap) { return cap > 0.0 ? cap * std::tanh(value / cap) : value; }

void Normalize(const float* x, const float* weight, int64_t n, float epsilon, double* y) {
  double squares = 0.0;
  for (int64_t i = 0; i < n; ++i) {
    squares += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  }
  const double scale =
      1.0 / std::sqrt(squares / static_cast<double>(n) + static_cast<double>(epsilon));
  for (int64_t i = 0; i < n; ++i) {
    y[i] = static_cast<double>(x[i]) * scale * static_cast<double>(weight[i]);
  }
}

Rotation RotationAt(const RopeConfig& rope, int64_t position) {
  Rotation rotation;
  const int32_t pairs = rope.kind == RopeKind::kNone ? 0 : rope.rotary_dim / 2;
  for (int32_t i = 0; i < pairs; ++i) {
    const double factor =
        rope.factors.empty() ? 1.0 : static_cast<double>(rope.factors[static_cast<size_t>(i)]);
    const double frequency =
        std::pow(static_cast<double>(rope.theta), -2.0 * i / static_cast<double>(rope.rotary_dim)) /
        factor;
    const double angle =
        static_cast<double>(position) * static_cast<double>(rope.position_scale) * frequency;
    rotation.cos.push_back(std::cos(angle) * static_cast<double>(rope.magnitude));
    rotation.sin.push_back(std::sin(angle) * static_cast<double>(rope.magnitude));
  }
  return rotation;
}

void Rotate(const RopeConfig& rope, const Rotation& rotation, double* head) {
  const size_t pairs = rotation.cos.size();
  for (size_t i = 0; i < pairs; ++i) {
    const bool interleaved = rope.kind == RopeKind::kInterleaved;
    double& a = head[interleaved ? 2 * i : i];
    double& b = head[interleaved ? 2 * i + 1 : i + pairs];
    const double rotated_a = a * rotation.cos[i] - b * rotation.sin[i];
    const double rotated_b = a * rotation.sin[i] + b * rotation.cos[i];
    a = rotated_a;
    b = rotated_b;
  }
}

}  // namespace inferd::cpu_internal
