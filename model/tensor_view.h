// TensorView: a named matrix inside a model file. Owns nothing; the ModelFile outlives it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "model/quant_format.h"

namespace inferd {

// Shape [rows, cols], row-major, cols the contiguous (input) dimension: GGUF's ne[1], ne[0]. A
// vector is one row. Invariant: data.size() == rows * RowBytes(format, cols).
struct TensorView {
  std::string name;
  QuantFormat format = QuantFormat::kF32;
  int64_t rows = 0;
  int64_t cols = 0;
  std::span<const std::byte> data;
  // If not empty: stored column i is column column_order[i] of the matrix (a permutation of its
  // columns; act-order quantisation sorts them by group). A device permutes activations the same
  // way; Dequantize() gives the matrix itself.
  std::span<const int32_t> column_order = {};

  bool empty() const { return data.empty(); }
  int64_t num_values() const { return rows * cols; }
};

// Bytes of one row of `cols` values. cols must be a multiple of the format's block_values.
int64_t RowBytes(QuantFormat format, int64_t cols);

// The rows [first, first + count) as a view of their own: fused weights are taken apart this way.
TensorView RowRange(const TensorView& tensor, int64_t first, int64_t count);

}  // namespace inferd
