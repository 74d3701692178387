// A call of a linear op taken apart: its weights as segments, its rows as blocks, and the work on
// one unit of both. PackedLinear owns the segments and hands out the units.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "cpu/aligned_bytes.h"
#include "cpu/linear_kernels.h"
#include "cpu/packed_linear.h"

namespace inferd::cpu_internal {

// Output columns that are computed alike. A step is 16 of them: one tile, or, if gated, the gate's
// tile followed by up's.
struct Segment {
  std::array<QuantFormat, 2> formats{};
  std::array<int64_t, 2> tile_bytes{};
  int tiles_per_step = 1;
  int64_t first_column = 0;
  int64_t columns = 0;
  AlignedBytes bytes;
  std::array<std::vector<float>, 2> biases;  // padded to 16; empty: none

  int64_t num_steps() const { return (columns + kTileRows - 1) / kTileRows; }
  int64_t step_bytes() const { return tile_bytes[0] + (tiles_per_step == 2 ? tile_bytes[1] : 0); }
  bool uniform() const { return tiles_per_step == 1 || formats[0] == formats[1]; }
};

// Rows that are computed together, and where their quantised form starts.
struct RowBlock {
  int64_t first_row = 0;
  int rows = 0;
  int block_rows = 0;
  int64_t offset = 0;  // in values: times ActivationRecordBytes(1, groups) / 32 gives bytes
};

// One call in flight: what every worker reads.
struct LinearCall {
  const LinearKernels* kernels = nullptr;
  const LinearRun* run = nullptr;
  int64_t in_features = 0;
  Gate gate = Gate::kNone;
  std::span<const RowBlock> blocks;
  const uint8_t* groups32 = nullptr;  // activations quantised by 32, by 16
  const uint8_t* groups16 = nullptr;
  const float* x = nullptr;  // for float weights: rows of whole lanes
  int64_t x_stride = 0;
};

// Whether weights of the format meet activations as floats.
bool IsFloat(QuantFormat format);

int64_t RoundUp(int64_t value, int64_t multiple);

// The blocks of a call of `rows` rows of k values.
void CutRows(const LinearKernels& kernels, int64_t rows, int64_t k, std::vector<RowBlock>& blocks);

// Fills `bytes` with the quantised blocks of the call.
void QuantizeBlocks(const LinearCall& call,
                    ThreadTeam& team,
                    int group_values,
                    AlignedBytes& bytes);

// Copies the rows of x to whole lanes, padded with zeros.
void PadFloats(const LinearRun& run, int64_t k, AlignedBytes& bytes);

// Steps [first, first + count) of a segment for all rows of the call.
void RunUnit(const LinearCall& call, const Segment& segment, int64_t first, int64_t count);

}  // namespace inferd::cpu_internal
