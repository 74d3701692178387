// Which of two ways computes prompt rows (class P), and how the cuBLASLt way cuts a weight: tables
// over the card and (N, K) alone, never over the number of tokens. Host and device; no absl.
#pragma once

#include <algorithm>

#include "cuda/contract.h"

namespace inferd::cuda_internal {

enum class PrefillPath : uint8_t {
  kQgemmP,    // qgemm_p.h, on every card
  kCublasLt,  // weights dequantised slice by slice to bf16, then cuBLASLt (prefill_cublas.h)
};

// cuBLASLt reaches the rates of Hopper's own instructions, which mma.sync does not; its order of
// sums was seen to stay the same over M on sm_90 with no workspace to split K in, and not on sm_80.
// Small weights cost more launches than they gain.
constexpr PrefillPath PrefillPathFor(int compute_capability, MatrixShape shape) {
  constexpr int64_t kValuesMin = int64_t{4} << 20;
  return compute_capability == 90 && shape.n * shape.k >= kValuesMin ? PrefillPath::kCublasLt
                                                                     : PrefillPath::kQgemmP;
}

// Rows that are dequantised at a time: as bf16 they stay in the second-level cache.
inline constexpr int64_t kPrefillSliceBytesMax = int64_t{16} << 20;
constexpr int64_t PrefillSliceRows(MatrixShape shape) {
  const int64_t fit = kPrefillSliceBytesMax / (2 * PadK(shape.k)) / kPadRows * kPadRows;
  return std::min(PadN(shape.n), std::max<int64_t>(fit, kPadRows));
}

}  // namespace inferd::cuda_internal
