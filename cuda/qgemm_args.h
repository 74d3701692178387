// What a quantised linear op is told: y = epilogue(x * w^T), one pass of tokens.
#pragma once

#include <cstdint>

#include "cuda/contract.h"

namespace inferd::cuda_internal {

enum class Epilogue : uint8_t {
  kStoreBfloat,  // y bf16 [m, n]
  kStoreFloat,   // y f32 [m, n]: logits
  kResidual,     // y f32 [m, n] = residual + value
  kSwiGlu,       // y bf16 = silu(gate) * up of interleaved rows, in the order of activations for a
                 // linear op with k = n / 2
  kGeGlu,        // the same with GELU (tanh form)
};

// Pointers are to memory that the kernel can read. The caller keeps them alive.
struct QgemmArgs {
  const uint8_t* weights = nullptr;  // PackedWeights::bytes(), 16-byte aligned
  const uint16_t* x = nullptr;       // activation_layout.h, 16-byte aligned
  int64_t n = 0;                     // rows of the packed matrix, not padded
  int64_t k = 0;                     // not padded
  int64_t first_token = 0;           // of this pass; a multiple of 8
  int64_t end_token = 0;             // past the last one
  Epilogue epilogue = Epilogue::kStoreBfloat;
  const float* bias = nullptr;      // [n] in the packed order, or null
  const float* residual = nullptr;  // [m, n], for kResidual; may be y itself
  void* y = nullptr;
  // Where CTAs of a split share their sums; unused if one CTA owns all slices (qgemm_d.h).
  float* workspace = nullptr;
  uint32_t* tickets = nullptr;  // zero before the first launch; every launch leaves them zero
};

}  // namespace inferd::cuda_internal
