// What lets one source compile for the host and for the GPU: the function qualifiers, and the f32
// operations with their rounding written out, so that neither compiler contracts or reorders them.
//
// Read by .cu files: no absl here, nor in any header of this room that they include.
#pragma once

#include <cmath>
#include <cstdint>

#include "base/half.h"

#ifdef __CUDACC__
#define INFERD_HD __host__ __device__ __forceinline__
#define INFERD_UNROLL _Pragma("unroll")
#else
#define INFERD_HD inline
#define INFERD_UNROLL
#endif

namespace inferd::cuda_internal {

// Each is one IEEE operation, to nearest even, subnormals kept. Never compiled with fast math.

INFERD_HD float Fma(float a, float b, float c) {
#ifdef __CUDA_ARCH__
  return __fmaf_rn(a, b, c);
#else
  return std::fma(a, b, c);
#endif
}

INFERD_HD float Add(float a, float b) {
#ifdef __CUDA_ARCH__
  return __fadd_rn(a, b);
#else
  return a + b;
#endif
}

INFERD_HD float Mul(float a, float b) {
#ifdef __CUDA_ARCH__
  return __fmul_rn(a, b);
#else
  return a * b;
#endif
}

INFERD_HD float Div(float a, float b) {
#ifdef __CUDA_ARCH__
  return __fdiv_rn(a, b);
#else
  return a / b;
#endif
}

INFERD_HD float FloatFromBits(uint32_t bits) {
#ifdef __CUDA_ARCH__
  return __uint_as_float(bits);
#else
  return std::bit_cast<float>(bits);
#endif
}

INFERD_HD uint32_t BitsOfFloat(float value) {
#ifdef __CUDA_ARCH__
  return __float_as_uint(value);
#else
  return std::bit_cast<uint32_t>(value);
#endif
}

// Exact: every f16 is an f32.
INFERD_HD float FloatFromHalf(uint16_t half) {
#ifdef __CUDA_ARCH__
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(half));
  return value;
#else
  return HalfToFloat(half);
#endif
}

// To nearest even; a NaN becomes some NaN.
INFERD_HD uint16_t BfloatFromFloat(float value) {
#ifdef __CUDA_ARCH__
  uint16_t bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return bits;
#else
  return FloatToBfloat(value);
#endif
}

// (value & mask) | bits as one instruction; the compiler makes two of it, since only one operand
// can be a constant.
INFERD_HD uint32_t AndOr(uint32_t value, uint32_t mask, uint32_t bits) {
#ifdef __CUDA_ARCH__
  uint32_t result;
  asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(result) : "r"(value), "r"(mask), "r"(bits));
  return result;
#else
  return (value & mask) | bits;
#endif
}

// The product (or sum) of two pairs of bf16 where every result is a bf16: no rounding happens, so
// that any instruction gives the same bits. a * b + c on each half.
INFERD_HD uint32_t ExactBfloatPairFma(uint32_t a, uint32_t b, uint32_t c) {
#ifdef __CUDA_ARCH__
  uint32_t result;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(result) : "r"(a), "r"(b), "r"(c));
  return result;
#else
  const auto half = [](uint32_t pair, int i) {
    return BfloatToFloat(static_cast<uint16_t>(pair >> (16 * i)));
  };
  uint32_t result = 0;
  for (int i = 0; i < 2; ++i) {
    const float value = std::fma(half(a, i), half(b, i), half(c, i));
    result |= static_cast<uint32_t>(FloatToBfloat(value)) << (16 * i);
  }
  return result;
#endif
}

}  // namespace inferd::cuda_internal
