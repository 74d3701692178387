// From GGML's blocks to the tiles of linear_layout.h, and back for one row.
#pragma once

#include <cstdint>
#include <span>

#include "cpu/linear_layout.h"
#include "model/tensor_view.h"

namespace inferd::cpu_internal {

// Bytes of one tile of 16 rows of `k` values.
int64_t TileBytes(QuantFormat format, int64_t k);

// Writes the tile of rows [16 * tile, 16 * tile + 16) of the tensor; rows past its end are zeros.
void PackTile(const TensorView& tensor, int64_t tile, uint8_t* out);

// Scale and minimum (0 if the format has none) of one row of one record, for each of its groups:
// weight = scale * (code - offset) + minimum.
struct RecordScales {
  float scale[2] = {};
  float minimum[2] = {};
};
RecordScales ReadScales(const TileFormat& format, const uint8_t* tile, int64_t record, int row);

// All 512 codes of a record in the order of the "bytes" plane: [8 quads][16 rows][4].
void UnpackCodes(int code_bits, const uint8_t* record, uint8_t* codes);

// Where a record starts in its tile.
int64_t RecordOffset(const TileFormat& format, int64_t record);

// Row `row` of a tile as DequantizeRow gives it.
void DequantizeTileRow(QuantFormat format, const uint8_t* tile, int row, std::span<float> values);

}  // namespace inferd::cpu_internal
