// The CPU device's kernels other than the linear op's: one table for each instruction set, filled
// from templates over a Lanes type (row_kernels.h, attention_kernels.h). All tables give the same
// bits; docs/design/0002 states the arithmetic.
//
// Plain pointers only: this header is included by files compiled for wide instruction sets.
#pragma once

#include <cstdint>

#include "cpu/isa.h"

namespace inferd {

// Tokens of a KV block, and of an attention chunk: the partial softmax that is merged left to
// right, anchored at position 0.
inline constexpr int kKvBlock = 64;
inline constexpr int kAttentionChunk = 256;

// Query rows that share the keys of one KV head: `positions` consecutive positions of a sequence
// times `group` query heads. Row r is position start + r / group, head r % group of the group.
struct AttentionTile {
  const float* q = nullptr;  // row (0, 0); heads are dk apart, positions q_stride
  int64_t q_stride = 0;
  float* out = nullptr;  // row (0, 0); heads are dv apart, positions out_stride
  int64_t out_stride = 0;
  int32_t positions = 0;
  int32_t group = 0;
  int64_t start = 0;
  int32_t dk = 0;
  int32_t dv = 0;
  int32_t dv_padded = 0;  // dv rounded up to 16: a row of V or of results in scratch
  int32_t window = 0;     // 0: all
  float scale = 0.0f;
  float logit_cap = 0.0f;           // 0: none
  const uint32_t* table = nullptr;  // blocks of the sequence, by position / 64
  // This layer's and KV head's part of unit 0: f16 keys [dk][64], values [64][dv]. Reads may go 30
  // bytes beyond the values.
  const uint8_t* keys = nullptr;
  const uint8_t* values = nullptr;
  int64_t unit_bytes = 0;

  int32_t rows() const { return positions * group; }
  // Floats of a partial result: m [rows], l [rows], o [rows, dv_padded].
  int64_t PartialFloats() const { return static_cast<int64_t>(rows()) * (2 + dv_padded); }
};

// One worker's scratch for tiles of up to `rows` rows.
struct AttentionScratch {
  float* q = nullptr;       // [rows, dk], scaled
  float* scores = nullptr;  // [rows, kAttentionChunk]
  float* keys = nullptr;    // [dk, kKvBlock]
  float* values = nullptr;  // [kKvBlock, dv_padded]
};

struct CpuKernels {
  // out[i] = x[i] / sqrt(mean(x^2) + epsilon) * weight[i] (+ residual[i]); out may be x, residual.
  void (*rms_norm)(const float* x,
                   const float* weight,
                   float epsilon,
                   const float* residual,
                   float* out,
                   int32_t n);
  // Rotates `half` pairs of a head in place: (i, i + half), or (2i, 2i + 1).
  void (*rope_halves)(float* head, const float* cosines, const float* sines, int32_t half);
  void (*rope_interleaved)(float* head, const float* cosines, const float* sines, int32_t half);
  // One token into a block: keys [dk][64] f16 at column `slot`, values [64][dv] f16.
  void (*append_key)(const float* key, int32_t dk, int32_t slot, uint16_t* keys);
  void (*append_value)(const float* value, int32_t dv, int32_t slot, uint16_t* values);
  // Copies the tile's scaled queries to scratch; once before its chunks.
  void (*attend_prepare)(const AttentionTile& tile, const AttentionScratch& scratch);
  // The partial result of positions [256 chunk, 256 chunk + 256); l = 0 for rows that see none.
  void (*attend_chunk)(const AttentionTile& tile,
                       const AttentionScratch& scratch,
                       int64_t chunk,
                       float* partial);
  // Merges the next chunk's partial into `running`, whose l is 0 before the first.
  void (*attend_merge)(const AttentionTile& tile, const float* partial, float* running);
  // out = o / l.
  void (*attend_finish)(const AttentionTile& tile, const float* running);
};

// The ISA must be supported.
const CpuKernels& KernelsFor(CpuIsa isa);

extern const CpuKernels kCpuKernelsScalar;
extern const CpuKernels kCpuKernelsAvx2;
extern const CpuKernels kCpuKernelsAvx512;

}  // namespace inferd
