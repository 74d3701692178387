#include "model/dequantize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "base/half.h"
#include "base/sha256.h"

namespace inferd {
namespace {

std::vector<float> DequantizeBytes(QuantFormat format, const std::vector<uint8_t>& row) {
  const QuantFormatInfo& info = Info(format);
  std::vector<float> values(row.size() / static_cast<size_t>(info.block_bytes) *
                            static_cast<size_t>(info.block_values));
  DequantizeRow(format, std::as_bytes(std::span(row)), values);
  return values;
}

void PutHalf(uint8_t* at, uint16_t half) {
  at[0] = static_cast<uint8_t>(half & 255);
  at[1] = static_cast<uint8_t>(half >> 8);
}

// The digests are of the f32 values that the Python package `gguf` (numpy, an implementation by
// others) gives for the same bytes: eight blocks of arbitrary codes, scales of both signs.
struct Golden {
  QuantFormat format;
  std::vector<int> halves;  // where a block has its f16 fields
  const char* sha256;
};

class DequantizeGolden : public testing::TestWithParam<Golden> {};

TEST_P(DequantizeGolden, EqualsAnIndependentImplementationBitForBit) {
  const QuantFormatInfo& info = Info(GetParam().format);
  constexpr int kBlocks = 8;
  std::vector<uint8_t> row(static_cast<size_t>(info.block_bytes * kBlocks));
  for (size_t i = 0; i < row.size(); ++i) {
    row[i] = static_cast<uint8_t>(i * i * 7 + i * 13 + 5 + (i >> 5) * 29);
  }
  for (int k = 0; k < kBlocks; ++k) {
    for (size_t j = 0; j < GetParam().halves.size(); ++j) {
      const int sign = k % 3 == 2 ? 0x8000 : 0;
      const int half = (0x2c66 + 0x155 * k + 0x3a1 * static_cast<int>(j)) | sign;
      PutHalf(&row[static_cast<size_t>(k * info.block_bytes + GetParam().halves[j])],
              static_cast<uint16_t>(half));
    }
  }
  std::vector<float> values = DequantizeBytes(GetParam().format, row);
  EXPECT_EQ(Sha256Of(std::as_bytes(std::span(values))).Hex(), GetParam().sha256);
}

INSTANTIATE_TEST_SUITE_P(
    Formats,
    DequantizeGolden,
    testing::Values(Golden{QuantFormat::kQ4_0,
                           {0},
                           "f527a8263e667270860a68896c3d28c61a1afef285313fefaf3f15efa45c386c"},
                    Golden{QuantFormat::kQ4_1,
                           {0, 2},
                           "1b9d567b97748eedd0ab182e7f204d0bfa3fcef17fb905fe2876cd313c8709fd"},
                    Golden{QuantFormat::kQ5_0,
                           {0},
                           "8069fb5dba344a8f692eb00cfbfea6129c99c90f444f5f934876f255987c7176"},
                    Golden{QuantFormat::kQ5_1,
                           {0, 2},
                           "bdcb8f0fd6a105f7e33f640cadfc32fc874802b5f58cc998b7222a2bcfa99543"},
                    Golden{QuantFormat::kQ8_0,
                           {0},
                           "f149b5d27aa735d0abeba4befeae835775423c6ee6488565836df577e196d5ff"},
                    Golden{QuantFormat::kQ2_K,
                           {80, 82},
                           "26d43c6825d8ed3f9f80a831a9a95cf40e1334622d5eccc3cfbc67d4e17350de"},
                    Golden{QuantFormat::kQ3_K,
                           {108},
                           "14d41651e7835c6cf2005fddff9fdd07874b49e5ba07b6b7e35b0fef2205dc1c"},
                    Golden{QuantFormat::kQ4_K,
                           {0, 2},
                           "1ce6e6d368ed5e076bfc175c7ac28c3ad71b04614ff0c70432f168b0bbd53795"},
                    Golden{QuantFormat::kQ5_K,
                           {0, 2},
                           "1fc30894da20dd26777924e7399fa4146a1be8fc78ca996eee1ec881ff805c92"},
                    Golden{QuantFormat::kQ6_K,
                           {208},
                           "264943d8cf0b5708977fb8fb8fbb89b8c184b6e1ea5d5a05be8313b40ac8512c"}),
    [](const testing::TestParamInfo<Golden>& golden) {
      return std::string(Info(golden.param.format).name);
    });

TEST(Dequantize, HalvesAndBfloatsWidenExactlyOverAllPatterns) {
  std::vector<uint8_t> row(2 << 16);
  for (uint32_t i = 0; i < 1 << 16; ++i) {
    PutHalf(&row[2 * i], static_cast<uint16_t>(i));
  }
  const auto halves = DequantizeBytes(QuantFormat::kF16, row);
  const auto bfloats = DequantizeBytes(QuantFormat::kBF16, row);
  for (uint32_t i = 0; i < 1 << 16; ++i) {
    const uint32_t exponent = (i >> 10) & 31;
    if (exponent != 31) {
      const double fraction = (i & 1023) / 1024.0;
      const double magnitude = exponent == 0
                                   ? std::ldexp(fraction, -14)
                                   : std::ldexp(1.0 + fraction, static_cast<int>(exponent) - 15);
      ASSERT_EQ(double{halves[i]}, i < 0x8000 ? magnitude : -magnitude) << i;
    }
    ASSERT_EQ(std::bit_cast<uint32_t>(bfloats[i]), i << 16);
  }
}

TEST(Dequantize, ReadsRowsOfAMatrixAndRangesOfThem) {
  const float stored[] = {1, 2, 3, 4, 5, 6};
  const TensorView matrix = {"m", QuantFormat::kF32, 3, 2, std::as_bytes(std::span(stored))};
  EXPECT_THAT(Dequantize(matrix), testing::ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_THAT(Dequantize(RowRange(matrix, 1, 2)), testing::ElementsAre(3, 4, 5, 6));
  EXPECT_TRUE(RowRange(matrix, 3, 0).empty());
}

TEST(QuantFormat, EveryGgmlNumberMapsBackAndOthersHaveNames) {
  for (int i = 0; i < kNumQuantFormats; ++i) {
    const auto format = static_cast<QuantFormat>(i);
    EXPECT_EQ(QuantFormatFromGgml(Info(format).ggml_type), format);
    EXPECT_EQ(GgmlTypeName(Info(format).ggml_type), Info(format).name);
    EXPECT_EQ(RowBytes(format, 512), 512 / Info(format).block_values * Info(format).block_bytes);
  }
  EXPECT_EQ(QuantFormatFromGgml(23), std::nullopt);
  EXPECT_EQ(GgmlTypeName(23), "IQ4_XS");
  EXPECT_EQ(GgmlTypeName(99), "unknown");
}

}  // namespace
}  // namespace inferd
