#include "model/quant_block.h"

#include <cstring>

namespace inferd {
namespace {

uint16_t Load16(const uint8_t* bytes) {
  uint16_t value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

uint32_t Load32(const uint8_t* bytes) {
  uint32_t value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

uint8_t Byte(unsigned value) { return static_cast<uint8_t>(value); }

// 16 bytes: value i in the low nibble of byte i, value i + 16 in the high one.
void ReadNibbles(const uint8_t* bytes, uint8_t* codes) {
  for (unsigned i = 0; i < 16; ++i) {
    codes[i] = bytes[i] & 15u;
    codes[i + 16] = Byte(bytes[i] >> 4);
  }
}

void AddFifthBits(uint32_t bits, uint8_t* codes) {
  for (unsigned i = 0; i < 32; ++i) {
    codes[i] = Byte(codes[i] | ((bits >> i) & 1u) << 4);
  }
}

// The eight 6-bit scales and minima of Q4_K and Q5_K, in 12 bytes.
void ReadScales32(const uint8_t* bytes, QuantBlock& block) {
  for (unsigned i = 0; i < 4; ++i) {
    block.scales[i] = bytes[i] & 63u;
    block.minima[i] = bytes[i + 4] & 63u;
    block.scales[i + 4] = Byte((bytes[i + 8] & 15u) | (unsigned{bytes[i]} >> 6) << 4);
    block.minima[i + 4] = Byte((unsigned{bytes[i + 8]} >> 4) | (unsigned{bytes[i + 4]} >> 6) << 4);
  }
}

void ReadQ2K(const uint8_t* bytes, QuantBlock& block) {
  std::memcpy(block.scales.data(), bytes, 16);
  const uint8_t* pairs = bytes + 16;
  for (unsigned k = 0; k < 256; ++k) {
    block.codes[k] = (pairs[32 * (k / 128) + k % 32] >> (2 * (k % 128 / 32))) & 3u;
  }
  block.d = Load16(bytes + 80);
  block.d_minimum = Load16(bytes + 82);
}

void ReadQ3K(const uint8_t* bytes, QuantBlock& block) {
  const uint8_t* high = bytes;
  const uint8_t* pairs = bytes + 32;
  const uint8_t* scales = bytes + 96;
  for (unsigned k = 0; k < 256; ++k) {
    const unsigned low = (pairs[32 * (k / 128) + k % 32] >> (2 * (k % 128 / 32))) & 3u;
    block.codes[k] = Byte(low | ((high[k % 32] >> (k / 32)) & 1u) << 2);
  }
  for (unsigned i = 0; i < 16; ++i) {
    const unsigned low = i < 8 ? scales[i] & 15u : unsigned{scales[i - 8]} >> 4;
    const unsigned top = (scales[8 + i % 4] >> (2 * (i / 4))) & 3u;
    block.scales[i] = Byte((low | top << 4) - 32u);  // two's complement
  }
  block.d = Load16(bytes + 108);
}

void ReadQ4K(const uint8_t* bytes, const uint8_t* nibbles, QuantBlock& block) {
  block.d = Load16(bytes);
  block.d_minimum = Load16(bytes + 2);
  ReadScales32(bytes + 4, block);
  for (unsigned k = 0; k < 256; ++k) {
    block.codes[k] = (nibbles[32 * (k / 64) + k % 32] >> (4 * (k % 64 / 32))) & 15u;
  }
}

void ReadQ5K(const uint8_t* bytes, QuantBlock& block) {
  ReadQ4K(bytes, bytes + 48, block);
  const uint8_t* high = bytes + 16;
  for (unsigned k = 0; k < 256; ++k) {
    block.codes[k] = Byte(block.codes[k] | ((high[k % 32] >> (k / 32)) & 1u) << 4);
  }
}

void ReadQ6K(const uint8_t* bytes, QuantBlock& block) {
  const uint8_t* high = bytes + 128;
  for (unsigned k = 0; k < 256; ++k) {
    const unsigned half = k / 128;
    const unsigned quarter = k % 128 / 32;
    const unsigned low = bytes[64 * half + 32 * (quarter % 2) + k % 32] >> (4 * (quarter / 2));
    const unsigned top = (high[32 * half + k % 32] >> (2 * quarter)) & 3u;
    block.codes[k] = Byte((low & 15u) | top << 4);
  }
  std::memcpy(block.scales.data(), bytes + 192, 16);
  block.d = Load16(bytes + 208);
}

}  // namespace

void ReadQuantBlock(QuantFormat format, const uint8_t* bytes, QuantBlock& block) {
  switch (format) {
    case QuantFormat::kQ4_0:
      block.d = Load16(bytes);
      return ReadNibbles(bytes + 2, block.codes.data());
    case QuantFormat::kQ4_1:
      block.d = Load16(bytes);
      block.d_minimum = Load16(bytes + 2);
      return ReadNibbles(bytes + 4, block.codes.data());
    case QuantFormat::kQ5_0:
      block.d = Load16(bytes);
      ReadNibbles(bytes + 6, block.codes.data());
      return AddFifthBits(Load32(bytes + 2), block.codes.data());
    case QuantFormat::kQ5_1:
      block.d = Load16(bytes);
      block.d_minimum = Load16(bytes + 2);
      ReadNibbles(bytes + 8, block.codes.data());
      return AddFifthBits(Load32(bytes + 4), block.codes.data());
    case QuantFormat::kQ8_0:
      block.d = Load16(bytes);
      for (unsigned i = 0; i < 32; ++i) {
        block.codes[i] = bytes[2 + i] ^ 0x80u;
      }
      return;
    case QuantFormat::kQ2_K:
      return ReadQ2K(bytes, block);
    case QuantFormat::kQ3_K:
      return ReadQ3K(bytes, block);
    case QuantFormat::kQ4_K:
      return ReadQ4K(bytes, bytes + 16, block);
    case QuantFormat::kQ5_K:
      return ReadQ5K(bytes, block);
    case QuantFormat::kQ6_K:
      return ReadQ6K(bytes, block);
    case QuantFormat::kF32:
    case QuantFormat::kF16:
    case QuantFormat::kBF16:
      return;  // floats are copied, not taken apart
  }
}

}  // namespace inferd
