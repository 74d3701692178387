#include "model/dequantize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
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

// A block of a format, taken apart into what it stands for: value i is
// scale[group] * code[i] - minimum[group], in the units of d and dmin.
struct Parts {
  std::vector<int> codes, scales, minima;
};

// Puts the bits of `value` into the byte at `at`, from bit `bit` on.
void PutBits(std::vector<uint8_t>& block, int at, int bit, int value) {
  block[static_cast<size_t>(at)] |= static_cast<uint8_t>(value << bit);
}

// The 12 bytes of six-bit scales and minima of Q4_K and Q5_K.
void PutSixBits(std::vector<uint8_t>& block, int at, const Parts& parts) {
  for (int g = 0; g < 8; ++g) {
    const int scale = parts.scales[static_cast<size_t>(g)];
    const int minimum = parts.minima[static_cast<size_t>(g)];
    if (g < 4) {
      PutBits(block, at + g, 0, scale);
      PutBits(block, at + 4 + g, 0, minimum);
    } else {
      PutBits(block, at + 4 + g, 0, scale & 15);
      PutBits(block, at + 4 + g, 4, minimum & 15);
      PutBits(block, at + g - 4, 6, scale >> 4);
      PutBits(block, at + g, 6, minimum >> 4);
    }
  }
}

// Stores the parts, code by code, as the format's description says: the inverse of the
// dequantisers, written apart from them. Codes and scales are unsigned as stored.
std::vector<uint8_t> Pack(QuantFormat format, const Parts& parts) {
  std::vector<uint8_t> block(static_cast<size_t>(Info(format).block_bytes));
  for (int i = 0; i < Info(format).block_values; ++i) {
    const int code = parts.codes[static_cast<size_t>(i)];
    const int half = i / 128;     // of a block of 256
    const int in_half = i % 128;  // 0 to 127
    switch (format) {
      case QuantFormat::kQ4_0:
        PutBits(block, 2 + i % 16, i < 16 ? 0 : 4, code);
        break;
      case QuantFormat::kQ4_1:
        PutBits(block, 4 + i % 16, i < 16 ? 0 : 4, code);
        break;
      case QuantFormat::kQ5_0:
        PutBits(block, 6 + i % 16, i < 16 ? 0 : 4, code & 15);
        PutBits(block, 2 + i / 8, i % 8, code >> 4);
        break;
      case QuantFormat::kQ5_1:
        PutBits(block, 8 + i % 16, i < 16 ? 0 : 4, code & 15);
        PutBits(block, 4 + i / 8, i % 8, code >> 4);
        break;
      case QuantFormat::kQ8_0:
        PutBits(block, 2 + i, 0, code);
        break;
      case QuantFormat::kQ2_K:
        PutBits(block, 16 + half * 32 + in_half % 32, in_half / 32 * 2, code);
        break;
      case QuantFormat::kQ3_K:
        PutBits(block, 32 + half * 32 + in_half % 32, in_half / 32 * 2, code & 3);
        PutBits(block, i % 32, i / 32, code >> 2);
        break;
      case QuantFormat::kQ4_K:
        PutBits(block, 16 + i / 64 * 32 + i % 32, i % 64 / 32 * 4, code);
        break;
      case QuantFormat::kQ5_K:
        PutBits(block, 48 + i / 64 * 32 + i % 32, i % 64 / 32 * 4, code & 15);
        PutBits(block, 16 + i % 32, i / 32, code >> 4);
        break;
      case QuantFormat::kQ6_K:
        PutBits(block, half * 64 + in_half % 64, in_half / 64 * 4, code & 15);
        PutBits(block, 128 + half * 32 + in_half % 32, in_half / 32 * 2, code >> 4);
        break;
      default:
        break;
    }
  }
  if (format == QuantFormat::kQ4_K || format == QuantFormat::kQ5_K) {
    PutSixBits(block, 4, parts);
    return block;
  }
  for (int g = 0; g < 16 && Info(format).block_values == 256; ++g) {
    const int scale = parts.scales[static_cast<size_t>(g)];
    if (format == QuantFormat::kQ2_K) {
      PutBits(block, g, 0, scale);
      PutBits(block, g, 4, parts.minima[static_cast<size_t>(g)]);
    } else if (format == QuantFormat::kQ3_K) {
      PutBits(block, 96 + g % 8, g / 8 * 4, scale & 15);
      PutBits(block, 104 + g % 4, g / 4 * 2, scale >> 4);
    } else {
      PutBits(block, 192 + g, 0, scale & 255);
    }
  }
  return block;
}

