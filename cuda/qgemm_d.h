// qgemm_d: y = epilogue(x * w^T) of class D, for up to 64 tokens a pass; the body of the kernel, in
// phases between barriers, for the card and for the host.
//
//   weights  packed [n, k] (weight_layout.h)     x  bf16 [m, k] (activation_layout.h)
//   y        [m, n] or [m, n / 2] (Epilogue)     workspace, tickets: if kSplits > 1
// A CTA is eight warps: kOwn of them take one slice of K each, of the same rows, and 8 / kOwn such
// sets take different rows. Slices are summed as the contract's tree: first within the CTA, through
// shared memory, then (kOwn < 8) by the CTA of a row group that arrives last, from the workspace.
// Which one that is, and in which order they ran, changes no operand of any sum.
// Bound: weight bytes / memory bandwidth. Oracle: the contract evaluated directly (qgemm_test.cc).
#pragma once

#include "cuda/qgemm_warp.h"

namespace inferd::cuda_internal {

// The knobs of a kernel; none changes a bit.
struct QgemmDShape {
  int token_tiles = 1;  // of 8: 1, 2, 4, 8
  int row_tiles = 1;    // of a warp
  int own = 8;          // slices of a CTA: 1, 2, 4, 8

  constexpr bool operator==(const QgemmDShape&) const = default;
  constexpr int RowWarps() const { return 8 / own; }
  constexpr int Splits() const { return kDecodeSlices / own; }
  constexpr int TilesPerCta() const { return RowWarps() * row_tiles; }
  constexpr int SumsPerWarp() const { return row_tiles * token_tiles * 4 * kWarpLanes; }
  // Shared memory, in floats: half of the warps put their sums down at a time.
  constexpr int SharedFloats() const { return 4 * SumsPerWarp(); }
  constexpr int64_t RowGroups(int64_t n) const {
    return (NumTiles(n) + TilesPerCta() - 1) / TilesPerCta();
  }
  constexpr int64_t WorkspaceFloats(int64_t n) const {
    return Splits() == 1 ? 0 : RowGroups(n) * Splits() * RowWarps() * SumsPerWarp();
  }
};

// The shape for a pass of m tokens. Tuning: M changes how the work is cut, never a sum.
constexpr QgemmDShape QgemmDShapeFor(int64_t m) {
  if (m <= 8) {
    return {.token_tiles = 1, .row_tiles = 1, .own = 8};
  }
  if (m <= 16) {
    return {.token_tiles = 2, .row_tiles = 1, .own = 8};
  }
  if (m <= 32) {
    return {.token_tiles = 4, .row_tiles = 1, .own = 4};
  }
  return {.token_tiles = 8, .row_tiles = 1, .own = 2};
}

inline constexpr int kQgemmDTokensMax = 64;
inline constexpr int kCtaWarps = 8;

template <WeightFormat kFormat, QgemmDShape kShape, class Warp>
class QgemmD {
 public:
  using Sums = WarpSums<Warp, kShape.row_tiles, kShape.token_tiles>;

  // What a warp is: `warp_index` of its CTA, which is (row_group, split) of the grid.
  INFERD_HD QgemmD(const QgemmArgs& args, Warp& warp, int warp_index, int64_t row_group, int split)
      : args_(args),
        warp_(warp),
        slice_(warp_index % kShape.own),
        row_warp_(warp_index / kShape.own),
        row_group_(row_group),
        split_(split),
        first_tile_((row_group * kShape.RowWarps() + row_warp_) * kShape.row_tiles) {}

  // Phase 1: the warp's slice.
  INFERD_HD void SumSlice() {
    ClearSums(warp_, sums_);
    const SliceRange range =
        SliceOf(GemmClass::kDecode, {args_.n, args_.k}, split_ * kShape.own + slice_);
    const int64_t blocks = NumBlocks(args_.k);
    const int64_t stride = TokenTileBytes(args_.k);
    const int64_t first = args_.first_token / kTileTokens;
    const auto* x = reinterpret_cast<const uint8_t*>(args_.x) + first * stride;
    const int64_t last_tile = NumTokenTiles(args_.end_token) - 1 - first;
    Records next;
    if (range.begin < range.end) {
      Load(blocks, range.begin, next);
    }
    for (int64_t block = range.begin; block < range.end; ++block) {
      Records now = next;
      if (block + 1 < range.end) {
        Load(blocks, block + 1, next);
      }
      MultiplyBlock<kFormat, kShape.row_tiles, kShape.token_tiles>(
          warp_,
          now.tile,
          x + block * kActivationBlockBytes,
          stride,
          static_cast<int>(last_tile),
          sums_);
    }
  }

  // Phase 2, for level 0 to kLevels - 1 with a barrier after each call: the odd node of each pair
  // puts its sums down, the even one adds them.
  static constexpr int kLevels = kShape.own == 8 ? 3 : kShape.own == 4 ? 2 : kShape.own == 2;

