// The body of ApplyMath for one Lanes type.
#pragma once

#include <cstdint>

#include "cpu/vector_math.h"
#include "cpu/vector_math_kernels.h"

namespace inferd {

void ApplyMathScalar(MathFunction function, const float* in, float* out, int64_t n);
void ApplyMathAvx2(MathFunction function, const float* in, float* out, int64_t n);
void ApplyMathAvx512(MathFunction function, const float* in, float* out, int64_t n);

namespace {

template <typename F>
inline F ApplyOne(MathFunction function, F x) {
  switch (function) {
    case MathFunction::kExp:
      return Exp(x);
    case MathFunction::kTanh:
      return Tanh(x);
    case MathFunction::kSilu:
      return Silu(x);
    case MathFunction::kGeluTanh:
      return GeluTanh(x);
  }
  return x;
}

template <typename F>
inline void ApplyAll(MathFunction function, const float* in, float* out, int64_t n) {
  int64_t i = 0;
  for (; i + F::kWidth <= n; i += F::kWidth) {
    ApplyOne(function, F::Load(in + i)).Store(out + i);
  }
  if (i < n) {
    const int rest = static_cast<int>(n - i);
    ApplyOne(function, F::LoadPartial(in + i, rest)).StorePartial(out + i, rest);
  }
}

}  // namespace
}  // namespace inferd
