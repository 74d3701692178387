// The reference dequantisers: what a stored row means, as f32. Slow and plain; every kernel's
// unpacking is tested against them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "model/tensor_view.h"

namespace inferd {

// `row` is one row of `values.size()` values in `format`; each value is computed in f32 exactly as
// the format's definition says (GGML's dequantize_row_*).
void DequantizeRow(QuantFormat format, std::span<const std::byte> row, std::span<float> values);

// Puts the values of whole rows, in their stored order, where TensorView::column_order says that
// they belong. Does nothing without an order.
void RestoreColumns(std::span<const int32_t> column_order, std::span<float> rows);

// All rows, [rows, cols] row-major, columns in the order of the matrix.
std::vector<float> Dequantize(const TensorView& tensor);

}  // namespace inferd
