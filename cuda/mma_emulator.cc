#include "cuda/mma_emulator.h"

#include <algorithm>
#include <bit>
#include <cstddef>

#include "base/check.h"

namespace inferd::cuda_internal {
namespace {

constexpr int kProducts = 16;
constexpr int kZeroExponent = -126;
constexpr uint32_t kNan = 0x7fffffffu;
constexpr uint32_t kInfinity = 0x7f800000u;

// sign * significand * 2^(exponent - fraction bits); 8 bits of significand in a bf16, 24 in an f32.
struct Unpacked {
  int32_t significand = 0;  // signed
  int32_t exponent = kZeroExponent;
  bool infinite = false;
  bool nan = false;
};

Unpacked Unpack(uint32_t bits, int fraction_bits) {
  const auto field = static_cast<int32_t>((bits >> 23) & 255u);
  const auto fraction = static_cast<int32_t>((bits & 0x7fffffu) >> (23 - fraction_bits));
  Unpacked value;
  if (field == 255) {
    value.infinite = fraction == 0;
    value.nan = fraction != 0;
    value.significand = 1;
  } else if (field == 0) {
    value.significand = fraction;
  } else {
    value.significand = fraction | 1 << fraction_bits;
    value.exponent = field - 127;
  }
  if ((bits >> 31) != 0) {
    value.significand = -value.significand;
  }
  return value;
}

Unpacked UnpackBfloat(uint16_t bits) { return Unpack(uint32_t{bits} << 16, 7); }

// value * 2^shift, cut off toward zero.
int64_t ShiftTowardZero(int64_t value, int shift) {
  if (shift >= 0) {
    return value << shift;
  }
  if (shift < -62) {
    return 0;
  }
  const int64_t magnitude = (value < 0 ? -value : value) >> -shift;
  return value < 0 ? -magnitude : magnitude;
}

// sum * 2^exponent, toward zero; past the largest f32 it is infinity.
float RoundTowardZero(int64_t sum, int exponent) {
  if (sum == 0) {
    return 0.0f;
  }
  const uint32_t sign = sum < 0 ? 0x80000000u : 0u;
  const auto magnitude = static_cast<uint64_t>(sum < 0 ? -sum : sum);
  const int top = 63 - std::countl_zero(magnitude);
  const int leading = top + exponent;  // of the value
  if (leading > 127) {
    return std::bit_cast<float>(sign | kInfinity);
  }
  // The last bit kept weighs 2^(leading - 23), 2^-149 of a subnormal.
  const int last = std::max(leading, -126) - 23;
  const int shift = exponent - last;
  const uint64_t kept = shift >= 0 ? magnitude << shift : (shift < -63 ? 0 : magnitude >> -shift);
  const auto fraction = static_cast<uint32_t>(kept);
  if (leading < -126) {
    return std::bit_cast<float>(sign | fraction);
  }
  return std::bit_cast<float>(sign | static_cast<uint32_t>(leading + 127) << 23 |
                              (fraction & 0x7fffffu));
}

constexpr int FractionalBits(TensorCoreClass core) {
  return core == TensorCoreClass::kAmpere ? 24 : 25;
}

// What infinities and NaNs among the terms make of the sum: its bits, or 0 if there are none.
uint32_t SpecialSum(std::span<const Unpacked> a, std::span<const Unpacked> b, const Unpacked& c) {
  bool nan = c.nan;
  bool plus = c.infinite && c.significand > 0;
  bool minus = c.infinite && c.significand < 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const bool infinite = a[i].infinite || b[i].infinite;
    const bool zero =
        (!a[i].infinite && a[i].significand == 0) || (!b[i].infinite && b[i].significand == 0);
    nan = nan || a[i].nan || b[i].nan || (infinite && zero);
    if (infinite) {
      const bool positive = (a[i].significand < 0) == (b[i].significand < 0);
      (positive ? plus : minus) = true;
    }
  }
  if (nan || (plus && minus)) {
    return kNan;
  }
  return plus ? kInfinity : (minus ? kInfinity | 0x80000000u : 0u);
}

bool IsSpecial(const Unpacked& value) { return value.infinite || value.nan; }

float FusedSum(TensorCoreClass core,
               std::span<const Unpacked> a,
               std::span<const Unpacked> b,
               float c_value) {
  const Unpacked c = Unpack(std::bit_cast<uint32_t>(c_value), 23);
  int32_t products[kProducts];
  int32_t exponents[kProducts];
  bool special = IsSpecial(c);
  int32_t largest = c.exponent;
  for (size_t i = 0; i < a.size(); ++i) {
    special = special || IsSpecial(a[i]) || IsSpecial(b[i]);
    products[i] = a[i].significand * b[i].significand;
    exponents[i] = products[i] == 0 ? kZeroExponent : a[i].exponent + b[i].exponent;
    largest = std::max(largest, exponents[i]);
  }
  if (special) {
    if (const uint32_t bits = SpecialSum(a, b, c); bits != 0) {
      return std::bit_cast<float>(bits);
    }
  }
  const int fractional_bits = FractionalBits(core);
  int64_t sum = ShiftTowardZero(c.significand, fractional_bits - 23 + c.exponent - largest);
  for (size_t i = 0; i < a.size(); ++i) {
    sum += ShiftTowardZero(products[i], fractional_bits - 14 + exponents[i] - largest);
  }
  return RoundTowardZero(sum, largest - fractional_bits);
}

float Dot16(TensorCoreClass core,
            std::span<const Unpacked, kProducts> a,
            std::span<const Unpacked, kProducts> b,
            float c) {
  if (core == TensorCoreClass::kHopper) {
    return FusedSum(core, a, b, c);
  }
  const float half = FusedSum(core, a.first<8>(), b.first<8>(), c);
  return FusedSum(core, a.last<8>(), b.last<8>(), half);
}

}  // namespace

