// How activations lie in memory for the linear ops: bf16 in the order of fragment B, so that a lane
// loads two steps of a token tile in 16 bytes and a warp 512 bytes in one piece. Whoever produces a
// linear op's input writes it so. A token's place does not depend on how many tokens there are.
//
//   [token tile of 8][block of 128][pair of steps, 4][lane, 32][step of pair, 2][register, 2][half]
//
// K is padded with zeros to whole blocks. Tokens past the last of a tile may hold anything.
#pragma once

#include "cuda/contract.h"
#include "cuda/fragments.h"

namespace inferd::cuda_internal {

inline constexpr int kPairBytes = kWarpLanes * 16;
inline constexpr int kActivationBlockBytes = kStepsPerBlock / 2 * kPairBytes;  // of a token tile

constexpr int64_t NumTokenTiles(int64_t m) { return (m + kTileTokens - 1) / kTileTokens; }
constexpr int64_t TokenTileBytes(int64_t k) { return NumBlocks(k) * kActivationBlockBytes; }

// Index of a bf16, of a matrix with rows of k values.
constexpr int64_t ActivationIndex(int64_t k, int64_t token, int64_t column) {
  const int64_t block = token / kTileTokens * NumBlocks(k) + column / kBlockValues;
  const auto step = static_cast<int>(column % kBlockValues / kStepValues);
  const auto i = static_cast<int>(column % kStepValues);
  const int lane = static_cast<int>(token % kTileTokens) * 4 + i % 8 / 2;
  return block * (kActivationBlockBytes / 2) + step / 2 * (kPairBytes / 2) + lane * 8 +
         step % 2 * 4 + i / 8 * 2 + i % 2;
}

}  // namespace inferd::cuda_internal
