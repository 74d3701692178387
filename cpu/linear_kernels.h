// The inner loops of the linear op, one table for each instruction set. All tables give the same
// bits; linear_scalar.cc says which.
#pragma once

#include <cstdint>

#include "cpu/isa.h"
#include "cpu/linear_layout.h"

namespace inferd::cpu_internal {

// Rows of x to be quantised into one activation block (linear_layout.h).
struct QuantizeRun {
  const float* x = nullptr;
  int64_t x_stride = 0;
  int rows = 0;        // <= block_rows
  int block_rows = 0;  // R of the block
  int64_t k = 0;       // multiple of 32
  int group_values = 32;
  uint8_t* block = nullptr;
};

// Neighbouring tiles of one quantised format times one activation block.
struct TileRun {
  QuantFormat format = QuantFormat::kQ4_0;
  const uint8_t* tiles = nullptr;
  int64_t tile_bytes = 0;
  int num_tiles = 0;  // <= kTilesMax
  int64_t k = 0;
  const uint8_t* activations = nullptr;
  int block_rows = 0;
  float* out = nullptr;  // [num_tiles][block_rows][16]
};

// One tile of a float format times `rows` rows of x (<= kBlockRowsMax).
struct FloatTileRun {
  QuantFormat format = QuantFormat::kF32;
  const uint8_t* tile = nullptr;
  int64_t k = 0;  // padded to kFloatLanes; x has as many values
  const float* x = nullptr;
  int64_t x_stride = 0;
  int rows = 0;
  float* out = nullptr;  // [rows][16]
};

inline constexpr int kTilesMax = 4;

enum class Gate : uint8_t { kNone, kSilu, kGeluTanh };

// From the sums of one tile (of gate and up, if gated) to the op's output, in this order: bias,
// gate, scale (unless 1), cap (if > 0), residual.
struct FinishRun {
  const float* sums = nullptr;     // [rows][16]
  const float* up_sums = nullptr;  // [rows][16], if gated
  const float* bias = nullptr;     // [16], optional
  const float* up_bias = nullptr;  // [16], optional
  Gate gate = Gate::kNone;
  float scale = 1.0f;
  float cap = 0.0f;
  const float* residual = nullptr;  // optional; may be out
  int64_t residual_stride = 0;
  float* out = nullptr;
  int64_t out_stride = 0;
  int rows = 0;
  int columns = 0;  // of 16 that exist
};

struct LinearKernels {
  // The block size to use for the next rows of a call: >= min(rows, some maximum).
  int (*block_rows)(int64_t rows);
  void (*quantize)(const QuantizeRun& run);
  void (*tiles)(const TileRun& run);
  void (*float_tile)(const FloatTileRun& run);
  void (*finish)(const FinishRun& run);
};

const LinearKernels& ScalarLinearKernels();
const LinearKernels& Avx2LinearKernels();
const LinearKernels& Avx512LinearKernels();
const LinearKernels& LinearKernelsFor(CpuIsa isa);

}  // namespace inferd::cpu_internal
