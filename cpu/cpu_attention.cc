#include "cpu/cpu_attention.h"

#include <algorithm>
#include <atomic>

#include "base/check.h"

namespace inferd {
namespace {

// Fewer units than this many for each thread leave threads waiting for the last one.
constexpr int64_t kUnitsPerThread = 4;
// Partial results of split tiles take at most this much; above it tiles stay whole.
constexpr int64_t kPartialFloatsMax = int64_t{16} << 20;

int64_t ChunkBegin(const AttentionTile& tile) {
  const int64_t first = tile.window > 0 ? tile.start - tile.window + 1 : 0;
  return std::max<int64_t>(first, 0) / kAttentionChunk;
}

int64_t ChunkEnd(const AttentionTile& tile) {
  return (tile.start + tile.positions + kAttentionChunk - 1) / kAttentionChunk;
}

int64_t DivideUp(int64_t value, int64_t by) { return (value + by - 1) / by; }

// Floats rounded up to a cache line.
int64_t Lines(int64_t floats) { return DivideUp(floats, 16) * 16; }

}  // namespace

void CpuAttention::Split(const std::vector<AttentionTile>& tiles, int threads) {
  units_.clear();
  const auto num_tiles = static_cast<int64_t>(tiles.size());
  int64_t partial_floats = 0;
  for (const AttentionTile& tile : tiles) {
    partial_floats += (ChunkEnd(tile) - ChunkBegin(tile)) * tile.PartialFloats();
  }
  const bool split =
      threads > 1 && num_tiles < kUnitsPerThread * threads && partial_floats <= kPartialFloatsMax;
  const int64_t runs = split ? DivideUp(kUnitsPerThread * threads, num_tiles) : 1;
  units_left_.assign(tiles.size(), 0);
  int64_t partials = 0;
  for (int64_t i = 0; i < num_tiles; ++i) {
    const AttentionTile& tile = tiles[static_cast<size_t>(i)];
    const int64_t begin = ChunkBegin(tile);
    const int64_t end = ChunkEnd(tile);
    const int64_t step = DivideUp(end - begin, runs);
    const bool parts = step < end - begin;
    for (int64_t chunk = begin; chunk < end; chunk += step) {
      units_.push_back({.tile = static_cast<int32_t>(i),
                        .chunk_begin = chunk,
                        .chunk_end = std::min(end, chunk + step),
                        .partials = parts ? partials : -1});
      ++units_left_[static_cast<size_t>(i)];
    }
    partials += parts ? (end - begin) * tile.PartialFloats() : 0;
  }
  partials_.resize(std::max(partials_.size(), static_cast<size_t>(partials)));
}

void CpuAttention::ReserveWorkspaces(const std::vector<AttentionTile>& tiles, int threads) {
  int64_t rows = 0;
  for (const AttentionTile& tile : tiles) {
    rows = std::max<int64_t>(rows, tile.rows());
  }
  const AttentionTile& tile = tiles.front();
  const int64_t q = Lines(rows * tile.dk);
  const int64_t scores = rows * kAttentionChunk;
  const int64_t keys = static_cast<int64_t>(tile.dk) * kKvBlock;
  const int64_t values = static_cast<int64_t>(tile.dv_padded) * kKvBlock;
  const int64_t partial = Lines(rows * (2 + tile.dv_padded));
  const int64_t floats = q + scores + keys + values + 2 * partial;
  const int64_t bytes = floats * threads * static_cast<int64_t>(sizeof(float));
  if (workspace_memory_.size_bytes() < bytes) {
    StatusOr<MappedMemory> memory = MappedMemory::Allocate(bytes);
    CHECK(memory.ok());  // a few hundred kilobytes for each thread
    workspace_memory_ = *std::move(memory);
  }
  workspaces_.resize(static_cast<size_t>(threads));
  float* at = workspace_memory_.floats();
  const auto take = [&at](int64_t count) {
    float* taken = at;
    at += count;
    return taken;
  };
  for (Workspace& workspace : workspaces_) {
    workspace.scratch.q = take(q);
    workspace.scratch.scores = take(scores);
    workspace.scratch.keys = take(keys);
    workspace.scratch.values = take(values);
    workspace.partial = take(partial);
    workspace.running = take(partial);
  }
}

void CpuAttention::RunWhole(const CpuKernels& kernels,
                            const AttentionTile& tile,
                            const Unit& unit,
                            int worker) {
  const Workspace& workspace = workspaces_[static_cast<size_t>(worker)];
  if (unit.chunk_end - unit.chunk_begin == 1) {  // every row sees this one chunk
    kernels.attend_chunk(tile, workspace.scratch, unit.chunk_begin, workspace.partial);
    kernels.attend_finish(tile, workspace.partial);
    return;
  }
  std::fill_n(workspace.running + tile.rows(), tile.rows(), 0.0f);
  for (int64_t chunk = unit.chunk_begin; chunk < unit.chunk_end; ++chunk) {
    kernels.attend_chunk(tile, workspace.scratch, chunk, workspace.partial);
    kernels.attend_merge(tile, workspace.partial, workspace.running);
  }
  kernels.attend_finish(tile, workspace.running);
}

void CpuAttention::RunPart(const CpuKernels& kernels,
                           const AttentionTile& tile,
                           const Unit& unit,
                           int worker) {
  const Workspace& workspace = workspaces_[static_cast<size_t>(worker)];
  float* partials = partials_.data() + unit.partials;
  const int64_t first = ChunkBegin(tile);
  for (int64_t chunk = unit.chunk_begin; chunk < unit.chunk_end; ++chunk) {
    kernels.attend_chunk(
        tile, workspace.scratch, chunk, partials + (chunk - first) * tile.PartialFloats());
  }
  const std::atomic_ref<int32_t> left(units_left_[static_cast<size_t>(unit.tile)]);
  if (left.fetch_sub(1, std::memory_order_acq_rel) > 1) {
    return;
  }
  std::fill_n(workspace.running + tile.rows(), tile.rows(), 0.0f);
  for (int64_t chunk = first; chunk < ChunkEnd(tile); ++chunk) {
    kernels.attend_merge(
        tile, partials + (chunk - first) * tile.PartialFloats(), workspace.running);
  }
  kernels.attend_finish(tile, workspace.running);
}

void CpuAttention::Run(const CpuKernels& kernels,
                       ThreadTeam& team,
                       const std::vector<AttentionTile>& tiles) {
  if (tiles.empty()) {
    return;
  }
  Split(tiles, team.size());
  ReserveWorkspaces(tiles, team.size());
  team.Run(static_cast<int64_t>(units_.size()), [&](int worker, int64_t index) {
    const Unit& unit = units_[static_cast<size_t>(index)];
    const AttentionTile& tile = tiles[static_cast<size_t>(unit.tile)];
    kernels.attend_prepare(tile, workspaces_[static_cast<size_t>(worker)].scratch);
    if (unit.partials < 0) {
      RunWhole(kernels, tile, unit, worker);
    } else {
      RunPart(kernels, tile, unit, worker);
    }
  });
}

}  // namespace inferd
