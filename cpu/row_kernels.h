// RMSNorm, rope and the KV append over a Lanes type (lanes_*.h). The arithmetic: docs/design/0002.
#pragma once

#include <cstdint>

#include "cpu/cpu_kernels.h"

namespace inferd {
namespace {

constexpr float kHalfMax = 65504.0f;

template <typename F>
inline F LoadUpTo(const float* p, int32_t left) {
  return left >= F::kWidth ? F::Load(p) : F::LoadPartial(p, left);
}

template <typename F>
inline void StoreUpTo(F value, float* p, int32_t left) {
  if (left >= F::kWidth) {
    value.Store(p);
  } else {
    value.StorePartial(p, left);
  }
}

template <typename F>
void RmsNormRow(const float* x,
                const float* weight,
                float epsilon,
                const float* residual,
                float* out,
                int32_t n) {
  F squares = F::Set1(0.0f);
  for (int32_t i = 0; i < n; i += F::kWidth) {
    const F value = LoadUpTo<F>(x + i, n - i);
    squares = F::Fma(value, value, squares);
  }
  const float mean = F::ReduceAdd(squares) / static_cast<float>(n);
  const F scale = F::Set1(1.0f / __builtin_sqrtf(mean + epsilon));
  for (int32_t i = 0; i < n; i += F::kWidth) {
    const F scaled = F::Mul(LoadUpTo<F>(x + i, n - i), scale);
    F result = F::Mul(scaled, LoadUpTo<F>(weight + i, n - i));
    if (residual != nullptr) {
      result = F::Add(LoadUpTo<F>(residual + i, n - i), result);
    }
    StoreUpTo(result, out + i, n - i);
  }
}

// (x0, x1) by the angle whose cosine and sine are c and s.
template <typename F>
inline void Rotate(F& x0, F& x1, F c, F s) {
  const F y0 = F::FmaNegated(x1, s, F::Mul(x0, c));
  x1 = F::Fma(x1, c, F::Mul(x0, s));
  x0 = y0;
}

template <typename F>
void RopeHalves(float* head, const float* cosines, const float* sines, int32_t half) {
  for (int32_t i = 0; i < half; i += F::kWidth) {
    const int32_t left = half - i;
    F x0 = LoadUpTo<F>(head + i, left);
    F x1 = LoadUpTo<F>(head + half + i, left);
    Rotate(x0, x1, LoadUpTo<F>(cosines + i, left), LoadUpTo<F>(sines + i, left));
    StoreUpTo(x0, head + i, left);
    StoreUpTo(x1, head + half + i, left);
  }
}

template <typename F>
void RopeInterleaved(float* head, const float* cosines, const float* sines, int32_t half) {
  int32_t i = 0;
  for (; i + F::kWidth <= half; i += F::kWidth) {
    F x0;
    F x1;
    F::LoadPairs(head + 2 * i, x0, x1);
    Rotate(x0, x1, F::Load(cosines + i), F::Load(sines + i));
    F::StorePairs(head + 2 * i, x0, x1);
  }
  if (i < half) {
    const int32_t left = half - i;
    float pairs[2 * F::kWidth] = {};
    for (int32_t j = 0; j < 2 * left; ++j) {
      pairs[j] = head[2 * i + j];
    }
    F x0;
    F x1;
    F::LoadPairs(pairs, x0, x1);
    Rotate(x0, x1, F::LoadPartial(cosines + i, left), F::LoadPartial(sines + i, left));
    F::StorePairs(pairs, x0, x1);
    for (int32_t j = 0; j < 2 * left; ++j) {
      head[2 * i + j] = pairs[j];
    }
  }
}

// Into the range of f16, where a cache value must stay finite; NaN stays NaN.
template <typename F>
inline F Saturate(F x) {
  return F::Max(F::Set1(-kHalfMax), F::Min(F::Set1(kHalfMax), x));
}

template <typename F>
void AppendKey(const float* key, int32_t dk, int32_t slot, uint16_t* keys) {
  for (int32_t i = 0; i < dk; i += F::kWidth) {
    uint16_t halves[F::kWidth];
    Saturate(LoadUpTo<F>(key + i, dk - i)).StoreHalf(halves);
    const int32_t count = dk - i < F::kWidth ? dk - i : F::kWidth;
    for (int32_t j = 0; j < count; ++j) {
      keys[(i + j) * kKvBlock + slot] = halves[j];
    }
  }
}

template <typename F>
void AppendValue(const float* value, int32_t dv, int32_t slot, uint16_t* values) {
  uint16_t* row = values + static_cast<int64_t>(slot) * dv;
  int32_t i = 0;
  for (; i + F::kWidth <= dv; i += F::kWidth) {
    Saturate(F::Load(value + i)).StoreHalf(row + i);
  }
  if (i < dv) {
    uint16_t halves[F::kWidth];
    Saturate(F::LoadPartial(value + i, dv - i)).StoreHalf(halves);
    for (int32_t j = 0; i + j < dv; ++j) {
      row[i + j] = halves[j];
    }
  }
}

}  // namespace
}  // namespace inferd
