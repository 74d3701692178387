// How the linear op lays out weights and activations in memory (docs/design/0002, "Linear").
//
// Weights: tiles of 16 output rows. The records of a tile, one for each 32 values of K, lie one
// after another; a record holds the 16 rows' codes, then their scales:
//   codes  planes of 64-byte vectors; byte 4n+i of a vector belongs to row n and to k = 4j+i of
//          a "quad" j in [0, 8):
//            nibbles  4 vectors; vector j holds quad j in its low and quad j+4 in its high nibble
//            pairs    2 vectors; vector h holds quads 4h..4h+3 in its bit pairs, lowest first
//            bits     1 vector; bit j belongs to quad j
//            bytes    8 vectors; vector j holds quad j
//          4-bit codes are nibbles; 5: nibbles, bits; 6: nibbles, pairs; 2: pairs; 3: pairs, bits;
//          8: bytes. A code is unsigned; the weight's integer is code - offset.
//   scales plain formats: 16 f16 scales, then 16 f16 minima if the format has them.
//          formats of super-blocks (K): 32 bytes: Q4_K, Q5_K 16 u8 scales, 16 u8 minima; Q3_K,
//          Q6_K 2 x 16 i8 scales; Q2_K 2 x 16 bytes, scale in the low, minimum in the high nibble.
// Eight records of a K format are followed by 16 f16 d and, with a minimum, 16 f16 dmin.
// Float formats keep their rows: a tile is 16 rows of K values, padded with zeros to 16.
//
// This header is read by files of every instruction set: constant expressions only, nothing that
// a compiler could emit as a shared inline function.
#pragma once

#include <cstdint>

#include "model/quant_format.h"

namespace inferd::cpu_internal {

inline constexpr int kTileRows = 16;
inline constexpr int kRecordValues = 32;
inline constexpr int kFloatLanes = 16;

struct TileFormat {
  int code_bits = 0;      // 0: a float format
  int offset = 0;         // weight integer = code - offset
  int group_values = 32;  // values under one scale of weight and activation: 32 or 16
  bool minimum = false;
  bool super_block = false;  // scales are integers times an f16 of the 256-value block

  constexpr int CodeBytes() const { return code_bits * 64; }
  constexpr int RecordBytes() const { return CodeBytes() + (super_block || !minimum ? 32 : 64); }
  constexpr int RecordsPerBlock() const { return super_block ? 8 : 1; }
  // A block: its records and what they share.
  constexpr int BlockBytes() const {
    return RecordsPerBlock() * RecordBytes() + (super_block ? (minimum ? 64 : 32) : 0);
  }
  constexpr int BlockValues() const { return RecordsPerBlock() * kRecordValues; }
  constexpr int GroupsPerRecord() const { return kRecordValues / group_values; }
};

constexpr TileFormat TileFormatOf(QuantFormat format) {
  switch (format) {
    case QuantFormat::kQ4_0:
      return {.code_bits = 4, .offset = 8};
    case QuantFormat::kQ4_1:
      return {.code_bits = 4, .minimum = true};
    case QuantFormat::kQ5_0:
      return {.code_bits = 5, .offset = 16};
    case QuantFormat::kQ5_1:
      return {.code_bits = 5, .minimum = true};
    case QuantFormat::kQ8_0:
      return {.code_bits = 8, .offset = 128};
    case QuantFormat::kQ2_K:
      return {.code_bits = 2, .group_values = 16, .minimum = true, .super_block = true};
    case QuantFormat::kQ3_K:
      return {.code_bits = 3, .offset = 4, .group_values = 16, .super_block = true};
    case QuantFormat::kQ4_K:
      return {.code_bits = 4, .minimum = true, .super_block = true};
    case QuantFormat::kQ5_K:
      return {.code_bits = 5, .minimum = true, .super_block = true};
    case QuantFormat::kQ6_K:
      return {.code_bits = 6, .offset = 32, .group_values = 16, .super_block = true};
    case QuantFormat::kF32:
    case QuantFormat::kF16:
    case QuantFormat::kBF16:
      break;
  }
  return {};
}

// Activations: blocks of R rows (R a size that the kernels have; absent rows are zeros). A block
// is one record for each 32 values of K, holding for its R rows
//   int8 codes [R][32], f32 scale [G][R], i32 sum of codes [G][R], f32 scale * sum [G][R]
// with G = 32 / group_values.
constexpr int64_t ActivationRecordBytes(int block_rows, int groups) {
  return int64_t{block_rows} * (kRecordValues + 12 * groups);
}

// Below this the largest magnitude of a group counts as zero, so that 127 / absmax stays finite.
inline constexpr float kNegligibleAbsmax = 0x1p-100f;

inline constexpr int kBlockRowsMax = 12;

}  // namespace inferd::cpu_internal
