// The linear op against three oracles: the reference dequantisers (meaning, within the bound that
// int8 activations allow), a second writing of the numeric contract for two formats (bits of the
// scalar kernels), and the scalar kernels (bits of every other instruction set). Results must not
// depend on other rows or on the number of threads: compared with memcmp.
#include "cpu/packed_linear.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "base/half.h"
#include "base/random.h"
#include "cpu/vector_math.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/dequantize.h"

namespace inferd {
namespace {

using ::testing::HasSubstr;

constexpr QuantFormat kAllFormats[] = {QuantFormat::kF32,
                                       QuantFormat::kF16,
                                       QuantFormat::kBF16,
                                       QuantFormat::kQ4_0,
                                       QuantFormat::kQ4_1,
                                       QuantFormat::kQ5_0,
                                       QuantFormat::kQ5_1,
                                       QuantFormat::kQ8_0,
                                       QuantFormat::kQ2_K,
                                       QuantFormat::kQ3_K,
                                       QuantFormat::kQ4_K,
                                       QuantFormat::kQ5_K,
                                       QuantFormat::kQ6_K};

// A tensor that owns its bytes. Movable: the view's data points to the heap.
struct OwnedTensor {
  std::vector<std::byte> bytes;
  TensorView view;
};

enum class Weights { kOrdinary, kExtreme, kZero };

// Offsets of the f16 fields of a block.
std::vector<size_t> HalfFields(QuantFormat format) {
  switch (format) {
    case QuantFormat::kQ4_0:
    case QuantFormat::kQ5_0:
    case QuantFormat::kQ8_0:
      return {0};
    case QuantFormat::kQ4_1:
    case QuantFormat::kQ5_1:
    case QuantFormat::kQ4_K:
    case QuantFormat::kQ5_K:
      return {0, 2};
    case QuantFormat::kQ2_K:
      return {80, 82};
    case QuantFormat::kQ3_K:
      return {108};
    case QuantFormat::kQ6_K:
      return {208};
    default:
      return {};
  }
}

uint16_t RandomHalf(SplitMix64& random, Weights kind) {
  if (kind == Weights::kZero) {
    return 0;
  }
  const double sign = random.Below(2) == 0 ? 1.0 : -1.0;
  const double exponent = kind == Weights::kOrdinary ? -7.0 : -24.0 + 39.0 * random.Unit();
  return FloatToHalf(static_cast<float>(sign * (0.5 + random.Unit()) * std::exp2(exponent)));
}

template <typename T>
void Put(std::vector<std::byte>& bytes, size_t at, T value) {
  std::memcpy(bytes.data() + at, &value, sizeof value);
}

OwnedTensor RandomTensor(QuantFormat format,
                         int64_t rows,
                         int64_t cols,
                         SplitMix64& random,
                         Weights kind = Weights::kOrdinary) {
  OwnedTensor tensor;
  const auto size = static_cast<size_t>(rows * RowBytes(format, cols));
  tensor.bytes.resize(size);
  if (Info(format).group_values == 1) {
    const size_t width = format == QuantFormat::kF32 ? 4 : 2;
    for (size_t at = 0; at < size; at += width) {
      const float value =
          kind == Weights::kZero ? 0.0f : static_cast<float>(0.2 * random.Unit() - 0.1);
      if (format == QuantFormat::kF32) {
        Put(tensor.bytes, at, value);
      } else {
        Put(tensor.bytes,
            at,
            format == QuantFormat::kF16 ? FloatToHalf(value) : FloatToBfloat(value));
      }
    }
  } else {
    for (std::byte& byte : tensor.bytes) {
      // Extreme tensors hold many all-ones and all-zeros codes.
      const uint64_t draw = random.Next();
      byte = kind == Weights::kExtreme && draw % 4 < 2 ? std::byte(draw % 4 == 0 ? 0xff : 0)
                                                       : static_cast<std::byte>(draw >> 56);
    }
    const auto block = static_cast<size_t>(Info(format).block_bytes);
    for (size_t at = 0; at < size; at += block) {
      for (size_t field : HalfFields(format)) {
        Put(tensor.bytes, at + field, RandomHalf(random, kind));
      }
    }
  }
  tensor.view = {.name = "w", .format = format, .rows = rows, .cols = cols, .data = tensor.bytes};
  return tensor;
}

OwnedTensor FloatVector(std::span<const float> values) {
  OwnedTensor tensor;
  tensor.bytes.resize(values.size_bytes());
  std::memcpy(tensor.bytes.data(), values.data(), values.size_bytes());
  tensor.view = {.name = "b",
                 .format = QuantFormat::kF32,
                 .rows = 1,
                 .cols = static_cast<int64_t>(values.size()),
                 .data = tensor.bytes};
  return tensor;
}

std::vector<float> RandomRows(int64_t count, SplitMix64& random) {
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) {
    value = static_cast<float>(2.0 * random.Unit() - 1.0);
  }
  return values;
}

// Rows with groups of zeros, of one spike, of full scale everywhere, tiny and huge.
std::vector<float> ExtremeRows(int64_t count, SplitMix64& random) {
  std::vector<float> values(static_cast<size_t>(count));
  for (size_t start = 0; start < values.size(); start += 16) {
    const uint64_t kind = random.Below(6);
    const double scale = std::exp2(-140.0 + 180.0 * random.Unit());
    for (size_t i = start; i < std::min(start + 16, values.size()); ++i) {
      const double unit = 2.0 * random.Unit() - 1.0;
      const double value = kind == 0   ? 0.0
                           : kind == 1 ? (i == start ? 3.0 : 0.001 * unit)
                           : kind == 2 ? (unit < 0.0 ? -1.0 : 1.0)
                           : kind == 3 ? scale * unit
                           : kind == 4 ? std::round(unit * 127.0 * 2.0) / 2.0
                                       : unit;
      values[i] = static_cast<float>(value);
    }
  }
  return values;
}

std::unique_ptr<PackedLinear> MustPack(const LinearSpec& spec, int threads = 1) {
  ThreadTeam team(threads);
  auto linear = PackedLinear::Pack(spec, team);
  EXPECT_TRUE(linear.ok()) << linear.status();
  return *std::move(linear);
}

struct RunOptions {
  CpuIsa isa = CpuIsa::kScalar;
  int threads = 1;
  const float* residual = nullptr;
  float scale = 1.0f;
  float cap = 0.0f;
};

std::vector<float> RunLinear(const PackedLinear& linear,
                             std::span<const float> x,
                             const RunOptions& options = {}) {
  const int64_t in = linear.in_features();
  const int64_t out = linear.out_features();
  const auto rows = static_cast<int32_t>(static_cast<int64_t>(x.size()) / in);
  std::vector<float> result(static_cast<size_t>(rows * out), -1.0f);
  ThreadTeam team(options.threads);
  const auto scratch = PackedLinear::MakeScratch();
  linear.Run(options.isa,
             team,
             {.x = x.data(),
              .x_stride = in,
              .rows = rows,
              .residual = options.residual,
              .residual_stride = out,
              .out = result.data(),
              .out_stride = out,
              .scale = options.scale,
              .cap = options.cap},
             *scratch);
  return result;
}

// Equal bits; a NaN equals any NaN.
::testing::AssertionResult SameBits(std::span<const float> a, std::span<const float> b) {
  if (a.size() != b.size()) {
    return ::testing::AssertionFailure() << a.size() << " values against " << b.size();
  }
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::bit_cast<uint32_t>(a[i]) != std::bit_cast<uint32_t>(b[i]) &&
        !(std::isnan(a[i]) && std::isnan(b[i]))) {
      return ::testing::AssertionFailure()
             << "value " << i << " of " << a.size() << ": " << a[i] << " against " << b[i];
    }
  }
  return ::testing::AssertionSuccess();
}

