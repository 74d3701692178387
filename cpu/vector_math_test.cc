// Accuracy against libm in double, and bit equality of every instruction set with the scalar code
// over a sweep of all exponents.
#include "cpu/vector_math.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "gtest/gtest.h"

namespace inferd {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Every `stride`-th f32 bit pattern but for NaNs, so that all signs and exponents occur.
std::vector<float> Sweep(uint32_t stride) {
  std::vector<float> values;
  for (uint64_t bits = 0; bits < (uint64_t{1} << 32); bits += stride) {
    const auto value = std::bit_cast<float>(static_cast<uint32_t>(bits));
    if (!std::isnan(value)) {
      values.push_back(value);
    }
  }
  for (const float value : {0.0f, -0.0f, kInfinity, -kInfinity, -86.5f, 88.375f, 0.625f}) {
    values.push_back(value);
  }
  return values;
}

std::vector<float> Range(double from, double to, int n) {
  std::vector<float> values;
  for (int i = 0; i <= n; ++i) {
    values.push_back(static_cast<float>(from + (to - from) * i / n));
  }
  return values;
}

std::vector<float> Apply(CpuIsa isa, MathFunction function, const std::vector<float>& in) {
  std::vector<float> out(in.size());
  ApplyMath(isa, function, in.data(), out.data(), static_cast<int64_t>(in.size()));
  return out;
}

// |got - want| in units of the last place of f32 at `want`.
double Ulps(float got, double want) {
  const int exponent = std::max(std::ilogb(want), -126);
  return std::abs(got - want) / std::ldexp(1.0, exponent - 23);
}

TEST(VectorMath, ExpIsAccurate) {
  const std::vector<float> x = Range(-86.5, 88.375, 1'000'003);
  const std::vector<float> y = Apply(BestIsa(), MathFunction::kExp, x);
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    worst = std::max(worst, Ulps(y[i], std::exp(static_cast<double>(x[i]))));
  }
  EXPECT_LE(worst, 1.1);
}

TEST(VectorMath, ExpAtTheEdges) {
  const std::vector<float> y = Apply(CpuIsa::kScalar,
                                     MathFunction::kExp,
                                     {0.0f, -0.0f, -kInfinity, kInfinity, -86.6f, 88.4f, NAN});
  EXPECT_EQ(y[0], 1.0f);
  EXPECT_EQ(y[1], 1.0f);
  EXPECT_EQ(y[2], 0.0f);
  EXPECT_EQ(y[3], kInfinity);
  EXPECT_EQ(y[4], 0.0f);
  EXPECT_EQ(y[5], kInfinity);
  EXPECT_TRUE(std::isnan(y[6]));
}

TEST(VectorMath, TanhIsAccurate) {
  const std::vector<float> x = Range(-12.0, 12.0, 1'000'003);
  const std::vector<float> y = Apply(BestIsa(), MathFunction::kTanh, x);
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    worst = std::max(worst, Ulps(y[i], std::tanh(static_cast<double>(x[i]))));
  }
  EXPECT_LE(worst, 3.0);
}

TEST(VectorMath, SiluIsAccurate) {
  const std::vector<float> x = Range(-80.0, 80.0, 1'000'003);
  const std::vector<float> y = Apply(BestIsa(), MathFunction::kSilu, x);
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double d = x[i];
    worst = std::max(worst, Ulps(y[i], d / (1.0 + std::exp(-d))));
  }
  EXPECT_LE(worst, 4.0);
}

TEST(VectorMath, GeluIsAccurate) {
  const std::vector<float> x = Range(-8.0, 20.0, 1'000'003);
  const std::vector<float> y = Apply(BestIsa(), MathFunction::kGeluTanh, x);
  double worst_error = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double d = x[i];
    const double u = std::sqrt(2.0 / M_PI) * (d + 0.044715 * d * d * d);
    const double want = 0.5 * d * (1.0 + std::tanh(u));
    // Relative to the larger of the result and the tail, where the exponent magnifies roundings.
    worst_error = std::max(worst_error, std::abs(y[i] - want) / std::max(std::abs(want), 1e-3));
  }
  EXPECT_LE(worst_error, 2e-6);
}

TEST(VectorMath, EveryIsaGivesTheSameBits) {
  const std::vector<float> x = Sweep(2039);
  for (const MathFunction function :
       {MathFunction::kExp, MathFunction::kTanh, MathFunction::kSilu, MathFunction::kGeluTanh}) {
    const std::vector<float> scalar = Apply(CpuIsa::kScalar, function, x);
    for (const CpuIsa isa : {CpuIsa::kAvx2, CpuIsa::kAvx512}) {
      if (!IsSupported(isa)) {
        continue;
      }
      const std::vector<float> wide = Apply(isa, function, x);
      size_t mismatches = 0;
      for (size_t i = 0; i < x.size(); ++i) {
        const bool same = std::bit_cast<uint32_t>(scalar[i]) == std::bit_cast<uint32_t>(wide[i]) ||
                          (std::isnan(scalar[i]) && std::isnan(wide[i]));
        mismatches += same ? 0 : 1;
      }
      EXPECT_EQ(mismatches, 0u) << Name(isa) << " function " << static_cast<int>(function);
    }
  }
}

TEST(VectorMath, TailsTouchNothingBeyond) {
  for (int n = 0; n <= 33; ++n) {
    const std::vector<float> x = Range(-3.0, 3.0, 40);
    for (const CpuIsa isa : {CpuIsa::kScalar, CpuIsa::kAvx2, CpuIsa::kAvx512}) {
      if (!IsSupported(isa)) {
        continue;
      }
      std::vector<float> out(x.size(), -7.0f);
      ApplyMath(isa, MathFunction::kSilu, x.data(), out.data(), n);
      const std::vector<float> all = Apply(isa, MathFunction::kSilu, x);
      for (size_t i = 0; i < out.size(); ++i) {
        EXPECT_EQ(out[i], static_cast<int>(i) < n ? all[i] : -7.0f);
      }
    }
  }
}

}  // namespace
}  // namespace inferd