  INFERD_HD void PutDown(int level, float* shared) {
    if (slice_ % (2 << level) != 1 << level) {
      return;
    }
    float* slot = Slot(level, shared);
    warp_.Each([&](int lane, int i) {
      ForEachSum([&](int index, int row, int token, int r) {
        slot[index * kWarpLanes + lane] = sums_.tile[row][token][i].r[r];
      });
    });
  }

  INFERD_HD void TakeUp(int level, const float* shared) {
    if (slice_ % (2 << level) != 0) {
      return;
    }
    const float* slot = Slot(level, shared);
    warp_.Each([&](int lane, int i) {
      ForEachSum([&](int index, int row, int token, int r) {
        float& sum = sums_.tile[row][token][i].r[r];
        sum = Add(sum, slot[index * kWarpLanes + lane]);
      });
    });
  }

  // Phase 3, if a CTA owns a part of the slices: its node of the tree for the others to see.
  INFERD_HD void StoreNode() {
    if (slice_ != 0) {
      return;
    }
    float* node = Node(split_);
    warp_.Each([&](int lane, int i) {
      ForEachSum([&](int index, int row, int token, int r) {
        node[index * kWarpLanes + lane] = sums_.tile[row][token][i].r[r];
      });
    });
  }

  // Phase 4, in the CTA that arrived last: the rest of the tree, over all nodes alike.
  INFERD_HD void FoldNodes() {
    if (slice_ != 0) {
      return;
    }
    warp_.Each([&](int lane, int i) {
      ForEachSum([&](int index, int row, int token, int r) {
        float node[kShape.Splits()];
        INFERD_UNROLL
        for (int s = 0; s < kShape.Splits(); ++s) {
          node[s] = LoadNode(Node(s) + index * kWarpLanes + lane);
        }
        INFERD_UNROLL
        for (int step = 1; step < kShape.Splits(); step *= 2) {
          INFERD_UNROLL
          for (int s = 0; s + step < kShape.Splits(); s += 2 * step) {
            node[s] = Add(node[s], node[s + step]);
          }
        }
        sums_.tile[row][token][i].r[r] = node[0];
      });
    });
  }

  // Phase 5: bias, activation, residual, rounding.
  INFERD_HD void Finish() {
    if (slice_ != 0) {
      return;
    }
    warp_.Each([&](int lane, int i) {
      INFERD_UNROLL
      for (int row = 0; row < kShape.row_tiles; ++row) {
        INFERD_UNROLL
        for (int token = 0; token < kShape.token_tiles; ++token) {
          if (first_tile_ + row < NumTiles(args_.n)) {
            FinishTile(args_,
                       first_tile_ + row,
                       args_.first_token + token * kTileTokens,
                       lane,
                       sums_.tile[row][token][i]);
          }
        }
      }
    });
  }

 private:
  struct Records {
    typename Warp::template PerLane<LaneRecord<kFormat>> tile[kShape.row_tiles];
  };

  // Tiles past the last repeat it; FinishTile is not called for them.
  INFERD_HD void Load(int64_t blocks, int64_t block, Records& to) {
    warp_.Each([&](int lane, int i) {
      INFERD_UNROLL
      for (int row = 0; row < kShape.row_tiles; ++row) {
        const int64_t last = NumTiles(args_.n) - 1;
        const int64_t tile = first_tile_ + row < last ? first_tile_ + row : last;
        LoadRecord<kFormat>(args_.weights + tile * kFormat.TileBytes(args_.k),
                            blocks,
                            block,
                            lane,
                            to.tile[row][i]);
      }
    });
  }

  template <class F>
  INFERD_HD static void ForEachSum(F f) {
    INFERD_UNROLL
    for (int row = 0; row < kShape.row_tiles; ++row) {
      INFERD_UNROLL
      for (int token = 0; token < kShape.token_tiles; ++token) {
        INFERD_UNROLL
        for (int r = 0; r < 4; ++r) {
          f((row * kShape.token_tiles + token) * 4 + r, row, token, r);
        }
      }
    }
  }

  // Pair `slice_ >> (level + 1)` of the warps with the same rows.
  template <class T>
  INFERD_HD T* Slot(int level, T* shared) const {
    const int pair = slice_ >> (level + 1);
    return shared + (row_warp_ * (kShape.own / 2) + pair) * kShape.SumsPerWarp();
  }

  INFERD_HD float* Node(int split) const {
    const int64_t node = (row_group_ * kShape.Splits() + split) * kShape.RowWarps() + row_warp_;
    return args_.workspace + node * kShape.SumsPerWarp();
  }

  // Written by another CTA: not from a first-level cache.
  INFERD_HD static float LoadNode(const float* from) {
#ifdef __CUDA_ARCH__
    return __ldcg(from);
#else
    return *from;
#endif
  }

  const QgemmArgs& args_;
  Warp& warp_;
  int slice_;
  int row_warp_;
  int64_t row_group_;
  int split_;
  int64_t first_tile_;
  Sums sums_;
};

}  // namespace inferd::cuda_internal