class FormatTest : public ::testing::TestWithParam<QuantFormat> {};

INSTANTIATE_TEST_SUITE_P(Formats,
                         FormatTest,
                         ::testing::ValuesIn(kAllFormats),
                         [](const auto& test) { return std::string(Info(test.param).name); });

int64_t SomeColumns(QuantFormat format, int64_t wanted) {
  const int64_t block = Info(format).block_values;
  return std::max<int64_t>(1, wanted / block) * block;
}

TEST_P(FormatTest, RowsComeBackAsTheReferenceDequantises) {
  SplitMix64 random(1);
  for (const Weights kind : {Weights::kOrdinary, Weights::kExtreme, Weights::kZero}) {
    const int64_t cols = SomeColumns(GetParam(), 576);
    const OwnedTensor tensor = RandomTensor(GetParam(), 37, cols, random, kind);
    const auto linear = MustPack({.parts = {tensor.view}, .biases = {}}, 2);
    const std::vector<float> expected = Dequantize(tensor.view);
    std::vector<float> row(static_cast<size_t>(cols));
    for (int64_t r = 0; r < 37; ++r) {
      linear->DequantizeRowTo(r, 1.0f, row);
      ASSERT_TRUE(
          SameBits(row, std::span(expected).subspan(static_cast<size_t>(r * cols), row.size())))
          << "row " << r;
    }
    linear->DequantizeRowTo(5, 3.0f, row);
    EXPECT_EQ(row[7], expected[static_cast<size_t>(5 * cols + 7)] * 3.0f);
  }
}

