// PackedWeights: one weight matrix in the layout of weight_layout.h, on the host, and as a file
// (docs/formats/gpu_weights.md).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "cuda/weight_layout.h"

namespace inferd::cuda_internal {

// What a record holds of one row: 128 codes and the scales of its groups.
struct RowBlock {
  uint8_t codes[kBlockValues] = {};
  uint16_t scale[8] = {};    // f16; an int8's byte in super-blocks
  uint16_t minimum[8] = {};  // the same, if the format has minima
  uint8_t zero[4] = {};      // below 16, if the format has zero points
  uint16_t d = 0;            // f16, of super-blocks; the same in both blocks of one
  uint16_t d_minimum = 0;    // f16

  // The weight of value i is Scale(g) * Integer(i) + Minimum(g), g = i / group.
  float Scale(const WeightFormat& format, int group) const;
  float Minimum(const WeightFormat& format, int group) const;
  int Integer(const WeightFormat& format, int i) const;
};

// A value. Thread: any, for reading; rows of different tiles may be written from different threads.
// Invariant: bytes().size() == NumTiles(n) * format.TileBytes(k); padding is zero weights.
class PackedWeights {
 public:
  static constexpr int64_t kRowsMax = int64_t{1} << 24;
  static constexpr int64_t kColsMax = int64_t{1} << 20;

  // Zero weights. CHECKs that the format is valid and 1 <= n <= kRowsMax, 1 <= k <= kColsMax.
  PackedWeights(const WeightFormat& format, int64_t n, int64_t k);

  const WeightFormat& format() const { return format_; }
  int64_t n() const { return n_; }
  int64_t k() const { return k_; }
  std::span<const uint8_t> bytes() const { return bytes_; }
  std::span<const uint8_t> Tile(int64_t tile) const;

  // Values of K from 128 * block on. Columns past k are given codes that mean 0.
  void Write(int64_t row, int64_t block, RowBlock values);
  RowBlock Read(int64_t row, int64_t block) const;
  // Row `row`, k values, each Scale * Integer (+ Minimum), singly rounded as DequantizeRow does.
  std::vector<float> DequantizeRow(int64_t row) const;

  // The file's bytes: header, a checksum for each tile, the tiles.
  std::string Serialize() const;
  // kDataLoss for a wrong size or checksum, kInvalidArgument for anything else that is not such a
  // file. Nothing is allocated that the bytes do not pay for.
  static StatusOr<PackedWeights> Parse(std::string_view file);

 private:
  uint8_t* MutableTile(int64_t tile) { return bytes_.data() + tile * format_.TileBytes(k_); }

  WeightFormat format_;
  int64_t n_;
  int64_t k_;
  std::vector<uint8_t> bytes_;
};

}  // namespace inferd::cuda_internal
