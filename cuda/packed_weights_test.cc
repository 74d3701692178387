// Packing loses nothing: every format, odd shapes, against model's decoders bit for bit; golden
// bytes of the file; damage is noticed.
#include "cuda/packed_weights.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <numeric>

#include "base/crc32c.h"
#include "base/half.h"
#include "base/random.h"
#include "cuda/pack_gguf.h"
#include "model/dequantize.h"
#include "model/gguf_writer.h"

namespace inferd::cuda_internal {
namespace {

constexpr QuantFormat kQuantised[] = {QuantFormat::kQ4_0,
                                      QuantFormat::kQ4_1,
                                      QuantFormat::kQ5_0,
                                      QuantFormat::kQ5_1,
                                      QuantFormat::kQ8_0,
                                      QuantFormat::kQ2_K,
                                      QuantFormat::kQ3_K,
                                      QuantFormat::kQ4_K,
                                      QuantFormat::kQ5_K,
                                      QuantFormat::kQ6_K};

// A matrix of random blocks and the memory that it views.
struct RandomMatrix {
  RandomMatrix(QuantFormat format, int64_t rows, int64_t cols, uint64_t seed)
      : bytes(static_cast<size_t>(rows * RowBytes(format, cols))) {
    FillRandomBlocks(format, {.seed = seed}, bytes);
    view = TensorView{"w", format, rows, cols, bytes};
  }
  RandomMatrix(RandomMatrix&&) = default;  // the bytes stay where they are
  std::vector<std::byte> bytes;
  TensorView view;
};

std::vector<float> OracleRow(const TensorView& tensor, int64_t row) {
  return Dequantize(RowRange(tensor, row, 1));
}

void ExpectSameBits(const std::vector<float>& expected, const std::vector<float>& got) {
  ASSERT_EQ(expected.size(), got.size());
  ASSERT_EQ(std::memcmp(expected.data(), got.data(), 4 * got.size()), 0);
}

TEST(PackGguf, EveryFormatComesBackBitForBit) {
  uint64_t seed = 0;
  for (const QuantFormat format : kQuantised) {
    SCOPED_TRACE(Info(format).name);
    const int64_t unit = Info(format).block_values;
    for (const auto& [rows, blocks] : {std::pair{1, 1}, {16, 2}, {17, 3}, {64, 5}, {70, 9}}) {
      const RandomMatrix matrix(format, rows, blocks * unit, ++seed);
      const auto packed = PackGguf({&matrix.view, 1});
      ASSERT_TRUE(packed.ok()) << packed.status();
      for (int64_t row = 0; row < rows; ++row) {
        ExpectSameBits(OracleRow(matrix.view, row), packed->DequantizeRow(row));
      }
      for (int64_t row = rows; row < PadN(rows); ++row) {
        for (const float value : packed->DequantizeRow(row)) {
          ASSERT_EQ(value, 0.0f);
        }
      }
    }
  }
}

// int4 with one scale and zero for each `group`, as model's blocks of 32 hold it.
RandomMatrix SharedScales(QuantFormat format, int64_t rows, int64_t cols, int group) {
  RandomMatrix matrix(format, rows, cols, static_cast<uint64_t>(group));
  SplitMix64 random(7);
  const int64_t block_bytes = Info(format).block_bytes;
  const bool zeros = format == QuantFormat::kQ5_0;
  for (int64_t row = 0; row < rows; ++row) {
    uint16_t scale = 0;
    uint32_t zero = 0;
    for (int64_t first = 0; first < cols; first += 32) {
      if (first % group == 0) {
        scale = FloatToHalf(static_cast<float>(0.001 + random.Unit()));
        zero = static_cast<uint32_t>(random.Below(16));
      }
      std::byte* block =
          matrix.bytes.data() + row * RowBytes(format, cols) + first / 32 * block_bytes;
      std::memcpy(block, &scale, 2);
      if (!zeros) {
        continue;
      }
      uint32_t high = 0;
      uint8_t low[16] = {};
      for (uint32_t i = 0; i < 32; ++i) {
        const uint32_t code = static_cast<uint32_t>(random.Below(16)) + 16 - zero;
        high |= (code >> 4) << i;
        low[i % 16] = static_cast<uint8_t>(low[i % 16] | (code & 15u) << (i / 16 * 4));
      }
      std::memcpy(block + 2, &high, 4);
      std::memcpy(block + 6, low, 16);
    }
  }
  return matrix;
}

TEST(PackGguf, Int4KeepsTheGroupsItHadInItsFile) {
  for (const QuantFormat source : {QuantFormat::kQ4_0, QuantFormat::kQ5_0}) {
    for (const int group : {32, 64, 128}) {
      SCOPED_TRACE(std::string(Info(source).name) + " " + std::to_string(group));
      const RandomMatrix matrix = SharedScales(source, 24, 320, group);
      const auto packed = PackGguf({&matrix.view, 1});
      ASSERT_TRUE(packed.ok()) << packed.status();
      EXPECT_EQ(packed->format(),
                (WeightFormat{.bits = 4,
                              .group = group,
                              .zero = source == QuantFormat::kQ5_0 ? ZeroKind::kZeroPoint
                                                                   : ZeroKind::kSymmetric}));
      for (int64_t row = 0; row < 24; ++row) {
        ExpectSameBits(OracleRow(matrix.view, row), packed->DequantizeRow(row));
      }
    }
  }
}

TEST(PackGguf, RefusesPartsInDifferentOrders) {
  const RandomMatrix a(QuantFormat::kQ4_0, 24, 32, 1);
  std::vector<int32_t> order(32);
  std::iota(order.rbegin(), order.rend(), 0);
  TensorView ordered = a.view;
  ordered.column_order = order;
  const TensorView both[] = {a.view, ordered};
  EXPECT_EQ(PackGguf(both).status().code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(PackGguf({&ordered, 1}).ok());
}

TEST(PackGguf, ConcatenatesAndInterleaves) {
  const RandomMatrix a(QuantFormat::kQ4_0, 24, 160, 1);
  const RandomMatrix b(QuantFormat::kQ4_0, 24, 160, 2);
  const TensorView both[] = {a.view, b.view};
  const auto one = PackGguf(both);
  const auto two = PackGguf(both, RowOrder::kInterleaved);
  ASSERT_TRUE(one.ok() && two.ok());
  EXPECT_EQ(one->n(), 48);
  EXPECT_EQ(two->n(), 48);
  for (int64_t row = 0; row < 24; ++row) {
    ExpectSameBits(OracleRow(a.view, row), one->DequantizeRow(row));
    ExpectSameBits(OracleRow(b.view, row), one->DequantizeRow(24 + row));
    ExpectSameBits(OracleRow(a.view, row), two->DequantizeRow(InterleavedRow(0, row)));
    ExpectSameBits(OracleRow(b.view, row), two->DequantizeRow(InterleavedRow(1, row)));
  }
}

TEST(PackGguf, RefusesWhatDoesNotFitTogether) {
  const RandomMatrix a(QuantFormat::kQ4_0, 16, 256, 1);
  const RandomMatrix b(QuantFormat::kQ4_K, 16, 256, 2);
  const RandomMatrix c(QuantFormat::kQ4_0, 24, 256, 2);
  const RandomMatrix f(QuantFormat::kF16, 16, 256, 2);
  const TensorView formats[] = {a.view, b.view};
  EXPECT_EQ(PackGguf(formats).status().code(), StatusCode::kInvalidArgument);
  const TensorView rows[] = {a.view, c.view};
  EXPECT_EQ(PackGguf(rows, RowOrder::kInterleaved).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(PackGguf({&f.view, 1}).status().code(), StatusCode::kUnimplemented);
}

// Blocks with any bits: what is written is read, and nothing beside it changes.
TEST(PackedWeights, RoundTripsRandomBlocksOfEveryFormat) {
  SplitMix64 random(5);
  const WeightFormat formats[] = {
      {.bits = 4, .group = 128},
      {.bits = 4, .group = 64, .zero = ZeroKind::kZeroPoint},
      {.bits = 4, .group = 32, .zero = ZeroKind::kZeroPoint},
      {.bits = 3, .group = 128},
      {.bits = 3, .group = 16, .scale = ScaleKind::kSuperBlock},
      {.bits = 2, .group = 16, .zero = ZeroKind::kMinimum, .scale = ScaleKind::kSuperBlock},
      {.bits = 8, .group = 16, .scale = ScaleKind::kSuperBlock},
      {.bits = 8, .group = 32, .zero = ZeroKind::kMinimum, .scale = ScaleKind::kSuperBlock},
  };
  for (const WeightFormat& format : formats) {
    constexpr int64_t kRows = 33;
    constexpr int64_t kCols = 384;
    PackedWeights packed(format, kRows, kCols);
    std::vector<RowBlock> expected;
    for (int64_t row = 0; row < kRows; ++row) {
      for (int64_t block = 0; block < 3; ++block) {
        RowBlock values;
        const uint16_t scale_mask = format.scale == ScaleKind::kHalf ? 0xffff : 0xff;
        for (uint8_t& code : values.codes) {
          code = static_cast<uint8_t>(random.Next() & ((1u << format.bits) - 1u));
        }
        for (int g = 0; g < format.GroupsPerBlock(); ++g) {
          values.scale[g] = static_cast<uint16_t>(random.Next()) & scale_mask;
          if (format.HasMinimum()) {
            values.minimum[g] = static_cast<uint16_t>(random.Next()) & scale_mask;
          }
          if (format.zero == ZeroKind::kZeroPoint) {
            values.zero[g] = random.Next() & 15u;
          }
        }
        if (format.scale == ScaleKind::kSuperBlock) {  // one for two blocks
          values.d = static_cast<uint16_t>(row * 2 + block / 2 + 1);
          values.d_minimum = static_cast<uint16_t>(format.HasMinimum() ? row * 3 + block / 2 : 0);
        }
        packed.Write(row, block, values);
        expected.push_back(values);
      }
    }
    for (int64_t row = 0; row < kRows; ++row) {
      for (int64_t block = 0; block < 3; ++block) {
        const RowBlock got = packed.Read(row, block);
        ASSERT_EQ(std::memcmp(&got, &expected[static_cast<size_t>(row * 3 + block)], sizeof got), 0)
            << row << " " << block;
      }
    }
  }
}

TEST(PackInt8, IsWithinHalfAStep) {
  std::vector<float> values(20 * 200);
  SplitMix64 random(8);
  for (float& value : values) {
    value = static_cast<float>(random.Unit() - 0.5);
  }
  const TensorView matrix{"head", QuantFormat::kF32, 20, 200, std::as_bytes(std::span(values))};
  const auto packed = PackInt8(matrix);
  ASSERT_TRUE(packed.ok());
  for (int64_t row = 0; row < 20; ++row) {
    const auto got = packed->DequantizeRow(row);
    for (size_t i = 0; i < got.size(); ++i) {
      // Half a step, and what rounding the scale to f16 takes at the ends.
      EXPECT_NEAR(got[i], values[static_cast<size_t>(row) * 200 + i], 0.5 / 127 * 0.5 + 0.5 / 2048);
    }
  }
  values[77] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(PackInt8(matrix).status().code(), StatusCode::kInvalidArgument);
}

// docs/formats/gpu_weights.md shows these bytes.
TEST(PackedWeights, GoldenBytes) {
  PackedWeights packed({.bits = 4, .group = 128, .zero = ZeroKind::kZeroPoint}, 16, 128);
  for (int64_t row = 0; row < 16; ++row) {
    RowBlock values;
    for (int i = 0; i < kBlockValues; ++i) {
      values.codes[i] = static_cast<uint8_t>((row + i) % 16);
    }
    values.scale[0] = static_cast<uint16_t>(0x3c00 + row);
    values.zero[0] = static_cast<uint8_t>(row);
    packed.Write(row, 0, values);
  }
  const auto hex = [](std::span<const uint8_t> bytes) {
    std::string text;
    for (const uint8_t byte : bytes) {
      constexpr char kDigits[] = "0123456789abcdef";
      text += {kDigits[byte >> 4], kDigits[byte & 15]};
    }
    return text;
  };
  const auto tile = packed.Tile(0);
  EXPECT_EQ(hex(tile.first(32)),
            "80089119800891198008911980089119a22ab33ba22ab33ba22ab33ba22ab33b");
  EXPECT_EQ(hex(tile.subspan(1024, 40)),
            "003c083c013c093c023c0a3c033c0b3c"
            "043c0c3c053c0d3c063c0e3c073c0f3c"
            "8091a2b3c4d5e6f7");
  const std::string file = packed.Serialize();
  EXPECT_EQ(file.size(), 64u + 64u + 4u * 1088u);
  EXPECT_EQ(Crc32c(file), 0x7443990du);
}

TEST(PackedWeights, GoldenChecksumsOfEveryGgufFormat) {
  // clang-format off
  constexpr uint32_t kExpected[] = {
      0xc886027c, 0x866bcb61, 0xc3760fdc, 0x5cc6b782, 0x9ed1832e,
      0x4d94d45e, 0x5d575d67, 0x058d163e, 0x42571b97, 0xd0594ae8};
  // clang-format on
  for (size_t i = 0; i < std::size(kQuantised); ++i) {
    const RandomMatrix matrix(kQuantised[i], 40, 768, 100 + i);
    const auto packed = PackGguf({&matrix.view, 1});
    ASSERT_TRUE(packed.ok());
    EXPECT_EQ(Crc32c(packed->Serialize()), kExpected[i]) << Info(kQuantised[i]).name;
  }
}

TEST(PackedWeights, FilesAreReadBackAndDamageIsNoticed) {
  const RandomMatrix matrix(QuantFormat::kQ4_K, 20, 512, 3);
  const auto packed = PackGguf({&matrix.view, 1});
  ASSERT_TRUE(packed.ok());
  const std::string file = packed->Serialize();
  const auto again = PackedWeights::Parse(file);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->Serialize(), file);
  EXPECT_TRUE(again->format() == packed->format());
  for (size_t size = 0; size < file.size(); size += size < 200 ? 1 : 131) {
    EXPECT_FALSE(PackedWeights::Parse(std::string_view(file).substr(0, size)).ok());
  }
  EXPECT_FALSE(PackedWeights::Parse(file + "x").ok());
  const size_t data = 64 + 64;
  for (size_t byte = 0; byte < file.size(); byte += byte < 64 ? 1 : 97) {
    std::string damaged = file;
    damaged[byte] = static_cast<char>(damaged[byte] ^ 4);
    const bool padding = byte >= 64 + 16 && byte < data;  // of the checksums
    EXPECT_EQ(PackedWeights::Parse(damaged).ok(), padding) << byte;
  }
}

}  // namespace
}  // namespace inferd::cuda_internal