TEST_P(FormatTest, SizeIsAboutTheFiles) {
  SplitMix64 random(2);
  const OwnedTensor tensor = RandomTensor(GetParam(), 64, 768, random);
  const auto linear = MustPack({.parts = {tensor.view}, .biases = {}});
  EXPECT_LE(static_cast<double>(linear->size_bytes()),
            1.04 * static_cast<double>(tensor.bytes.size()));
}

// Rounding x to int8 moves a product by at most half a step for each weight.
TEST_P(FormatTest, ScalarMeansTheDequantisedProduct) {
  SplitMix64 random(3);
  const int64_t cols = SomeColumns(GetParam(), 640);
  const int64_t rows = 21;
  const OwnedTensor tensor = RandomTensor(GetParam(), rows, cols, random);
  const auto linear = MustPack({.parts = {tensor.view}, .biases = {}});
  const std::vector<float> weights = Dequantize(tensor.view);
  const std::vector<float> x = RandomRows(3 * cols, random);
  const std::vector<float> out = RunLinear(*linear, x);
  const int64_t group = std::max(1, Info(GetParam()).group_values);
  for (int64_t m = 0; m < 3; ++m) {
    for (int64_t n = 0; n < rows; ++n) {
      double sum = 0.0;
      double bound = 0.0;
      for (int64_t start = 0; start < cols; start += group) {
        double absmax = 0.0;
        double magnitude = 0.0;
        for (int64_t k = start; k < start + group; ++k) {
          const double w = weights[static_cast<size_t>(n * cols + k)];
          const double value = x[static_cast<size_t>(m * cols + k)];
          sum += w * value;
          absmax = std::max(absmax, std::abs(value));
          magnitude += std::abs(w);
        }
        bound += group == 1 ? 1e-5 * magnitude * absmax : magnitude * absmax / 127.0 * 0.501;
      }
      ASSERT_NEAR(out[static_cast<size_t>(m * rows + n)], sum, bound + 1e-5) << m << ", " << n;
    }
  }
}

// The contract written a second time, from the file's blocks: Q8_0 has an offset, Q4_1 a minimum.
TEST(PackedLinearTest, ScalarFollowsTheContract) {
  SplitMix64 random(4);
  const int64_t cols = 96;
  for (const QuantFormat format : {QuantFormat::kQ8_0, QuantFormat::kQ4_1}) {
    const OwnedTensor tensor = RandomTensor(format, 5, cols, random);
    const auto linear = MustPack({.parts = {tensor.view}, .biases = {}});
    const std::vector<float> x = RandomRows(cols, random);
    const std::vector<float> out = RunLinear(*linear, x);
    const auto* bytes = reinterpret_cast<const uint8_t*>(tensor.bytes.data());
    const auto half = [](const uint8_t* at) {
      return HalfToFloat(static_cast<uint16_t>(at[0] | at[1] << 8));
    };
    for (size_t n = 0; n < 5; ++n) {
      float total = 0.0f;
      for (size_t g = 0; g < 3; ++g, bytes += Info(format).block_bytes) {
        float absmax = 0.0f;
        for (size_t k = 0; k < 32; ++k) {
          absmax = std::max(absmax, std::abs(x[32 * g + k]));
        }
        const float inverse = 127.0f / absmax;
        const float x_scale = absmax / 127.0f;
        int dot = 0;
        int sum = 0;
        for (size_t k = 0; k < 32; ++k) {
          const int code = static_cast<int>(std::nearbyint(x[32 * g + k] * inverse));
          const int weight = format == QuantFormat::kQ8_0 ? static_cast<int8_t>(bytes[2 + k])
                             : k < 16                     ? bytes[4 + k] & 15
                                                          : bytes[4 + k - 16] >> 4;
          dot += weight * code;
          sum += code;
        }
        const float scale = half(bytes) * x_scale;
        total = std::fma(static_cast<float>(dot), scale, total);
        if (format == QuantFormat::kQ4_1) {
          total = std::fma(half(bytes + 2), x_scale * static_cast<float>(sum), total);
        }
      }
      EXPECT_EQ(out[n], total) << Info(format).name << " output " << n;
    }
  }
}

