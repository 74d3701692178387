// Where each number of a packed weight lies: docs/formats/gpu_weights.md in constant expressions.
//
// A matrix [N, K] is cut into tiles of 16 rows; a tile is a run of records, one for each block of
// 128 values of K. A record holds the block's codes in the order in which the lanes of a warp use
// them (fragments.h), then its scales. One layout for all cards and kernels. Host and device.
#pragma once

#include <cstdint>

#include "cuda/contract.h"
#include "cuda/fragments.h"

namespace inferd::cuda_internal {

enum class ZeroKind : uint8_t {
  kSymmetric,  // integer = code - 2^(bits-1); 8-bit codes are the integers, in two's complement
  kZeroPoint,  // integer = code - zero, a 4-bit zero for each group
  kMinimum,    // integer = code, and a minimum for each group is added to its weights
};

enum class ScaleKind : uint8_t {
  kHalf,        // an f16 for each group (and for its minimum)
  kSuperBlock,  // an int8 for each group, times an f16 for each 256 values (and so for minima)
};

// A value; IsValid() says which combinations exist.
struct WeightFormat {
  int bits = 4;     // of a code: 2, 3, 4, 8
  int group = 128;  // values under one scale: 16, 32, 64, 128
  ZeroKind zero = ZeroKind::kSymmetric;
  ScaleKind scale = ScaleKind::kHalf;

  constexpr bool operator==(const WeightFormat&) const = default;

  constexpr bool IsValid() const {
    return (bits == 2 || bits == 3 || bits == 4 || bits == 8) &&
           (group == 16 || group == 32 || group == 64 || group == 128) &&
           (zero != ZeroKind::kZeroPoint || (bits == 4 && group >= 32)) &&
           (scale == ScaleKind::kSuperBlock ? zero != ZeroKind::kZeroPoint && group <= 32
                                            : group >= 32);
  }
  constexpr int GroupsPerBlock() const { return kBlockValues / group; }
  constexpr int StepsPerGroup() const { return group / kStepValues; }
  constexpr bool HasMinimum() const { return zero == ZeroKind::kMinimum; }

  // A record: offsets of its parts, in bytes.
  constexpr int CodeBytes() const { return bits * kTileRows * kBlockValues / 8; }
  constexpr int ScaleAt() const { return CodeBytes(); }
  constexpr int ScaleBytes() const {
    return kTileRows * GroupsPerBlock() * (scale == ScaleKind::kHalf ? 2 : 1);
  }
  constexpr int MinimumAt() const { return ScaleAt() + ScaleBytes(); }
  constexpr int ZeroAt() const { return MinimumAt() + (HasMinimum() ? ScaleBytes() : 0); }
  constexpr int ZeroBytes() const {
    return zero == ZeroKind::kZeroPoint ? kTileRows / 2 * GroupsPerBlock() : 0;
  }
  constexpr int RecordBytes() const { return (ZeroAt() + ZeroBytes() + 31) / 32 * 32; }

  // Behind the records of a tile: for each two blocks 16 f16 d and, with a minimum, 16 f16 dmin.
  constexpr int FactorBytes() const {
    return scale == ScaleKind::kSuperBlock ? (HasMinimum() ? 64 : 32) : 0;
  }
  constexpr int64_t FactorsAt(int64_t k) const { return NumBlocks(k) * RecordBytes(); }
  constexpr int64_t TileBytes(int64_t k) const {
    return FactorsAt(k) + (NumBlocks(k) + 1) / 2 * FactorBytes();
  }
};

constexpr int64_t NumTiles(int64_t n) { return PadN(n) / kTileRows; }

// The rows of a lane are r and r + 8, r = lane / 4: their values lie side by side, groups of a
// block after one another, so that a lane reads what it needs of a plane in one load.
//   index of (row, group) in a plane of scales, in elements
constexpr int ScaleIndex(const WeightFormat& format, int row, int group) {
  return (row % 8 * format.GroupsPerBlock() + group) * 2 + row / 8;
}
//   byte of a zero; row r has the low nibble, row r + 8 the high one
constexpr int ZeroIndex(const WeightFormat& format, int row, int group) {
  return row % 8 * format.GroupsPerBlock() + group;
}
//   index of a row's f16 among the 16 of d or dmin
constexpr int FactorIndex(int row) { return row % 8 * 2 + row / 8; }

// Codes are planes of 1, 2, 4 or 8 bits: 3-bit codes have their low two bits in a plane of 2 and
// their high bit in a plane of 1 behind it.
constexpr int NumPlanes(int bits) { return bits == 3 ? 2 : 1; }
constexpr int PlaneWidth(int bits, int plane) { return bits == 3 ? 2 - plane : bits; }
constexpr int PlaneAt(int plane) { return plane * 2 * kTileRows * kBlockValues / 8; }
constexpr int PlaneShift(int plane) { return 2 * plane; }  // of its bits in the code

// A lane's words of a plane: 1 word for each 32 / width / 8 steps, in units of up to 16 bytes.
constexpr int WordsPerLane(int width) { return 2 * width; }
// Byte offset in the plane of word `word` of a lane: whole units of all lanes after one another, so
// that a warp's load is contiguous.
constexpr int WordAt(int width, int lane, int word) {
  const int words = WordsPerLane(width) < 4 ? WordsPerLane(width) : 4;
  return word / words * kWarpLanes * words * 4 + lane * words * 4 + word % words * 4;
}
// Which word of the lane, and at which bit, holds the code of half h of register r (of fragment A)
// of step `step`. Bits of the two halves are 16 apart, so that one mask takes both.
struct WordBit {
  int word = 0;
  int bit = 0;
};
constexpr WordBit CodeInWords(int width, int step, int r, int h) {
  switch (width) {
    case 8:
      return {.word = 2 * step + r / 2, .bit = 8 * (r % 2) + 16 * h};
    case 4:
      return {.word = step, .bit = 4 * r + 16 * h};
    case 2:
      return {.word = step / 2, .bit = 2 * (4 * (step % 2) + r) + 16 * h};
    default:
      return {.word = step / 4, .bit = 4 * (step % 4) + r + 16 * h};
  }
}

// The same from the matrix's side: byte offset of a little-endian word in the plane, and the bit,
// of the code in row `row` (0-15) and column `column` (0-127) of a block.
struct PlanePlace {
  int byte = 0;
  int bit = 0;
};
constexpr PlanePlace PlaceInPlane(int width, int row, int column) {
  const int step = column / kStepValues;
  const int in_step = column % kStepValues;
  const int lane = row % 8 * 4 + in_step % 8 / 2;
  const int r = row / 8 + 2 * (in_step / 8);
  const WordBit place = CodeInWords(width, step, r, in_step % 2);
  return {.byte = WordAt(width, lane, place.word), .bit = place.bit};
}

// The rows of gate and up are interleaved in eights: a lane then owns a gate's row and its up's.
// Row of gate or up -> row of the packed matrix.
constexpr int64_t InterleavedRow(int part, int64_t row) {
  return row / 8 * kTileRows + part * 8 + row % 8;
}

}  // namespace inferd::cuda_internal
