// exp, SiLU and GELU as fixed sequences of singly rounded f32 operations: the same bits on every
// card and on the host, and those of the CPU device (docs/design/0002, "Elementary functions").
// No hardware approximation: an epilogue computes few of them. Host and device; no absl.
#pragma once

#include "cuda/host_device.h"

namespace inferd::cuda_internal {

inline constexpr int kMathVersion = 1;

// Within 1.1 ulp from -86.5 to 88.375; 0 below, infinity above; NaN stays NaN.
INFERD_HD float Exp(float x) {
  if (x < -86.5f) {
    return 0.0f;
  }
  if (x > 88.375f) {
    return FloatFromBits(0x7f800000u);
  }
  // x / ln 2 rounded to an integer n, in the low bits of `shifted`; r = x - n ln 2 in two steps.
  const float magic = 12582912.0f;  // 1.5 * 2^23
  const float shifted = Fma(x, 0x1.715476p+0f, magic);
  const float n = Add(shifted, -magic);
  float r = Fma(-n, 0x1.62e43p-1f, x);
  r = Fma(-n, -0x1.05c61p-29f, r);
  float p = 0x1.6d1176p-10f;
  p = Fma(p, r, 0x1.120bdap-7f);
  p = Fma(p, r, 0x1.555518p-5f);
  p = Fma(p, r, 0x1.5554dcp-3f);
  p = Fma(p, r, 0.5f);
  p = Fma(p, r, 1.0f);
  p = Fma(p, r, 1.0f);
  const uint32_t exponent = (BitsOfFloat(shifted) - BitsOfFloat(magic) + 127u) << 23;
  return Mul(p, FloatFromBits(exponent));
}

// x / (1 + e^-x).
INFERD_HD float Silu(float x) { return Div(x, Add(1.0f, Exp(Add(0.0f, -x)))); }

// The tanh form, x / (1 + e^(x (c1 + c3 x^2))).
INFERD_HD float GeluTanh(float x) {
  const float inner = Fma(Mul(x, x), -0.0713548163f, -1.59576912f);
  return Div(x, Add(1.0f, Exp(Mul(x, inner))));
}

}  // namespace inferd::cuda_internal
