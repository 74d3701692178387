// The kernels' bodies, run on the host with the emulated tensor core, against the contract of
// docs/design/0008 written a second time below, plainly and without lanes, warps or CTAs: every
// format, both classes of card, any number of tokens, order of CTAs and owner of slices.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>
#include <string>

#include "base/half.h"
#include "base/random.h"
#include "cuda/elementary.h"
#include "cuda/packed_weights.h"
#include "cuda/qgemm_emulated.h"

namespace inferd::cuda_internal {
namespace {

constexpr TensorCoreClass kCores[] = {TensorCoreClass::kAmpere, TensorCoreClass::kHopper};
constexpr WeightFormat kQ4K{
    .bits = 4, .group = 32, .zero = ZeroKind::kMinimum, .scale = ScaleKind::kSuperBlock};
constexpr WeightFormat kAwq{.bits = 4, .group = 128, .zero = ZeroKind::kZeroPoint};

uint16_t RandomHalf(SplitMix64& random, double scale) {
  return FloatToHalf(static_cast<float>((random.Unit() - 0.3) * scale));
}

PackedWeights RandomWeightsOf(const WeightFormat& format, int64_t n, int64_t k, uint64_t seed) {
  PackedWeights weights(format, n, k);
  SplitMix64 random(seed);
  for (int64_t row = 0; row < n; ++row) {
    RowBlock values;
    for (int64_t block = 0; block < NumBlocks(k); ++block) {
      for (uint8_t& code : values.codes) {
        code = static_cast<uint8_t>(random.Next() & ((1u << format.bits) - 1u));
      }
      for (int g = 0; g < format.GroupsPerBlock(); ++g) {
        const bool super = format.scale == ScaleKind::kSuperBlock;
        values.scale[g] = super ? random.Next() & 0xff : RandomHalf(random, 0.1);
        values.minimum[g] = super ? random.Next() & 0x3f : RandomHalf(random, 0.5);
        values.zero[g % 4] = random.Next() & 15u;
      }
      if (block % 2 == 0) {  // shared by two blocks
        values.d = RandomHalf(random, 0.01);
        values.d_minimum = RandomHalf(random, 0.01);
      }
      weights.Write(row, block, values);
    }
  }
  return weights;
}

// Row-major bf16 [m, PadK(k)], columns past k zero; now and then a large one.
std::vector<uint16_t> RandomActivations(int64_t m, int64_t k, uint64_t seed) {
  std::vector<uint16_t> x(static_cast<size_t>(m * PadK(k)));
  SplitMix64 random(seed);
  for (int64_t row = 0; row < m; ++row) {
    for (int64_t column = 0; column < k; ++column) {
      const double spike = random.Below(100) == 0 ? 60 : 1;
      x[static_cast<size_t>(row * PadK(k) + column)] =
          FloatToBfloat(static_cast<float>((random.Unit() - 0.5) * spike));
    }
  }
  return x;
}

// In fragment order. Tokens past m hold NaN: nobody may read them into a result.
std::vector<uint16_t> InFragmentOrder(const std::vector<uint16_t>& x, int64_t m, int64_t k) {
  std::vector<uint16_t> packed(static_cast<size_t>(NumTokenTiles(m) * TokenTileBytes(k) / 2),
                               uint16_t{0x7fc0});
  for (int64_t row = 0; row < m; ++row) {
    for (int64_t column = 0; column < PadK(k); ++column) {
      packed[static_cast<size_t>(ActivationIndex(k, row, column))] =
          x[static_cast<size_t>(row * PadK(k) + column)];
    }
  }
  return packed;
}

// The contract, steps 1 to 4, for all outputs [m, n].
std::vector<float> Contract(const PackedWeights& weights,
                            const std::vector<uint16_t>& x,
                            int64_t m,
                            GemmClass gemm_class,
                            TensorCoreClass core) {
  const WeightFormat& format = weights.format();
  const MatrixShape shape{weights.n(), weights.k()};
  std::vector<float> y(static_cast<size_t>(m * weights.n()));
  std::vector<uint16_t> integers(kBlockValues);
  const std::vector<uint16_t> ones(kBlockValues, FloatToBfloat(1.0f));
  for (int64_t n = 0; n < weights.n(); ++n) {
    std::vector<std::vector<float>> p(static_cast<size_t>(m), std::vector<float>(8, 0.0f));
    for (int slice = 0; slice < NumSlices(gemm_class, shape); ++slice) {
      const SliceRange range = SliceOf(gemm_class, shape, slice);
      for (int64_t block = range.begin; block < range.end; ++block) {
        const RowBlock values = weights.Read(n, block);
        for (int i = 0; i < kBlockValues; ++i) {
          integers[static_cast<size_t>(i)] =
              FloatToBfloat(static_cast<float>(values.Integer(format, i)));
        }
        for (int64_t token = 0; token < m; ++token) {
          const uint16_t* xs = x.data() + token * PadK(shape.k) + block * kBlockValues;
          float& sum = p[static_cast<size_t>(token)][static_cast<size_t>(slice)];
          for (int g = 0; g < format.GroupsPerBlock(); ++g) {
            float t = 0.0f;
            float sum_x = 0.0f;
            for (int k = g * format.group; k < (g + 1) * format.group; k += 16) {
              const std::span<const uint16_t, 16> xk(xs + k, 16);
              t = EmulatedDot16(
                  core, std::span<const uint16_t, 16>(integers.data() + k, 16), xk, t);
              if (format.HasMinimum()) {
                sum_x =
                    EmulatedDot16(core, std::span<const uint16_t, 16>(ones.data(), 16), xk, sum_x);
              }
            }
            sum = std::fma(values.Scale(format, g), t, sum);
            if (format.HasMinimum()) {
              sum = std::fma(values.Minimum(format, g), sum_x, sum);
            }
          }
        }
      }
    }
    for (int64_t token = 0; token < m; ++token) {
      const auto& q = p[static_cast<size_t>(token)];
      const float tree = ((q[0] + q[1]) + (q[2] + q[3])) + ((q[4] + q[5]) + (q[6] + q[7]));
      y[static_cast<size_t>(token * weights.n() + n)] =
          gemm_class == GemmClass::kDecode ? tree : q[0];
    }
  }
  return y;
}

// Runs a kernel with f32 results.
struct Problem {
  Problem(const WeightFormat& format, int64_t n, int64_t k, int64_t m, uint64_t seed)
      : weights(RandomWeightsOf(format, n, k, seed)),
        tokens(m),
        x(RandomActivations(m, k, seed + 1)),
        packed_x(InFragmentOrder(x, m, k)) {}

