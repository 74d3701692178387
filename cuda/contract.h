// The numeric contract of the CUDA linear ops as constants and functions: which sums are formed in
// which order. docs/design/0008-cuda-numeric-contract.md states it in words.
//
// Every function here takes N and K and nothing else: not M, not the batch, not the card. That is
// the whole of batch invariance, so no parameter may be added. Host and device; no absl.
#pragma once

#include <cstdint>

namespace inferd::cuda_internal {

// Changes whenever a result's bits change for the same weights and activations.
inline constexpr int kContractVersion = 1;

// K is padded with zero weights to whole blocks; N to whole row groups of zero weights.
inline constexpr int kBlockValues = 128;
inline constexpr int kTileRows = 16;
inline constexpr int kPadRows = 64;
// One tensor-core instruction, m16n8k16: weights on its M side, tokens on its N side.
inline constexpr int kStepValues = 16;
inline constexpr int kStepsPerBlock = kBlockValues / kStepValues;
inline constexpr int kTileTokens = 8;

// Class D sums decode rows over eight slices of K, class P prompt rows over one. The role of a row
// decides its class, never the size of the batch.
enum class GemmClass : uint8_t { kDecode, kPrefill };

struct MatrixShape {
  int64_t n = 0;  // output rows
  int64_t k = 0;  // values of a row
};

constexpr int64_t PadK(int64_t k) { return (k + kBlockValues - 1) / kBlockValues * kBlockValues; }
constexpr int64_t PadN(int64_t n) { return (n + kPadRows - 1) / kPadRows * kPadRows; }
constexpr int64_t NumBlocks(int64_t k) { return PadK(k) / kBlockValues; }

// The S of the contract. The same for every shape in version 1; the shape is an argument so that a
// later version can have a table.
constexpr int NumSlices(GemmClass gemm_class, MatrixShape /*shape*/) {
  return gemm_class == GemmClass::kDecode ? 8 : 1;
}
inline constexpr int kDecodeSlices = 8;

// Blocks [begin, end) of K. Slices of one shape are disjoint, in order, and cover all blocks; a
// short K leaves some empty, and an empty slice's sum is +0.
struct SliceRange {
  int64_t begin = 0;
  int64_t end = 0;
};

constexpr SliceRange SliceOf(GemmClass gemm_class, MatrixShape shape, int slice) {
  const int64_t blocks = NumBlocks(shape.k);
  const int64_t slices = NumSlices(gemm_class, shape);
  return {.begin = slice * blocks / slices, .end = (slice + 1) * blocks / slices};
}

// The two ways in which tensor cores sum (mma_emulator.h). Bits match within one, not across.
enum class TensorCoreClass : uint8_t {
  kAmpere,  // sm_80, 86, 89: two chained halves of k8, 24 fractional bits
  kHopper,  // sm_90, 100, 120: one step of k16, 25 fractional bits
};

constexpr TensorCoreClass TensorCoreClassOf(int compute_capability) {
  return compute_capability < 90 ? TensorCoreClass::kAmpere : TensorCoreClass::kHopper;
}

// The contract covers these; an older card has no bf16 tensor cores.
constexpr bool IsSupportedCapability(int compute_capability) { return compute_capability >= 80; }

}  // namespace inferd::cuda_internal
