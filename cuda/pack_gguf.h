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

// The widest groups in which Q4_0 or Q5_0 parts are int4 with one scale and, of Q5_0, one zero:
// what AWQ and GPTQ weights were before `model` wrote them in blocks of 32, and any file that
// happens to allow it. nullopt if there are none wider or narrower than PackedFormatOf says. Reads
// every block.
std::optional<WeightFormat> WidestInt4FormatOf(std::span<const TensorView> parts);

// All parts have one quantised format, one K and one TensorView::column_order, in which the columns
// stay: activations have to come in it. Packed in WidestInt4FormatOf, else in PackedFormatOf.
// kInvalidArgument naming a tensor that does not
// fit; kUnimplemented for float weights (PackInt8).
StatusOr<PackedWeights> PackGguf(std::span<const TensorView> parts,
                                 RowOrder order = RowOrder::kConcatenated);

// Quantises a matrix of floats: scale = f16(largest magnitude / 127), code = value / scale to the
// nearest, ties to even, within +-127. kInvalidArgument if a value is not finite or too large.
StatusOr<PackedWeights> PackInt8(const TensorView& matrix);

}  // namespace inferd::cuda_internal
