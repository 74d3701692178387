// The reference dequantisers: what a stored row means, as f32. Slow and plain; every kernel's
// unpacking is tested against them.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "model/tensor_view.h"

namespace inferd {

// `row` is one row of `values.size()` values in `format`; each value is computed in f32 exactly as
// the format's definition says (GGML's dequantize_row_*).
void DequantizeRow(QuantFormat format, std::span<const std::byte> row, std::span<float> values);

// All rows, [rows, cols] row-major.
std::vector<float> Dequantize(const TensorView& tensor);

}  // namespace inferd
