// From a model file's tensors to packed weights. Lossless for quantised formats; float weights
// become int8, which is a numeric choice of the served model.
#pragma once

#include <optional>
#include <span>

#include "base/status.h"
#include "cuda/packed_weights.h"
#include "model/tensor_view.h"

namespace inferd::cuda_internal {

// How a quantised GGUF format is packed; nullopt for the float formats.
std::optional<WeightFormat> PackedFormatOf(QuantFormat format);

// Groups of 128 with an f16 scale: what float weights become (the output head).
inline constexpr WeightFormat kInt8Format = {.bits = 8, .group = 128};

enum class RowOrder : uint8_t {
  kConcatenated,  // the rows of each part, one part after another: q, k, v
  kInterleaved,   // two parts of equally many rows, 8 | rows, in eights: gate and up
};

// All parts have one quantised format and one K. kInvalidArgument naming a tensor that does not
// fit; kUnimplemented for float weights (PackInt8).
StatusOr<PackedWeights> PackGguf(std::span<const TensorView> parts,
                                 RowOrder order = RowOrder::kConcatenated);

// Quantises a matrix of floats: scale = f16(largest magnitude / 127), code = value / scale to the
// nearest, ties to even, within +-127. kInvalidArgument if a value is not finite or too large.
StatusOr<PackedWeights> PackInt8(const TensorView& matrix);

}  // namespace inferd::cuda_internal
