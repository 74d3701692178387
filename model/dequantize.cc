#include "model/dequantize.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/check.h"
#include "base/half.h"

namespace inferd {
namespace {

// One block's bytes; reads are unaligned and little-endian.
class Block {
 public:
  explicit Block(const std::byte* data) : data_(data) {}
  int Byte(int i) const { return static_cast<int>(data_[i]); }
  int SignedByte(int i) const { return static_cast<int8_t>(data_[i]); }
  uint16_t U16(int i) const { return Read<uint16_t>(i); }
  uint32_t U32(int i) const { return Read<uint32_t>(i); }
  float Half(int i) const { return HalfToFloat(U16(i)); }

 private:
  template <typename T>
  T Read(int i) const {
    static_assert(std::endian::native == std::endian::little);
    T value;
    std::memcpy(&value, data_ + i, sizeof(value));
    return value;
  }
  const std::byte* data_;
};

int LowNibble(int byte) { return byte & 15; }
int HighNibble(int byte) { return byte >> 4; }

// The formats with blocks of 32: value j has its low four bits in the low nibble of byte j, value
// j + 16 in the high nibble.

void DequantizeQ4_0(const Block& block, float* y) {
  const float d = block.Half(0);
  for (int j = 0; j < 16; ++j) {
    const int byte = block.Byte(2 + j);
    y[j] = static_cast<float>(LowNibble(byte) - 8) * d;
    y[j + 16] = static_cast<float>(HighNibble(byte) - 8) * d;
  }
}

void DequantizeQ4_1(const Block& block, float* y) {
  const float d = block.Half(0);
  const float m = block.Half(2);
  for (int j = 0; j < 16; ++j) {
    const int byte = block.Byte(4 + j);
    y[j] = static_cast<float>(LowNibble(byte)) * d + m;
    y[j + 16] = static_cast<float>(HighNibble(byte)) * d + m;
  }
}

// Bit j of a word of 32 is the fifth bit of value j.
int FifthBit(uint32_t bits, int j) { return static_cast<int>((bits >> j) & 1u) << 4; }

void DequantizeQ5_0(const Block& block, float* y) {
  const float d = block.Half(0);
  const uint32_t high = block.U32(2);
  for (int j = 0; j < 16; ++j) {
    const int byte = block.Byte(6 + j);
    y[j] = static_cast<float>((LowNibble(byte) | FifthBit(high, j)) - 16) * d;
    y[j + 16] = static_cast<float>((HighNibble(byte) | FifthBit(high, j + 16)) - 16) * d;
  }
}

void DequantizeQ5_1(const Block& block, float* y) {
  const float d = block.Half(0);
  const float m = block.Half(2);
  const uint32_t high = block.U32(4);
  for (int j = 0; j < 16; ++j) {
    const int byte = block.Byte(8 + j);
    y[j] = static_cast<float>(LowNibble(byte) | FifthBit(high, j)) * d + m;
    y[j + 16] = static_cast<float>(HighNibble(byte) | FifthBit(high, j + 16)) * d + m;
  }
}

void DequantizeQ8_0(const Block& block, float* y) {
  const float d = block.Half(0);
  for (int j = 0; j < 32; ++j) {
    y[j] = static_cast<float>(block.SignedByte(2 + j)) * d;
  }
}

// 16 groups of 16; each has a scale (low nibble) and a minimum (high nibble) of four bits. Each run
// of 128 values shares 32 bytes, two bits a value.
void DequantizeQ2_K(const Block& block, float* y) {
  constexpr int kCodes = 16;
  const float d = block.Half(80);
  const float dmin = block.Half(82);
  for (int i = 0; i < 256; ++i) {
    const int scales = block.Byte(i / 16);
    const int shift = 2 * (i % 128 / 32);
    const int code = (block.Byte(kCodes + i / 128 * 32 + i % 32) >> shift) & 3;
    const float scale = d * static_cast<float>(LowNibble(scales));
    const float minimum = dmin * static_cast<float>(HighNibble(scales));
    y[i] = scale * static_cast<float>(code) - minimum;
  }
}

// 16 groups of 16 with a six-bit scale each: four low bits in the nibbles of eight bytes, two high
// bits in the four bytes after them. A value has two bits in `codes` and a third in `high`; a third
// bit that is not set subtracts 4.
void DequantizeQ3_K(const Block& block, float* y) {
  constexpr int kHigh = 0;
  constexpr int kCodes = 32;
  constexpr int kScales = 96;
  const float d = block.Half(108);
  for (int i = 0; i < 256; ++i) {
    const int group = i / 16;
    const int low_byte = block.Byte(kScales + group % 8);
    const int low = group < 8 ? LowNibble(low_byte) : HighNibble(low_byte);
    const int high = (block.Byte(kScales + 8 + group % 4) >> (2 * (group / 4))) & 3;
    const float scale = d * static_cast<float>((low | (high << 4)) - 32);
    const int shift = 2 * (i % 128 / 32);
    const int code = (block.Byte(kCodes + i / 128 * 32 + i % 32) >> shift) & 3;
    const int third = (block.Byte(kHigh + i % 32) >> (i / 32)) & 1;
    y[i] = scale * static_cast<float>(code - (third != 0 ? 0 : 4));
  }
}

struct ScaleMin {
  int scale;
  int minimum;
};

// Q4_K and Q5_K: eight six-bit scales and eight six-bit minima in 12 bytes from `at`. The first
// four of each are the low six bits of bytes 0-3 and 4-7; the others have four bits in bytes 8-11
// and their two high bits above the first ones'.
ScaleMin SixBitScales(const Block& block, int at, int group) {
  if (group < 4) {
    return {block.Byte(at + group) & 63, block.Byte(at + group + 4) & 63};
  }
  const int low = block.Byte(at + group + 4);
  return {LowNibble(low) | (block.Byte(at + group - 4) >> 6 << 4),
          HighNibble(low) | (block.Byte(at + group) >> 6 << 4)};
}

// Groups of 32 share their 32 bytes of codes in pairs: the even one has the low nibbles.
int NibbleCode(const Block& block, int codes, int i) {
  const int byte = block.Byte(codes + i / 64 * 32 + i % 32);
  return i % 64 < 32 ? LowNibble(byte) : HighNibble(byte);
}

void DequantizeQ4_K(const Block& block, float* y) {
  const float d = block.Half(0);
  const float dmin = block.Half(2);
  for (int i = 0; i < 256; ++i) {
    const ScaleMin group = SixBitScales(block, 4, i / 32);
    const float scale = d * static_cast<float>(group.scale);
    const float minimum = dmin * static_cast<float>(group.minimum);
    y[i] = scale * static_cast<float>(NibbleCode(block, 16, i)) - minimum;
  }
}

// As Q4_K; the fifth bit of value i is bit i/32 of byte i%32 of 32 more bytes.
void DequantizeQ5_K(const Block& block, float* y) {
  const float d = block.Half(0);
  const float dmin = block.Half(2);
  for (int i = 0; i < 256; ++i) {
    const ScaleMin group = SixBitScales(block, 4, i / 32);
    const float scale = d * static_cast<float>(group.scale);
    const float minimum = dmin * static_cast<float>(group.minimum);
    const int fifth = ((block.Byte(16 + i % 32) >> (i / 32)) & 1) << 4;
    y[i] = scale * static_cast<float>(NibbleCode(block, 48, i) | fifth) - minimum;
  }
}

// 16 groups of 16 with an int8 scale each. In each run of 128, value r has its four low bits in
// byte r%64 of 64 (the low nibble for r < 64) and its two high bits in byte r%32 of 32.
void DequantizeQ6_K(const Block& block, float* y) {
  constexpr int kLow = 0;
  constexpr int kHigh = 128;
  constexpr int kScales = 192;
  const float d = block.Half(208);
  for (int i = 0; i < 256; ++i) {
    const int run = i / 128;
    const int r = i % 128;
    const int low_byte = block.Byte(kLow + run * 64 + r % 64);
    const int low = r < 64 ? LowNibble(low_byte) : HighNibble(low_byte);
    const int high = (block.Byte(kHigh + run * 32 + r % 32) >> (2 * (r / 32))) & 3;
    const float scale = d * static_cast<float>(block.SignedByte(kScales + i / 16));
    y[i] = scale * static_cast<float>((low | (high << 4)) - 32);
  }
}

void DequantizeBlock(QuantFormat format, const Block& block, float* y) {
  switch (format) {
    case QuantFormat::kF32:
      *y = std::bit_cast<float>(block.U32(0));
      return;
    case QuantFormat::kF16:
      *y = block.Half(0);
      return;
    case QuantFormat::kBF16:
      *y = BfloatToFloat(block.U16(0));
      return;
    case QuantFormat::kQ4_0:
      return DequantizeQ4_0(block, y);
    case QuantFormat::kQ4_1:
      return DequantizeQ4_1(block, y);
    case QuantFormat::kQ5_0:
      return DequantizeQ5_0(block, y);
    case QuantFormat::kQ5_1:
      return DequantizeQ5_1(block, y);
    case QuantFormat::kQ8_0:
      return DequantizeQ8_0(block, y);
    case QuantFormat::kQ2_K:
      return DequantizeQ2_K(block, y);
    case QuantFormat::kQ3_K:
      return DequantizeQ3_K(block, y);
    case QuantFormat::kQ4_K:
      return DequantizeQ4_K(block, y);
    case QuantFormat::kQ5_K:
      return DequantizeQ5_K(block, y);
    case QuantFormat::kQ6_K:
      return DequantizeQ6_K(block, y);
  }
}

}  // namespace

void DequantizeRow(QuantFormat format, std::span<const std::byte> row, std::span<float> values) {
  const QuantFormatInfo& info = Info(format);
  const auto cols = static_cast<int64_t>(values.size());
  CHECK(cols % info.block_values == 0);
  CHECK(static_cast<int64_t>(row.size()) == RowBytes(format, cols));
  for (int64_t i = 0; i < cols / info.block_values; ++i) {
    DequantizeBlock(
        format, Block(row.data() + i * info.block_bytes), values.data() + i * info.block_values);
  }
}

void RestoreColumns(std::span<const int32_t> column_order, std::span<float> rows) {
  const size_t cols = column_order.size();
  if (cols == 0) {
    return;
  }
  CHECK(rows.size() % cols == 0);
  std::vector<float> stored(cols);
  for (size_t first = 0; first < rows.size(); first += cols) {
    const auto row = rows.subspan(first, cols);
    std::copy(row.begin(), row.end(), stored.begin());
    for (size_t i = 0; i < cols; ++i) {
      row[static_cast<size_t>(column_order[i])] = stored[i];
    }
  }
}

std::vector<float> Dequantize(const TensorView& tensor) {
  std::vector<float> values(static_cast<size_t>(tensor.num_values()));
  const auto row_bytes = static_cast<size_t>(RowBytes(tensor.format, tensor.cols));
  const auto cols = static_cast<size_t>(tensor.cols);
  for (size_t r = 0; r < static_cast<size_t>(tensor.rows); ++r) {
    DequantizeRow(tensor.format,
                  tensor.data.subspan(r * row_bytes, row_bytes),
                  std::span(values).subspan(r * cols, cols));
  }
  RestoreColumns(tensor.column_order, values);
  return values;
}

}  // namespace inferd
