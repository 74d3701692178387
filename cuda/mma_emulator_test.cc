// The emulator against the published formula written a second time, in exact arithmetic of another
// kind, and against hand-made cases that tell the two classes of card apart.
#include "cuda/mma_emulator.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <vector>

#include "base/half.h"
#include "base/random.h"

namespace inferd::cuda_internal {
namespace {

constexpr TensorCoreClass kBoth[] = {TensorCoreClass::kAmpere, TensorCoreClass::kHopper};

// The formula in doubles: exact here, since exponents are kept in a narrow range.
float FormulaInDoubles(TensorCoreClass core,
                       const std::vector<uint16_t>& a,
                       const std::vector<uint16_t>& b,
                       float c) {
  const int bits = core == TensorCoreClass::kAmpere ? 24 : 25;
  const auto exponent = [](float x) { return x == 0.0f ? -1000 : std::ilogb(x); };
  std::vector<double> terms = {static_cast<double>(c)};
  std::vector<int> exponents = {exponent(c)};
  for (size_t i = 0; i < a.size(); ++i) {
    const float x = BfloatToFloat(a[i]);
    const float y = BfloatToFloat(b[i]);
    terms.push_back(static_cast<double>(x) * static_cast<double>(y));
    exponents.push_back(x == 0.0f || y == 0.0f ? -1000 : exponent(x) + exponent(y));
  }
  const int largest = *std::max_element(exponents.begin(), exponents.end());
  if (largest == -1000) {
    return 0.0f;
  }
  double sum = 0;
  for (const double term : terms) {
    sum += std::trunc(std::ldexp(term, bits - largest));
  }
  sum = std::ldexp(sum, largest - bits);
  auto rounded = static_cast<float>(sum);  // to nearest; step back where that went away from zero
  if (std::abs(static_cast<double>(rounded)) > std::abs(sum)) {
    rounded = std::nextafter(rounded, 0.0f);
  }
  return rounded;
}

uint16_t RandomBfloat(SplitMix64& random, int exponent_spread) {
  const auto exponent = static_cast<int>(random.Below(static_cast<uint64_t>(exponent_spread)));
  const double value = (random.Unit() + 1) * std::ldexp(1.0, exponent - exponent_spread / 2);
  const double sign = random.Below(2) == 0 ? 1 : -1;
  return random.Below(20) == 0 ? uint16_t{0} : FloatToBfloat(static_cast<float>(sign * value));
}

std::vector<uint16_t> RandomBfloats(SplitMix64& random, size_t count, int exponent_spread) {
  std::vector<uint16_t> values(count);
  for (uint16_t& value : values) {
    value = RandomBfloat(random, exponent_spread);
  }
  return values;
}

TEST(FusedDotAdd, IsThePublishedFormula) {
  SplitMix64 random(11);
  for (int i = 0; i < 20000; ++i) {
    const int spread = 1 + static_cast<int>(random.Below(12));
    const auto a = RandomBfloats(random, 16, spread);
    const auto b = RandomBfloats(random, 16, spread);
    const float c = static_cast<float>((random.Unit() - 0.5) * std::ldexp(1.0, spread));
    for (const TensorCoreClass core : kBoth) {
      const float expected = FormulaInDoubles(core, a, b, c);
      const float got = FusedDotAdd(core, a, b, c);
      ASSERT_EQ(std::bit_cast<uint32_t>(expected), std::bit_cast<uint32_t>(got)) << i;
    }
  }
}

TEST(FusedDotAdd, CutsOffWhatLiesBelowTheLastBit) {
  const auto bf = [](double x) { return FloatToBfloat(static_cast<float>(x)); };
  // 1 + 2^-24: F = 24 keeps the small term, the f32 result then drops it; twice the term shows it.
  const std::vector<uint16_t> a = {bf(1), bf(std::ldexp(1, -12)), bf(std::ldexp(1, -12))};
  const std::vector<uint16_t> b = {bf(1), bf(std::ldexp(1, -12)), bf(std::ldexp(1, -12))};
  for (const TensorCoreClass core : kBoth) {
    EXPECT_EQ(FusedDotAdd(core, a, b, 0.0f), 1.0f + std::ldexp(1.0f, -23));
  }
  // 1 + 4 * 2^-25: only the class with 25 bits sees the small terms.
  const std::vector<uint16_t> tiny(4, bf(std::ldexp(1, -12)));
  const std::vector<uint16_t> half(4, bf(std::ldexp(1, -13)));
  EXPECT_EQ(FusedDotAdd(TensorCoreClass::kAmpere, tiny, half, 1.0f), 1.0f);
  EXPECT_EQ(FusedDotAdd(TensorCoreClass::kHopper, tiny, half, 1.0f), 1.0f + std::ldexp(1.0f, -23));
}

TEST(FusedDotAdd, Extremes) {
  const auto bf = [](float x) { return FloatToBfloat(x); };
  const float infinity = std::numeric_limits<float>::infinity();
  const auto one = [&](float a, float b, float c) {
    const uint16_t x = bf(a);
    const uint16_t y = bf(b);
    return FusedDotAdd(TensorCoreClass::kHopper, {&x, 1}, {&y, 1}, c);
  };
  EXPECT_EQ(one(0x1p100f, 0x1p100f, 0.0f), infinity);
  EXPECT_EQ(one(-0x1p100f, 0x1p100f, 0.0f), -infinity);
  EXPECT_EQ(one(infinity, 1.0f, 5.0f), infinity);
  EXPECT_TRUE(std::isnan(one(infinity, 0.0f, 0.0f)));
  EXPECT_TRUE(std::isnan(one(infinity, 1.0f, -infinity)));
  EXPECT_TRUE(std::isnan(one(1.0f, 1.0f, std::nanf(""))));
  EXPECT_EQ(one(0x1p-70f, 0x1p-70f, 0.0f), 0x1p-140f);  // a subnormal is kept
  EXPECT_EQ(one(0.0f, 3.0f, -0x1p-149f), -0x1p-149f);
  EXPECT_EQ(std::bit_cast<uint32_t>(one(-0.0f, 3.0f, 0.0f)), 0u);
}

// Order within a fused sum is free, which is what lets decode kernels swap operands.
TEST(EmulatedDot16, OrderIsFreeWithinAStepOfItsClass) {
  SplitMix64 random(12);
  int crossed_halves_differ = 0;
  for (int i = 0; i < 2000; ++i) {
    auto a = RandomBfloats(random, 16, 16);
    auto b = RandomBfloats(random, 16, 16);
    const float c = static_cast<float>(random.Unit());
    const auto dot = [&](TensorCoreClass core) {
      return EmulatedDot16(
          core, std::span<const uint16_t, 16>(a), std::span<const uint16_t, 16>(b), c);
    };
    const float ampere = dot(TensorCoreClass::kAmpere);
    const float hopper = dot(TensorCoreClass::kHopper);
    std::swap(a, b);
    ASSERT_EQ(ampere, dot(TensorCoreClass::kAmpere));
    ASSERT_EQ(hopper, dot(TensorCoreClass::kHopper));
    std::swap(a[1], a[6]);  // inside the first half
    std::swap(b[1], b[6]);
    ASSERT_EQ(ampere, dot(TensorCoreClass::kAmpere));
    std::swap(a[2], a[13]);  // across the halves
    std::swap(b[2], b[13]);
    ASSERT_EQ(hopper, dot(TensorCoreClass::kHopper));
    crossed_halves_differ += ampere != dot(TensorCoreClass::kAmpere);
  }
  EXPECT_GT(crossed_halves_differ, 100);
}

TEST(Fragments, EveryElementHasOnePlace) {
  std::set<std::pair<int, int>> a;
  std::set<std::pair<int, int>> b;
  std::set<std::pair<int, int>> c;
  for (int lane = 0; lane < kWarpLanes; ++lane) {
    for (int r = 0; r < 4; ++r) {
      c.insert({PlaceInC(lane, r).row, PlaceInC(lane, r).col});
      for (int h = 0; h < 2; ++h) {
        a.insert({PlaceInA(lane, r, h).row, PlaceInA(lane, r, h).col});
        if (r < 2) {
          b.insert({PlaceInB(lane, r, h).row, PlaceInB(lane, r, h).col});
        }
      }
    }
  }
  EXPECT_EQ(a.size(), 256u);
  EXPECT_EQ(b.size(), 128u);
  EXPECT_EQ(c.size(), 128u);
  EXPECT_EQ(a.rbegin()->first, 15);
  EXPECT_EQ(b.rbegin()->second, 7);
  EXPECT_EQ(c.rbegin()->second, 7);
}

TEST(EmulatedMma, IsTheDotOfEachRowAndToken) {
  SplitMix64 random(13);
  for (const TensorCoreClass core : kBoth) {
    uint16_t rows[16][16];
    uint16_t tokens[8][16];
    float sums[16][8];
    Lanes<FragmentA, kWarpLanes> a;
    Lanes<FragmentB, kWarpLanes> b;
    Lanes<FragmentC, kWarpLanes> c;
    for (auto& row : rows) {
      for (uint16_t& value : row) {
        value = RandomBfloat(random, 8);
      }
    }
    for (auto& token : tokens) {
      for (uint16_t& value : token) {
        value = RandomBfloat(random, 8);
      }
    }
    for (auto& row : sums) {
      for (float& value : row) {
        value = static_cast<float>(random.Unit());
      }
    }
    for (int lane = 0; lane < kWarpLanes; ++lane) {
      for (int r = 0; r < 4; ++r) {
        const MatrixPlace low = PlaceInA(lane, r, 0);
        const MatrixPlace high = PlaceInA(lane, r, 1);
        a[lane].r[r] = rows[low.row][low.col] | uint32_t{rows[high.row][high.col]} << 16;
        c[lane].r[r] = sums[PlaceInC(lane, r).row][PlaceInC(lane, r).col];
      }
      for (int r = 0; r < 2; ++r) {
        const MatrixPlace low = PlaceInB(lane, r, 0);
        const MatrixPlace high = PlaceInB(lane, r, 1);
        b[lane].r[r] = tokens[low.col][low.row] | uint32_t{tokens[high.col][high.row]} << 16;
      }
    }
    EmulatedMma(core, a, b, c);
    for (int lane = 0; lane < kWarpLanes; ++lane) {
      for (int r = 0; r < 4; ++r) {
        const auto [row, token] = PlaceInC(lane, r);
        EXPECT_EQ(EmulatedDot16(core, rows[row], tokens[token], sums[row][token]), c[lane].r[r]);
      }
    }
  }
}

}  // namespace
}  // namespace inferd::cuda_internal
