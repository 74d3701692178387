#include "cpu/linear_run.h"

#include <algorithm>

namespace inferd::cpu_internal {
namespace {

// Rows whose activations are swept while a tile is in the first cache; they stay in the second.
constexpr int64_t kSweepRows = 16 * kBlockRowsMax;
// Quantising fewer values than this is quicker than waking the team.
constexpr int64_t kSerialValuesMax = 8192;

// [tile][row][16] of the largest kernel call.
using Results = std::array<float, kTilesMax * kBlockRowsMax * kTileRows>;

// From the sums of one step to `out`.
void FinishStep(const LinearCall& call,
                const Segment& segment,
                int64_t step,
                const RowBlock& block,
                const float* sums) {
  const LinearRun& run = *call.run;
  const int64_t column = segment.first_column + step * kTileRows;
  const auto bias = [&](size_t part) {
    const std::vector<float>& values = segment.biases[part];
    return values.empty() ? nullptr : values.data() + step * kTileRows;
  };
  const bool gated = call.gate != Gate::kNone;
  call.kernels->finish(
      {.sums = sums,
       .up_sums = gated ? sums + block.block_rows * kTileRows : nullptr,
       .bias = bias(0),
       .up_bias = bias(1),
       .gate = call.gate,
       .scale = run.scale,
       .cap = run.cap,
       .residual = run.residual == nullptr
                       ? nullptr
                       : run.residual + block.first_row * run.residual_stride + column,
       .residual_stride = run.residual_stride,
       .out = run.out + block.first_row * run.out_stride + column,
       .out_stride = run.out_stride,
       .rows = block.rows,
       .columns =
           static_cast<int>(std::min<int64_t>(kTileRows, segment.columns - step * kTileRows))});
}

// The sums of `num_tiles` neighbouring tiles of one format for one block.
void RunTiles(const LinearCall& call,
              QuantFormat format,
              const uint8_t* tiles,
              int64_t tile_bytes,
              int num_tiles,
              const RowBlock& block,
              float* out) {
  if (IsFloat(format)) {
    for (int t = 0; t < num_tiles; ++t) {
      call.kernels->float_tile({.format = format,
                                .tile = tiles + t * tile_bytes,
                                .k = RoundUp(call.in_features, kFloatLanes),
                                .x = call.x + block.first_row * call.x_stride,
                                .x_stride = call.x_stride,
                                .rows = block.rows,
                                .out = out + t * block.block_rows * kTileRows});
    }
    return;
  }
  const int groups = TileFormatOf(format).GroupsPerRecord();
  const uint8_t* activations = groups == 1 ? call.groups32 : call.groups16;
  call.kernels->tiles(
      {.format = format,
       .tiles = tiles,
       .tile_bytes = tile_bytes,
       .num_tiles = num_tiles,
       .k = call.in_features,
       .activations = activations + block.offset / kRecordValues * ActivationRecordBytes(1, groups),
       .block_rows = block.block_rows,
       .out = out});
}

// Steps [first, first + count) of a segment, count small enough for Results, for one block.
void RunSteps(const LinearCall& call,
              const Segment& segment,
              int64_t first,
              int count,
              const RowBlock& block) {
  Results results;
  const uint8_t* tiles = segment.bytes.data() + first * segment.step_bytes();
  const int64_t tile_values = int64_t{block.block_rows} * kTileRows;
  if (segment.uniform()) {
    RunTiles(call,
             segment.formats[0],
             tiles,
             segment.tile_bytes[0],
             count * segment.tiles_per_step,
             block,
             results.data());
  } else {
    for (int i = 0; i < count; ++i) {
      const uint8_t* step = tiles + i * segment.step_bytes();
      float* out = results.data() + 2 * i * tile_values;
      RunTiles(call, segment.formats[0], step, segment.tile_bytes[0], 1, block, out);
      RunTiles(call,
               segment.formats[1],
               step + segment.tile_bytes[0],
               segment.tile_bytes[1],
               1,
               block,
               out + tile_values);
    }
  }
  for (int i = 0; i < count; ++i) {
    FinishStep(
        call, segment, first + i, block, results.data() + i * segment.tiles_per_step * tile_values);
  }
}

}  // namespace

bool IsFloat(QuantFormat format) { return TileFormatOf(format).code_bits == 0; }

int64_t RoundUp(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// A unit of work: a run of steps for all rows. Rows are swept in parts that stay cached; within a
// part each tile is read once for all its blocks.
void RunUnit(const LinearCall& call, const Segment& segment, int64_t first, int64_t count) {
  const size_t blocks_per_sweep = kSweepRows / kBlockRowsMax;
  for (size_t sweep = 0; sweep < call.blocks.size(); sweep += blocks_per_sweep) {
    const auto blocks =
        call.blocks.subspan(sweep, std::min(blocks_per_sweep, call.blocks.size() - sweep));
    const int steps_max = kTilesMax / segment.tiles_per_step;
    for (int64_t step = 0; step < count; step += steps_max) {
      const auto steps = static_cast<int>(std::min<int64_t>(steps_max, count - step));
      for (const RowBlock& block : blocks) {
        RunSteps(call, segment, first + step, steps, block);
      }
    }
  }
}

void QuantizeBlocks(const LinearCall& call,
                    ThreadTeam& team,
                    int group_values,
                    AlignedBytes& bytes) {
  const int groups = kRecordValues / group_values;
  const RowBlock& last = call.blocks.back();
  bytes.Reserve((last.offset + last.block_rows * call.in_features) / kRecordValues *
                ActivationRecordBytes(1, groups));
  const auto quantize = [&](int64_t index) {
    const RowBlock& block = call.blocks[static_cast<size_t>(index)];
    call.kernels->quantize(
        {.x = call.run->x + block.first_row * call.run->x_stride,
         .x_stride = call.run->x_stride,
         .rows = block.rows,
         .block_rows = block.block_rows,
         .k = call.in_features,
         .group_values = group_values,
         .block = bytes.data() + block.offset / kRecordValues * ActivationRecordBytes(1, groups)});
  };
  const auto num_blocks = static_cast<int64_t>(call.blocks.size());
  if (call.run->rows * call.in_features <= kSerialValuesMax) {
    for (int64_t i = 0; i < num_blocks; ++i) {
      quantize(i);
    }
  } else {
    team.Run(num_blocks, [&](int, int64_t index) { quantize(index); });
  }
}

// Float kernels read whole lanes of x: rows that do not end on one are copied and padded.
void PadFloats(const LinearRun& run, int64_t k, AlignedBytes& bytes) {
  const int64_t padded = RoundUp(k, kFloatLanes);
  bytes.Reserve(run.rows * padded * int64_t{sizeof(float)});
  auto* out = reinterpret_cast<float*>(bytes.data());
  for (int64_t row = 0; row < run.rows; ++row) {
    std::copy_n(run.x + row * run.x_stride, k, out + row * padded);
    std::fill_n(out + row * padded + k, padded - k, 0.0f);
  }
}

void CutRows(const LinearKernels& kernels, int64_t rows, int64_t k, std::vector<RowBlock>& blocks) {
  blocks.clear();
  int64_t offset = 0;
  for (int64_t first = 0; first < rows;) {
    const int block_rows = kernels.block_rows(rows - first);
    const auto taken = static_cast<int>(std::min<int64_t>(block_rows, rows - first));
    blocks.push_back(
        {.first_row = first, .rows = taken, .block_rows = block_rows, .offset = offset});
    first += taken;
    offset += block_rows * k;
  }
}

}  // namespace inferd::cpu_internal
