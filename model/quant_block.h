// QuantBlock: one stored block of a quantised format as integers: codes, scales and minima apart.
// Devices that lay weights out anew read blocks through it; dequantize.h says what they mean.
#pragma once

#include <array>
#include <cstdint>

#include "model/quant_format.h"

namespace inferd {

struct QuantBlock {
  std::array<uint8_t, 256> codes;  // unsigned, block_values of them; Q8_0: stored byte + 128
  std::array<uint8_t, 16> scales;  // of super-blocks (K), one a group: int8 of Q3_K and Q6_K;
                                   // Q2_K: scale in the low, minimum in the high nibble
  std::array<uint8_t, 16> minima;  // of Q4_K, Q5_K
  uint16_t d = 0;                  // f16
  uint16_t d_minimum = 0;          // f16: minimum, or its factor in a super-block
};

// `bytes` is one whole block of `format`. Fields that the format lacks keep what they held; float
// formats have no codes and leave `block` alone.
void ReadQuantBlock(QuantFormat format, const uint8_t* bytes, QuantBlock& block);

}  // namespace inferd
