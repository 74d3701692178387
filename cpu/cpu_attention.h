// CpuAttention: shares the attention of one layer's step out over the team.
#pragma once

#include <cstdint>
#include <vector>

#include "base/status.h"
#include "cpu/cpu_kernels.h"
#include "cpu/mapped_memory.h"
#include "cpu/thread_team.h"

namespace inferd {

// A tile's result is the merge, left to right, of its chunks' partial results. A unit of work is a
// run of a tile's chunks: the whole tile if there are tiles enough for the team, else a part whose
// partial results wait for the tile's last unit, which merges them. So the split shares work out
// and changes no bit. Keeps scratch between calls. Engine thread only.
class CpuAttention {
 public:
  // Tiles of about this many rows widen each block of keys and values once for all of them.
  static constexpr int32_t kTileRows = 48;

  // Query positions of one tile for a group of heads: at least 1.
  static int32_t TilePositions(int32_t group) { return group >= kTileRows ? 1 : kTileRows / group; }

  // Computes every tile. Their dk, dv, group and window are equal.
  void Run(const CpuKernels& kernels, ThreadTeam& team, const std::vector<AttentionTile>& tiles);

 private:
  struct Unit {
    int32_t tile = 0;
    int64_t chunk_begin = 0;
    int64_t chunk_end = 0;
    int64_t partials = -1;  // offset of the tile's first partial result, if it is split
  };
  // One worker's floats.
  struct Workspace {
    AttentionScratch scratch;
    float* partial = nullptr;
    float* running = nullptr;
  };

  void Split(const std::vector<AttentionTile>& tiles, int threads);
  void ReserveWorkspaces(const std::vector<AttentionTile>& tiles, int threads);
  void RunWhole(const CpuKernels& kernels, const AttentionTile& tile, const Unit& unit, int worker);
  void RunPart(const CpuKernels& kernels, const AttentionTile& tile, const Unit& unit, int worker);

  std::vector<Unit> units_;
  std::vector<int32_t> units_left_;  // of each tile; counted down through atomic_ref
  std::vector<float> partials_;
  std::vector<Workspace> workspaces_;
  MappedMemory workspace_memory_;
};

}  // namespace inferd
