// qgemm_p: y = epilogue(x * w^T) of class P, for prompts; the body of the kernel for the card and
// for the host. Arguments and layouts as qgemm_d.h; no workspace.
//
// A CTA computes 128 rows and 128 or 64 tokens: eight warps, four along the rows (two row tiles
// each), two along the tokens, over all of K in one slice. Activations of a block come through
// shared memory, in the order in which they lie in memory.
// Bound: tensor-core rate. Oracle: the contract evaluated directly (qgemm_test.cc).
#pragma once

#include "cuda/qgemm_warp.h"

namespace inferd::cuda_internal {

inline constexpr int kPrefillRowTiles = 2;  // of a warp
inline constexpr int kPrefillRowWarps = 4;
inline constexpr int kPrefillTokenWarps = 2;
inline constexpr int kPrefillTilesPerCta = kPrefillRowWarps * kPrefillRowTiles;

constexpr int64_t PrefillRowGroups(int64_t n) {
  return (NumTiles(n) + kPrefillTilesPerCta - 1) / kPrefillTilesPerCta;
}

// How many token tiles a warp has: what registers allow without a spill (the compile gate says).
struct PrefillShape {
  int token_tiles = 8;
  constexpr int TokenTilesPerCta() const { return kPrefillTokenWarps * token_tiles; }
  constexpr int TokensPerCta() const { return TokenTilesPerCta() * kTileTokens; }
  // Activations of one block: [token tile][kActivationBlockBytes].
  constexpr int StageBytes() const { return TokenTilesPerCta() * kActivationBlockBytes; }
  constexpr int64_t TokenGroups(int64_t tokens) const {
    return (tokens + TokensPerCta() - 1) / TokensPerCta();
  }
};
constexpr PrefillShape PrefillShapeOf(const WeightFormat& format) {
  return {.token_tiles = format.bits == 4 && format.group == 128 && !format.HasMinimum() ? 8 : 4};
}

// Where 16 bytes of a stage come from: `unit` of StageBytes() / 16. Token tiles past the last
// repeat it.
INFERD_HD const uint8_t* PrefillStageSource(const QgemmArgs& args,
                                            const PrefillShape& shape,
                                            int64_t token_group,
                                            int64_t block,
                                            int unit) {
  constexpr int kUnitsPerTile = kActivationBlockBytes / 16;
  const int64_t last = NumTokenTiles(args.end_token) - 1;
  const int64_t wanted = args.first_token / kTileTokens + token_group * shape.TokenTilesPerCta() +
                         unit / kUnitsPerTile;
  const int64_t tile = wanted < last ? wanted : last;
  return reinterpret_cast<const uint8_t*>(args.x) + tile * TokenTileBytes(args.k) +
         block * kActivationBlockBytes + unit % kUnitsPerTile * 16;
}

template <WeightFormat kFormat, class Warp>
class QgemmP {
 public:
  static constexpr PrefillShape kShape = PrefillShapeOf(kFormat);

  INFERD_HD QgemmP(
      const QgemmArgs& args, Warp& warp, int warp_index, int64_t row_group, int64_t token_group)
      : args_(args),
        warp_(warp),
        token_warp_(warp_index % kPrefillTokenWarps),
        first_tile_((row_group * kPrefillRowWarps + warp_index / kPrefillTokenWarps) *
                    kPrefillRowTiles),
        first_token_(args.first_token + token_group * kShape.TokensPerCta() +
                     token_warp_ * kShape.token_tiles * kTileTokens) {
    ClearSums(warp_, sums_);
  }

  // The warp's weights of a block, ahead of their use.
  INFERD_HD void Load(int64_t block) {
    warp_.Each([&](int lane, int i) {
      INFERD_UNROLL
      for (int row = 0; row < kPrefillRowTiles; ++row) {
        const int64_t last = NumTiles(args_.n) - 1;
        const int64_t tile = first_tile_ + row < last ? first_tile_ + row : last;
        LoadRecord<kFormat>(args_.weights + tile * kFormat.TileBytes(args_.k),
                            NumBlocks(args_.k),
                            block,
                            lane,
                            next_.tile[row][i]);
      }
    });
  }

  // Whether there are registers for two blocks of weights at a time: not beside minima, groups of
  // 16, or, as the compiler counts on sm_100 and later, sums of eight token tiles.
  static constexpr bool HoldsTwoBlocks() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
    if (kShape.token_tiles == 8) {
      return false;
    }
#endif
    return !kFormat.HasMinimum() && kFormat.group != 16;
  }

  // The block that was loaded, with its activations in `stage`; then loads `following` if it
  // exists.
  INFERD_HD void Multiply(const uint8_t* stage, int64_t following) {
    const uint8_t* x = stage + token_warp_ * kShape.token_tiles * kActivationBlockBytes;
    const bool more = following < NumBlocks(args_.k);
    if constexpr (!HoldsTwoBlocks()) {
      MultiplyBlock<kFormat, kPrefillRowTiles, kShape.token_tiles>(
          warp_, next_.tile, x, kActivationBlockBytes, kShape.token_tiles - 1, sums_);
      if (more) {
        Load(following);
      }
    } else {
      Records now = next_;
      if (more) {
        Load(following);
      }
      MultiplyBlock<kFormat, kPrefillRowTiles, kShape.token_tiles>(
          warp_, now.tile, x, kActivationBlockBytes, kShape.token_tiles - 1, sums_);
    }
  }

  INFERD_HD void Finish() {
    warp_.Each([&](int lane, int i) {
      INFERD_UNROLL
      for (int row = 0; row < kPrefillRowTiles; ++row) {
        INFERD_UNROLL
        for (int token = 0; token < kShape.token_tiles; ++token) {
          if (first_tile_ + row < NumTiles(args_.n)) {
            FinishTile(args_,
                       first_tile_ + row,
                       first_token_ + token * kTileTokens,
                       lane,
                       sums_.tile[row][token][i]);
          }
        }
      }
    });
  }

 private:
  struct Records {
    typename Warp::template PerLane<LaneRecord<kFormat>> tile[kPrefillRowTiles];
  };

  const QgemmArgs& args_;
  Warp& warp_;
  int token_warp_;
  int64_t first_tile_;
  int64_t first_token_;
  Records next_;
  WarpSums<Warp, kPrefillRowTiles, kShape.token_tiles> sums_;
};

}  // namespace inferd::cuda_internal