class IsaTest : public ::testing::TestWithParam<std::tuple<CpuIsa, QuantFormat>> {
 protected:
  void SetUp() override {
    if (!IsSupported(isa())) {
      GTEST_SKIP() << "this CPU has no " << Name(isa());
    }
  }
  CpuIsa isa() const { return std::get<0>(GetParam()); }
  QuantFormat format() const { return std::get<1>(GetParam()); }
};

INSTANTIATE_TEST_SUITE_P(Kernels,
                         IsaTest,
                         ::testing::Combine(::testing::Values(CpuIsa::kAvx2, CpuIsa::kAvx512),
                                            ::testing::ValuesIn(kAllFormats)),
                         [](const auto& test) {
                           return std::string(Name(std::get<0>(test.param))) + "_" +
                                  std::string(Info(std::get<1>(test.param)).name);
                         });

TEST_P(IsaTest, GivesTheScalarBits) {
  SplitMix64 random(5);
  for (const int64_t wanted : {32, 576, 640, 1536, 2048}) {
    const int64_t cols = SomeColumns(format(), wanted);
    for (const int64_t outputs : {1, 16, 75}) {
      const OwnedTensor tensor = RandomTensor(format(), outputs, cols, random);
      const auto linear = MustPack({.parts = {tensor.view}, .biases = {}});
      const std::vector<float> x =
          RandomRows(cols * (1 + static_cast<int64_t>(random.Below(20))), random);
      ASSERT_TRUE(
          SameBits(RunLinear(*linear, x, {.isa = isa(), .threads = 2}), RunLinear(*linear, x)))
          << outputs << " x " << cols;
    }
  }
}

TEST_P(IsaTest, GivesTheScalarBitsForExtremeValues) {
  SplitMix64 random(6);
  const int64_t cols = SomeColumns(format(), 576);
  for (int round = 0; round < 8; ++round) {
    const auto kind = static_cast<Weights>(random.Below(3));
    const OwnedTensor tensor = RandomTensor(format(), 48, cols, random, kind);
    const auto linear = MustPack({.parts = {tensor.view}, .biases = {}});
    std::vector<float> x = ExtremeRows(cols * (1 + round), random);
    if (round == 6) {
      x[40] = std::numeric_limits<float>::infinity();
    }
    if (round == 7) {
      x[3] = std::numeric_limits<float>::quiet_NaN();
    }
    const std::vector<float> out = RunLinear(*linear, x, {.isa = isa()});
    ASSERT_TRUE(SameBits(out, RunLinear(*linear, x))) << "round " << round;
    EXPECT_EQ(round < 6, std::isfinite(out[0])) << "round " << round;
  }
}

TEST_P(IsaTest, RowsDoNotSeeEachOther) {
  SplitMix64 random(7);
  const int64_t cols = SomeColumns(format(), 288);
  const OwnedTensor tensor = RandomTensor(format(), 83, cols, random);
  const auto linear = MustPack({.parts = {tensor.view}, .biases = {}});
  const std::vector<float> x = RandomRows(cols * 250, random);
  std::vector<float> alone;
  for (size_t row = 0; row < 250; ++row) {
    const auto one =
        std::span(x).subspan(row * static_cast<size_t>(cols), static_cast<size_t>(cols));
    const std::vector<float> out = RunLinear(*linear, one, {.isa = isa()});
    alone.insert(alone.end(), out.begin(), out.end());
  }
  std::vector<size_t> batches(48);
  std::iota(batches.begin(), batches.end(), size_t{1});
  batches.insert(batches.end(), {130, 250});
  for (const size_t rows : batches) {
    const size_t first = random.Below(251 - rows);
    const auto batch =
        std::span(x).subspan(first * static_cast<size_t>(cols), rows * static_cast<size_t>(cols));
    const int threads = rows % 3 == 0 ? 1 : rows % 3 == 1 ? 2 : 4;
    ASSERT_TRUE(SameBits(RunLinear(*linear, batch, {.isa = isa(), .threads = threads}),
                         std::span(alone).subspan(first * 83, rows * 83)))
        << rows << " rows, " << threads << " threads";
  }
}

