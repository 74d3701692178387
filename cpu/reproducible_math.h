// exp and log in f64, the same bits on every machine: made of +, -, * and / alone, each of which
// IEEE 754 rounds in one way, in one order. No libm, whose last bit differs between versions, and
// no fused products (-ffp-contract=off). Branch-free, so that loops over them vectorise.
#pragma once

#include <bit>
#include <cstdint>

namespace inferd {

namespace reproducible_math_internal {
inline constexpr double kLn2High = 0x1.62e42fee00000p-1;  // 32 bits: an exponent times it is exact
inline constexpr double kLn2Low = 0x1.a39ef35793c76p-33;
}  // namespace reproducible_math_internal

// e^x, within 2 ulp. x below -700 counts as -700 (1e-304), and so does NaN; x <= 700.
inline double ReproducibleExp(double x) {
  using reproducible_math_internal::kLn2High;
  using reproducible_math_internal::kLn2Low;
  x = x > -700.0 ? x : -700.0;
  // Adding 1.5 * 2^52 rounds to an integer, which stands in the low bits of the sum.
  constexpr double kRound = 0x1.8p52;
  const double shifted = x * 0x1.71547652b82fep0 + kRound;  // x / ln 2
  const double k = shifted - kRound;
  const double r = (x - k * kLn2High) - k * kLn2Low;  // |r| <= 0.347
  double sum = 1.0 / 6227020800.0;                    // Taylor, to r^13 / 13!
  sum = sum * r + 1.0 / 479001600.0;
  sum = sum * r + 1.0 / 39916800.0;
  sum = sum * r + 1.0 / 3628800.0;
  sum = sum * r + 1.0 / 362880.0;
  sum = sum * r + 1.0 / 40320.0;
  sum = sum * r + 1.0 / 5040.0;
  sum = sum * r + 1.0 / 720.0;
  sum = sum * r + 1.0 / 120.0;
  sum = sum * r + 1.0 / 24.0;
  sum = sum * r + 1.0 / 6.0;
  sum = sum * r + 0.5;
  sum = sum * r + 1.0;
  sum = sum * r + 1.0;
  return std::bit_cast<double>(std::bit_cast<uint64_t>(sum) +
                               (std::bit_cast<uint64_t>(shifted) << 52));
}

// ln x, within 2 ulp. x is positive, finite and normal.
inline double ReproducibleLog(double x) {
  using reproducible_math_internal::kLn2High;
  using reproducible_math_internal::kLn2Low;
  constexpr uint64_t kMantissa = 0x000fffffffffffffu;
  constexpr uint64_t kSqrtHalf = 0x3fe6a09e667f3bcdu;
  // x = 2^k * m with m in [sqrt(1/2), sqrt(2)).
  const uint64_t bits = std::bit_cast<uint64_t>(x);
  const uint64_t offset = bits - kSqrtHalf;
  const auto k = static_cast<double>(static_cast<int64_t>(offset) >> 52);
  const double m = std::bit_cast<double>((offset & kMantissa) + kSqrtHalf);
  // ln m = 2 atanh(s), s = (m - 1) / (m + 1), |s| <= 0.172.
  const double s = (m - 1.0) / (m + 1.0);
  const double z = s * s;
  double sum = 1.0 / 23.0;
  sum = sum * z + 1.0 / 21.0;
  sum = sum * z + 1.0 / 19.0;
  sum = sum * z + 1.0 / 17.0;
  sum = sum * z + 1.0 / 15.0;
  sum = sum * z + 1.0 / 13.0;
  sum = sum * z + 1.0 / 11.0;
  sum = sum * z + 1.0 / 9.0;
  sum = sum * z + 1.0 / 7.0;
  sum = sum * z + 1.0 / 5.0;
  sum = sum * z + 1.0 / 3.0;
  const double twice = s + s;
  return k * kLn2High + (k * kLn2Low + (twice * z * sum + twice));
}

}  // namespace inferd
