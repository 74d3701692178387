// From packed weights to bf16 rows: what the cuBLASLt path of class P multiplies. One source for
// the card and for the host, like qgemm_warp.h.
#pragma once

#include "cuda/qgemm_warp.h"

namespace inferd::cuda_internal {

INFERD_HD float LowBfloat(uint32_t pair) { return FloatFromBits(pair << 16); }
INFERD_HD float HighBfloat(uint32_t pair) { return FloatFromBits(pair & 0xffff0000u); }

// One record: 16 rows of 128 weights, each scale * integer (+ minimum) in f32, then rounded once.
//   tile    first byte of the tile; `blocks` records
//   rows    bf16 [16, stride], 4-byte aligned; this block's columns begin at 128 * block
template <WeightFormat kFormat, class Warp>
INFERD_HD void DequantBlock(Warp& warp,
                            const uint8_t* tile,
                            int64_t blocks,
                            int64_t block,
                            uint16_t* rows,
                            int64_t stride) {
  constexpr int kSteps = ChunkSteps<kFormat, 1>();
  warp.Each([&](int lane, int /*slot*/) {
    LaneRecord<kFormat> record;
    LoadRecord<kFormat>(tile, blocks, block, lane, record);
    INFERD_UNROLL
    for (int chunk = 0; chunk < kStepsPerBlock / kSteps; ++chunk) {
      LaneScales<kFormat, kSteps> scales;
      ReadScales<kFormat, kSteps>(record, chunk, scales);
      INFERD_UNROLL
      for (int i = 0; i < kSteps; ++i) {
        const int step = chunk * kSteps + i;
        const int group = i / kFormat.StepsPerGroup();
        INFERD_UNROLL
        for (int r = 0; r < 4; ++r) {
          const uint32_t integers = IntegerPair<kFormat>(record, step, r);
          float low = Mul(scales.scale[group][r % 2], LowBfloat(integers));
          float high = Mul(scales.scale[group][r % 2], HighBfloat(integers));
          if constexpr (kFormat.HasMinimum()) {
            low = Add(low, scales.minimum[group][r % 2]);
            high = Add(high, scales.minimum[group][r % 2]);
          }
          const MatrixPlace place = PlaceInA(lane, r, 0);
          const int64_t at =
              place.row * stride + block * kBlockValues + step * kStepValues + place.col;
          *reinterpret_cast<uint32_t*>(rows + at) =
              uint32_t{BfloatFromFloat(low)} | uint32_t{BfloatFromFloat(high)} << 16;
        }
      }
    }
  });
}

}  // namespace inferd::cuda_internal