float FusedDotAdd(TensorCoreClass core,
                  std::span<const uint16_t> a,
                  std::span<const uint16_t> b,
                  float c) {
  CHECK(a.size() == b.size() && a.size() <= kProducts);
  Unpacked left[kProducts];
  Unpacked right[kProducts];
  std::transform(a.begin(), a.end(), left, UnpackBfloat);
  std::transform(b.begin(), b.end(), right, UnpackBfloat);
  return FusedSum(core, std::span(left, a.size()), std::span(right, b.size()), c);
}

float EmulatedDot16(TensorCoreClass core,
                    std::span<const uint16_t, 16> a,
                    std::span<const uint16_t, 16> b,
                    float c) {
  if (core == TensorCoreClass::kHopper) {
    return FusedDotAdd(core, a, b, c);
  }
  return FusedDotAdd(
      core, a.last<8>(), b.last<8>(), FusedDotAdd(core, a.first<8>(), b.first<8>(), c));
}

void EmulatedMma(TensorCoreClass core,
                 const Lanes<FragmentA, kWarpLanes>& a,
                 const Lanes<FragmentB, kWarpLanes>& b,
                 Lanes<FragmentC, kWarpLanes>& c) {
  Unpacked rows[16][kProducts];
  Unpacked tokens[8][kProducts];
  for (int lane = 0; lane < kWarpLanes; ++lane) {
    for (int half = 0; half < 2; ++half) {
      for (int r = 0; r < 4; ++r) {
        const MatrixPlace place = PlaceInA(lane, r, half);
        rows[place.row][place.col] =
            UnpackBfloat(static_cast<uint16_t>(a[lane].r[r] >> (16 * half)));
      }
      for (int r = 0; r < 2; ++r) {
        const MatrixPlace place = PlaceInB(lane, r, half);
        tokens[place.col][place.row] =
            UnpackBfloat(static_cast<uint16_t>(b[lane].r[r] >> (16 * half)));
      }
    }
  }
  for (int lane = 0; lane < kWarpLanes; ++lane) {
    for (int r = 0; r < 4; ++r) {
      const MatrixPlace place = PlaceInC(lane, r);
      float& sum = c[lane].r[r];
      sum = Dot16(core, rows[place.row], tokens[place.col], sum);
    }
  }
}

}  // namespace inferd::cuda_internal