  QgemmArgs Args(std::vector<float>& y) const {
    y.assign(static_cast<size_t>(tokens * weights.n()), std::nanf(""));
    return {.weights = weights.bytes().data(),
            .x = packed_x.data(),
            .n = weights.n(),
            .k = weights.k(),
            .end_token = tokens,
            .epilogue = Epilogue::kStoreFloat,
            .y = y.data()};
  }
  std::vector<float> Decode(const EmulationOptions& options) const {
    std::vector<float> y;
    EmulateQgemmD(weights.format(), Args(y), options);
    return y;
  }
  std::vector<float> Prefill(const EmulationOptions& options) const {
    std::vector<float> y;
    EmulateQgemmP(weights.format(), Args(y), options);
    return y;
  }

  PackedWeights weights;
  int64_t tokens;
  std::vector<uint16_t> x;
  std::vector<uint16_t> packed_x;
};

void ExpectSameBits(const std::vector<float>& expected, const std::vector<float>& got) {
  ASSERT_EQ(expected.size(), got.size());
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_EQ(std::bit_cast<uint32_t>(expected[i]), std::bit_cast<uint32_t>(got[i]))
        << i << ": " << expected[i] << " " << got[i];
  }
}

class EveryFormat : public testing::TestWithParam<int> {};

TEST_P(EveryFormat, IsTheContract) {
  const WeightFormat format = KernelFormats()[static_cast<size_t>(GetParam())];
  const int64_t k = format.scale == ScaleKind::kSuperBlock ? 1280 : 1120;  // 1120: a padded block
  const Problem problem(format, 80, k, 3, 77);
  for (const TensorCoreClass core : kCores) {
    const EmulationOptions options{.core = core};
    for (const GemmClass gemm_class : {GemmClass::kDecode, GemmClass::kPrefill}) {
      SCOPED_TRACE(static_cast<int>(gemm_class));
      const auto expected = Contract(problem.weights, problem.x, 3, gemm_class, core);
      ExpectSameBits(
          expected,
          gemm_class == GemmClass::kDecode ? problem.Decode(options) : problem.Prefill(options));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Qgemm,
                         EveryFormat,
                         testing::Range(0, static_cast<int>(KernelFormats().size())));

// The first m tokens alone give the bits that they have among 65: rows of passes of 1 to 64 and of
// one that is cut.
TEST(QgemmD, ARowDoesNotSeeItsNeighbours) {
  for (const WeightFormat& format : {kQ4K, kAwq}) {
    const Problem all(format, 16, 1280, 65, 5);
    const auto expected =
        Contract(all.weights, all.x, 65, GemmClass::kDecode, TensorCoreClass::kHopper);
    for (const int64_t m : {1, 7, 8, 9, 17, 33, 64, 65}) {
      SCOPED_TRACE(m);
      Problem some = all;
      some.tokens = m;
      some.packed_x = InFragmentOrder(all.x, m, 1280);
      const auto got = some.Decode({});
      ExpectSameBits({expected.begin(), expected.begin() + m * 16}, got);
    }
  }
}

TEST(QgemmP, ARowDoesNotSeeItsNeighbours) {
  const Problem all(kAwq, 144, 256, 150, 6);
  const auto expected =
      Contract(all.weights, all.x, 150, GemmClass::kPrefill, TensorCoreClass::kAmpere);
  for (const int64_t m : {1, 64, 127, 129, 150}) {
    SCOPED_TRACE(m);
    Problem some = all;
    some.tokens = m;
    some.packed_x = InFragmentOrder(all.x, m, 256);
    const auto got = some.Prefill({.core = TensorCoreClass::kAmpere, .order_seed = 3});
    ExpectSameBits({expected.begin(), expected.begin() + m * 144}, got);
  }
}

// 1, 2, 4 or 8 slices a CTA, any number of row tiles a warp, any order of CTAs and warps.
TEST(QgemmD, OwnersAndOrdersDoNotMatter) {
  for (const int64_t k : {256, 1280}) {  // 2 and 10 blocks: empty and uneven slices
    const Problem problem(kQ4K, 80, k, 7, 9);
    const auto expected =
        Contract(problem.weights, problem.x, 7, GemmClass::kDecode, TensorCoreClass::kHopper);
    for (const QgemmDShape& shape : {QgemmDShape{1, 1, 8},
                                     QgemmDShape{1, 1, 4},
                                     QgemmDShape{1, 1, 1},
                                     QgemmDShape{1, 2, 8},
                                     QgemmDShape{4, 1, 4},
                                     QgemmDShape{8, 1, 2},
                                     QgemmDShape{8, 1, 8},
                                     QgemmDShape{8, 1, 1}}) {
      for (const uint64_t seed : {0, 1}) {
        SCOPED_TRACE(testing::Message() << shape.token_tiles << " " << shape.row_tiles << " "
                                        << shape.own << " order " << seed << " k " << k);
        std::vector<float> y;
        EmulateQgemmD(kQ4K, shape, problem.Args(y), {.order_seed = seed});
        ExpectSameBits(expected, y);
      }
    }
  }
}

// The classes and the cards do differ: tests of bits would notice another order.
TEST(Qgemm, OtherOrdersGiveOtherBits) {
  const Problem problem(kAwq, 64, 2048, 8, 10);
  const auto decode = problem.Decode({});
  EXPECT_NE(std::memcmp(decode.data(), problem.Prefill({}).data(), 4 * decode.size()), 0);
  EXPECT_NE(std::memcmp(decode.data(),
                        problem.Decode({.core = TensorCoreClass::kAmpere}).data(),
                        4 * decode.size()),
            0);
}

// Against f64 sums of the dequantised weights: what the contract itself loses.
TEST(Qgemm, LiesWithinTheContractsErrorOfTheExactSum) {
  for (const WeightFormat& format : KernelFormats()) {
    const Problem problem(format, 16, 4096, 2, 21);
    const auto decode = problem.Decode({.core = TensorCoreClass::kAmpere});
    const auto other = problem.Decode({});
    double worst = 0;
    for (int64_t n = 0; n < 16; ++n) {
      const auto row = problem.weights.DequantizeRow(n);
      for (int64_t m = 0; m < 2; ++m) {
        double exact = 0;
        double magnitude = 0;
        for (int64_t k = 0; k < 4096; ++k) {
          const double term =
              static_cast<double>(row[static_cast<size_t>(k)]) *
              static_cast<double>(BfloatToFloat(problem.x[static_cast<size_t>(m * 4096 + k)]));
          exact += term;
          magnitude += std::abs(term);
        }
        const auto at = static_cast<size_t>(m * 16 + n);
        for (const float got : {decode[at], other[at]}) {
          worst = std::max(worst, std::abs(static_cast<double>(got) - exact) / magnitude);
        }
      }
    }
    // Cut-off and rounding, relative to the sum of magnitudes: a few units of 2^-24 a step.
    EXPECT_LT(worst, 1e-6) << format.bits << " " << format.group;
    EXPECT_GT(worst, 0);
  }
}

TEST(Qgemm, TheLargestHostShape) {
  const Problem problem(kQ4K, 256, 4096, 9, 30);
  ExpectSameBits(
      Contract(problem.weights, problem.x, 9, GemmClass::kDecode, TensorCoreClass::kHopper),
      problem.Decode({.order_seed = 4}));
}

class Ends : public testing::TestWithParam<GemmClass> {
 protected:
  void Run(QgemmArgs args) {
    if (GetParam() == GemmClass::kDecode) {
      EmulateQgemmD(kAwq, args, {});
    } else {
      EmulateQgemmP(kAwq, args, {});
    }
  }
};

TEST_P(Ends, BiasResidualAndRounding) {
  constexpr int64_t kN = 72;
  constexpr int64_t kM = 10;
  const Problem problem(kAwq, kN, 512, kM, 40);
  const auto sums = Contract(problem.weights, problem.x, kM, GetParam(), TensorCoreClass::kHopper);
  std::vector<float> bias(kN);
  std::vector<float> residual(kM * kN);
  SplitMix64 random(41);
  for (float& value : bias) {
    value = static_cast<float>(random.Unit());
  }
  for (float& value : residual) {
    value = static_cast<float>(random.Unit());
  }
  std::vector<float> y;
  QgemmArgs args = problem.Args(y);
  args.bias = bias.data();
  args.residual = residual.data();
  args.epilogue = Epilogue::kResidual;
  Run(args);
  std::vector<uint16_t> rounded(sums.size(), uint16_t{0xffff});
  args.epilogue = Epilogue::kStoreBfloat;
  args.y = rounded.data();
  Run(args);
  for (size_t i = 0; i < sums.size(); ++i) {
    const float biased = sums[i] + bias[i % kN];
    ASSERT_EQ(y[i], residual[i] + biased);
    ASSERT_EQ(rounded[i], FloatToBfloat(biased));
  }
}

TEST_P(Ends, GatedRowsBecomeTheNextInput) {
  constexpr int64_t kFf = 136;  // gate and up of 136 rows: the next K is padded
  constexpr int64_t kM = 9;
  const Problem problem(kAwq, 2 * kFf, 256, kM, 50);
  const auto sums = Contract(problem.weights, problem.x, kM, GetParam(), TensorCoreClass::kHopper);
  for (const Epilogue epilogue : {Epilogue::kSwiGlu, Epilogue::kGeGlu}) {
    std::vector<uint16_t> out(static_cast<size_t>(NumTokenTiles(kM) * TokenTileBytes(kFf) / 2));
    std::vector<float> unused;
    QgemmArgs args = problem.Args(unused);
    args.epilogue = epilogue;
    args.y = out.data();
    Run(args);
    for (int64_t m = 0; m < kM; ++m) {
      for (int64_t row = 0; row < PadK(kFf); ++row) {
        uint16_t expected = 0;
        if (row < kFf) {
          const float gate = sums[static_cast<size_t>(m * 2 * kFf + InterleavedRow(0, row))];
          const float up = sums[static_cast<size_t>(m * 2 * kFf + InterleavedRow(1, row))];
          const float act = epilogue == Epilogue::kSwiGlu ? Silu(gate) : GeluTanh(gate);
          expected = FloatToBfloat(act * up);
        }
        ASSERT_EQ(out[static_cast<size_t>(ActivationIndex(kFf, m, row))], expected);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Qgemm, Ends, testing::Values(GemmClass::kDecode, GemmClass::kPrefill));

TEST(ActivationLayout, EveryValueHasItsOwnPlace) {
  constexpr int64_t kK = 200;
  std::map<int64_t, int> places;
  for (int64_t token = 0; token < 17; ++token) {
    for (int64_t column = 0; column < PadK(kK); ++column) {
      ++places[ActivationIndex(kK, token, column)];
    }
  }
  EXPECT_EQ(places.size(), static_cast<size_t>(17 * PadK(kK)));
  EXPECT_LT(places.rbegin()->first, NumTokenTiles(17) * TokenTileBytes(kK) / 2);
}

}  // namespace
}  // namespace inferd::cuda_internal