class EpilogueTest : public ::testing::TestWithParam<CpuIsa> {
 protected:
  void SetUp() override {
    if (!IsSupported(GetParam())) {
      GTEST_SKIP() << "this CPU has no " << Name(GetParam());
    }
  }
};

INSTANTIATE_TEST_SUITE_P(Isas,
                         EpilogueTest,
                         ::testing::Values(CpuIsa::kScalar, CpuIsa::kAvx2, CpuIsa::kAvx512),
                         [](const auto& test) { return std::string(Name(test.param)); });

TEST_P(EpilogueTest, PartsOfSeveralFormatsAreTheirOwnLinears) {
  SplitMix64 random(8);
  const OwnedTensor parts[] = {RandomTensor(QuantFormat::kQ4_K, 40, 256, random),
                               RandomTensor(QuantFormat::kQ6_K, 24, 256, random),
                               RandomTensor(QuantFormat::kF16, 9, 256, random),
                               RandomTensor(QuantFormat::kQ8_0, 16, 256, random)};
  LinearSpec spec;
  for (const OwnedTensor& part : parts) {
    spec.parts.push_back(part.view);
  }
  const auto linear = MustPack(spec, 2);
  EXPECT_EQ(linear->out_features(), 89);
  for (const size_t rows : {size_t{1}, size_t{5}, size_t{30}}) {
    const std::vector<float> x = RandomRows(static_cast<int64_t>(rows) * 256, random);
    const std::vector<float> out = RunLinear(*linear, x, {.isa = GetParam(), .threads = 2});
    size_t column = 0;
    for (const OwnedTensor& part : parts) {
      const auto alone = MustPack({.parts = {part.view}, .biases = {}});
      const std::vector<float> expected = RunLinear(*alone, x);
      const auto width = static_cast<size_t>(part.view.rows);
      for (size_t row = 0; row < rows; ++row) {
        ASSERT_TRUE(SameBits(std::span(out).subspan(row * 89 + column, width),
                             std::span(expected).subspan(row * width, width)));
      }
      column += width;
    }
  }
}

TEST_P(EpilogueTest, BiasThenScaleThenCapThenResidual) {
  SplitMix64 random(9);
  const OwnedTensor weight = RandomTensor(QuantFormat::kQ4_0, 21, 64, random);
  const OwnedTensor other = RandomTensor(QuantFormat::kQ4_0, 5, 64, random);
  const std::vector<float> bias = RandomRows(21, random);
  const OwnedTensor bias_tensor = FloatVector(bias);
  const auto linear =
      MustPack({.parts = {weight.view, other.view}, .biases = {bias_tensor.view, TensorView{}}});
  const auto plain = MustPack({.parts = {weight.view, other.view}, .biases = {}});
  for (const size_t rows : {size_t{1}, size_t{14}}) {
    const std::vector<float> x = RandomRows(static_cast<int64_t>(rows) * 64, random);
    const std::vector<float> residual = RandomRows(static_cast<int64_t>(rows) * 26, random);
    std::vector<float> expected = RunLinear(*plain, x);
    for (size_t i = 0; i < expected.size(); ++i) {
      const size_t column = i % 26;
      expected[i] = (column < 21 ? expected[i] + bias[column] : expected[i]) * 0.25f;
    }
    for (float& value : expected) {
      value *= 1.0f / 0.5f;
    }
    ApplyMath(CpuIsa::kScalar,
              MathFunction::kTanh,
              expected.data(),
              expected.data(),
              static_cast<int64_t>(expected.size()));
    for (size_t i = 0; i < expected.size(); ++i) {
      expected[i] = residual[i] + 0.5f * expected[i];
    }
    EXPECT_TRUE(SameBits(RunLinear(*linear,
                                   x,
                                   {.isa = GetParam(),
                                    .threads = 2,
                                    .residual = residual.data(),
                                    .scale = 0.25f,
                                    .cap = 0.5f}),
                         expected));
  }
}