// What is subtracted from stored codes and scales, and how many bits they have.
struct Ranges {
  QuantFormat format;
  int d_at, dmin_at;  // dmin_at < 0: no minimum
  int code_bits, code_offset;
  int scale_bits, scale_offset;  // 0 bits: no scale but d
};

class EachCode : public testing::TestWithParam<Ranges> {};

TEST_P(EachCode, AtEachPositionUnderEachScaleMeansItsFormula) {
  const Ranges& r = GetParam();
  const QuantFormatInfo& info = Info(r.format);
  const auto values = static_cast<size_t>(info.block_values);
  const size_t groups = r.scale_bits == 0 ? 1 : values / static_cast<size_t>(info.group_values);
  const int codes = 1 << r.code_bits;
  const int scales = 1 << r.scale_bits;
  const bool super_blocks = r.scale_bits != 0;
  const float d = 0.0625f;
  const float m = 0.375f;
  for (int step = 0; step < std::max(codes, scales); ++step) {
    Parts parts;
    for (size_t i = 0; i < values; ++i) {
      parts.codes.push_back((step + static_cast<int>(i) * 5) % codes);
    }
    for (size_t g = 0; g < groups; ++g) {
      parts.scales.push_back((step + static_cast<int>(g) * 7) % scales);
      parts.minima.push_back((step * 3 + static_cast<int>(g) * 11 + 1) % scales);
    }
    std::vector<uint8_t> block = Pack(r.format, parts);
    PutHalf(&block[static_cast<size_t>(r.d_at)], FloatToHalf(d));
    if (r.dmin_at >= 0) {
      PutHalf(&block[static_cast<size_t>(r.dmin_at)], FloatToHalf(m));
    }
    const std::vector<float> got = DequantizeBytes(r.format, block);
    for (size_t i = 0; i < values; ++i) {
      const size_t g = super_blocks ? i / static_cast<size_t>(info.group_values) : 0;
      int scale = super_blocks ? parts.scales[g] : 1;
      int code = parts.codes[i] - r.code_offset;
      if (r.format == QuantFormat::kQ8_0) {
        code = static_cast<int8_t>(parts.codes[i]);
      }
      scale = r.format == QuantFormat::kQ6_K ? static_cast<int8_t>(scale) : scale - r.scale_offset;
      double want = double{d} * scale * code;
      if (r.dmin_at >= 0) {
        want += super_blocks ? -double{m} * parts.minima[g] : double{m};
      }
      ASSERT_EQ(double{got[i]}, want) << "step " << step << " value " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Formats,
                         EachCode,
                         testing::Values(Ranges{QuantFormat::kQ4_0, 0, -1, 4, 8, 0, 0},
                                         Ranges{QuantFormat::kQ4_1, 0, 2, 4, 0, 0, 0},
                                         Ranges{QuantFormat::kQ5_0, 0, -1, 5, 16, 0, 0},
                                         Ranges{QuantFormat::kQ5_1, 0, 2, 5, 0, 0, 0},
                                         Ranges{QuantFormat::kQ8_0, 0, -1, 8, 0, 0, 0},
                                         Ranges{QuantFormat::kQ2_K, 80, 82, 2, 0, 4, 0},
                                         Ranges{QuantFormat::kQ3_K, 108, -1, 3, 4, 6, 32},
                                         Ranges{QuantFormat::kQ4_K, 0, 2, 4, 0, 6, 0},
                                         Ranges{QuantFormat::kQ5_K, 0, 2, 5, 0, 6, 0},
                                         Ranges{QuantFormat::kQ6_K, 208, -1, 6, 32, 8, 0}),
                         [](const testing::TestParamInfo<Ranges>& ranges) {
                           return std::string(Info(ranges.param.format).name);
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
