// The arithmetic of the exact device, in f64: the meaning that every device is held to.
#pragma once

#include <cstdint>
#include <vector>

#include "model/model_config.h"

namespace inferd::cpu_internal {

// Sums 16 lanes over n, then the lanes, then what is left.
double Dot(const double* a, const double* b, int64_t n);

double Activate(Activation activation, double x);

// cap * tanh(value / cap); value itself where there is no cap (0).
double Cap(double value, double cap);

// y = x / rms(x) * weight over n values.
void Normalize(const float* x, const float* weight, int64_t n, float epsilon, double* y);

// cos and sin, times the magnitude, of each rotated pair at a position.
struct Rotation {
  std::vector<double> cos, sin;
};

Rotation RotationAt(const RopeConfig& rope, int64_t position);

// Rotates the pairs of one head in place; what lies behind them stays.
void Rotate(const RopeConfig& rope, const Rotation& rotation, double* head);

}  // namespace inferd::cpu_internal