TEST_P(EpilogueTest, GateTimesUp) {
  SplitMix64 random(10);
  for (const QuantFormat up_format : {QuantFormat::kQ4_1, QuantFormat::kQ5_0}) {
    for (const Activation activation : {Activation::kSilu, Activation::kGeluTanh}) {
      const OwnedTensor gate = RandomTensor(QuantFormat::kQ4_1, 53, 160, random);
      const OwnedTensor up = RandomTensor(up_format, 53, 160, random);
      const OwnedTensor gate_bias = FloatVector(RandomRows(53, random));
      const OwnedTensor up_bias = FloatVector(RandomRows(53, random));
      const auto linear = MustPack({.parts = {gate.view, up.view},
                                    .biases = {gate_bias.view, up_bias.view},
                                    .gated = true,
                                    .activation = activation});
      EXPECT_EQ(linear->out_features(), 53);
      const auto gate_alone = MustPack({.parts = {gate.view}, .biases = {gate_bias.view}});
      const auto up_alone = MustPack({.parts = {up.view}, .biases = {up_bias.view}});
      for (const int64_t rows : {1, 2, 7, 40}) {
        const std::vector<float> x = RandomRows(rows * 160, random);
        std::vector<float> expected = RunLinear(*gate_alone, x);
        const std::vector<float> factor = RunLinear(*up_alone, x);
        ApplyMath(CpuIsa::kScalar,
                  activation == Activation::kSilu ? MathFunction::kSilu : MathFunction::kGeluTanh,
                  expected.data(),
                  expected.data(),
                  static_cast<int64_t>(expected.size()));
        for (size_t i = 0; i < expected.size(); ++i) {
          expected[i] *= factor[i];
        }
        EXPECT_TRUE(SameBits(RunLinear(*linear, x, {.isa = GetParam(), .threads = 2}), expected))
            << rows << " rows";
      }
    }
  }
}

TEST_P(EpilogueTest, ResidualMayBeTheOutput) {
  SplitMix64 random(11);
  const OwnedTensor weight = RandomTensor(QuantFormat::kQ8_0, 33, 64, random);
  const auto linear = MustPack({.parts = {weight.view}, .biases = {}});
  const std::vector<float> x = RandomRows(int64_t{6} * 64, random);
  std::vector<float> out = RandomRows(int64_t{6} * 33, random);
  const std::vector<float> expected =
      RunLinear(*linear, x, {.isa = GetParam(), .residual = out.data()});
  ThreadTeam team(2);
  const auto scratch = PackedLinear::MakeScratch();
  linear->Run(GetParam(),
              team,
              {.x = x.data(),
               .x_stride = 64,
               .rows = 6,
               .residual = out.data(),
               .residual_stride = 33,
               .out = out.data(),
               .out_stride = 33},
              *scratch);
  EXPECT_TRUE(SameBits(out, expected));
}

TEST(PackedLinearTest, RefusesWhatNoKernelHolds) {
  ThreadTeam team(1);
  std::vector<std::byte> bytes(144 * 4);
  const TensorView odd = {.name = "blk.0.attn_q.weight",
                          .format = QuantFormat::kQ4_K,
                          .rows = 1,
                          .cols = 300,
                          .data = bytes};
  const auto refused = PackedLinear::Pack({.parts = {odd}, .biases = {}}, team);
  EXPECT_EQ(refused.status().code(), StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(Message(refused.status())), HasSubstr("blk.0.attn_q.weight"));
}

TEST(PackedLinearTest, RefusesUnevenParts) {
  ThreadTeam team(1);
  SplitMix64 random(12);
  const OwnedTensor a = RandomTensor(QuantFormat::kQ4_0, 4, 64, random);
  const OwnedTensor b = RandomTensor(QuantFormat::kQ4_0, 5, 64, random);
  const OwnedTensor c = RandomTensor(QuantFormat::kQ4_0, 4, 96, random);
  const auto code = [&](const LinearSpec& spec) {
    return PackedLinear::Pack(spec, team).status().code();
  };
  EXPECT_EQ(code(LinearSpec{}), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.parts = {a.view, b.view}, .biases = {}, .gated = true}),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.parts = {a.view, c.view}, .biases = {}}), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.parts = {a.view}, .biases = {c.view}}), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace inferd
