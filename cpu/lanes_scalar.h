// Sixteen f32 lanes in plain C++: the definition of every lane operation, and the kernels of hosts
// without AVX2. Kernels are templates over a Lanes type; Avx2Lanes and Avx512Lanes offer the same
// members and give the same bits.
#pragma once

#include <bit>
#include <cstdint>

#include "base/half.h"

namespace inferd {
namespace {

struct ScalarLanes {
  static constexpr int kWidth = 16;
  // Vectors that a kernel may keep in registers; sizes its tiles.
  static constexpr int kRegisters = 8;
  float v[16];

  template <typename Function>
  static ScalarLanes Make(const Function& value) {
    ScalarLanes result;
    for (int i = 0; i < 16; ++i) {
      result.v[i] = value(i);
    }
    return result;
  }

  static ScalarLanes Set1(float x) {
    return Make([&](int) { return x; });
  }
  static ScalarLanes Load(const float* p) {
    return Make([&](int i) { return p[i]; });
  }
  // The first n lanes; the others are zero.
  static ScalarLanes LoadPartial(const float* p, int n) {
    return Make([&](int i) { return i < n ? p[i] : 0.0f; });
  }
  static ScalarLanes LoadHalf(const uint16_t* p) {
    return Make([&](int i) { return HalfToFloat(p[i]); });
  }
  void Store(float* p) const { StorePartial(p, 16); }
  void StorePartial(float* p, int n) const {
    for (int i = 0; i < n; ++i) {
      p[i] = v[i];
    }
  }
  // To nearest, ties to even.
  void StoreHalf(uint16_t* p) const {
    for (int i = 0; i < 16; ++i) {
      p[i] = FloatToHalf(v[i]);
    }
  }
  // even = p[0], p[2], ...; odd = p[1], p[3], ...
  static void LoadPairs(const float* p, ScalarLanes& even, ScalarLanes& odd) {
    even = Make([&](int i) { return p[2 * i]; });
    odd = Make([&](int i) { return p[2 * i + 1]; });
  }
  static void StorePairs(float* p, const ScalarLanes& even, const ScalarLanes& odd) {
    for (int i = 0; i < 16; ++i) {
      p[2 * i] = even.v[i];
      p[2 * i + 1] = odd.v[i];
    }
  }

  static ScalarLanes Add(const ScalarLanes& a, const ScalarLanes& b) {
    return Make([&](int i) { return a.v[i] + b.v[i]; });
  }
  static ScalarLanes Sub(const ScalarLanes& a, const ScalarLanes& b) {
    return Make([&](int i) { return a.v[i] - b.v[i]; });
  }
  static ScalarLanes Mul(const ScalarLanes& a, const ScalarLanes& b) {
    return Make([&](int i) { return a.v[i] * b.v[i]; });
  }
  static ScalarLanes Div(const ScalarLanes& a, const ScalarLanes& b) {
    return Make([&](int i) { return a.v[i] / b.v[i]; });
  }
  // a * b + c, rounded once.
  static ScalarLanes Fma(const ScalarLanes& a, const ScalarLanes& b, const ScalarLanes& c) {
    return Make([&](int i) { return __builtin_fmaf(a.v[i], b.v[i], c.v[i]); });
  }
  // -(a * b) + c, rounded once.
  static ScalarLanes FmaNegated(const ScalarLanes& a, const ScalarLanes& b, const ScalarLanes& c) {
    return Make([&](int i) { return __builtin_fmaf(-a.v[i], b.v[i], c.v[i]); });
  }
  // b where a is not greater, so also where either is NaN (what MAXPS and MINPS do).
  static ScalarLanes Max(const ScalarLanes& a, const ScalarLanes& b) {
    return Make([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
  }
  static ScalarLanes Min(const ScalarLanes& a, const ScalarLanes& b) {
    return Make([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; });
  }
  static ScalarLanes Abs(const ScalarLanes& a) {
    return Make([&](int i) { return __builtin_fabsf(a.v[i]); });
  }
  static ScalarLanes CopySign(const ScalarLanes& magnitude, const ScalarLanes& sign) {
    return Make([&](int i) { return __builtin_copysignf(magnitude.v[i], sign.v[i]); });
  }
  // a < b ? x : y; y where either is NaN.
  static ScalarLanes SelectLess(const ScalarLanes& a,
                                const ScalarLanes& b,
                                const ScalarLanes& x,
                                const ScalarLanes& y) {
    return Make([&](int i) { return a.v[i] < b.v[i] ? x.v[i] : y.v[i]; });
  }
  // 2^k where n = 1.5 * 2^23 + k and -127 < k <= 128 (2^128 is infinity).
  static ScalarLanes PowerOfTwo(const ScalarLanes& n) {
    return Make([&](int i) {
      return std::bit_cast<float>((std::bit_cast<uint32_t>(n.v[i]) << 23) + 0x3f800000u);
    });
  }
  // Tree: lane i with i + 8, then i + 4, i + 2, i + 1.
  static float ReduceAdd(ScalarLanes a) {
    for (int half = 8; half >= 1; half /= 2) {
      for (int i = 0; i < half; ++i) {
        a.v[i] = a.v[i] + a.v[i + half];
      }
    }
    return a.v[0];
  }
  static float ReduceMax(ScalarLanes a) {
    for (int half = 8; half >= 1; half /= 2) {
      for (int i = 0; i < half; ++i) {
        a.v[i] = a.v[i] > a.v[i + half] ? a.v[i] : a.v[i + half];
      }
    }
    return a.v[0];
  }
};

}  // namespace
}  // namespace inferd
