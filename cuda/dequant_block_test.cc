// Goal: what the cuBLASLt path multiplies are the packed weights, each rounded to bf16 once, each
// at its place; and its slices cover a matrix. Method: the kernel's own source with 32 lanes in an
// array, every format, against PackedWeights.
#include "cuda/dequant_block.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/half.h"
#include "base/random.h"
#include "cuda/packed_weights.h"
#include "cuda/prefill_path.h"
#include "cuda/qgemm_emulated.h"

namespace inferd::cuda_internal {
namespace {

PackedWeights RandomWeights(const WeightFormat& format, int64_t n, int64_t k) {
  SplitMix64 random(5);
  PackedWeights weights(format, n, k);
  for (int64_t row = 0; row < n; ++row) {
    for (int64_t block = 0; block < NumBlocks(k); ++block) {
      RowBlock values;
      for (uint8_t& code : values.codes) {
        code = static_cast<uint8_t>(random.Below(uint64_t{1} << format.bits));
      }
      for (int g = 0; g < format.GroupsPerBlock(); ++g) {
        const bool super = format.scale == ScaleKind::kSuperBlock;
        values.scale[g] = super ? static_cast<uint16_t>(random.Below(64))
                                : FloatToHalf(static_cast<float>(random.Unit()));
        values.minimum[g] = super ? static_cast<uint16_t>(random.Below(64))
                                  : FloatToHalf(static_cast<float>(random.Unit()));
        if (format.zero == ZeroKind::kZeroPoint) {
          values.zero[g] = static_cast<uint8_t>(random.Below(16));
        }
      }
      values.d = FloatToHalf(0.01f);
      values.d_minimum = FloatToHalf(0.02f);
      weights.Write(row, block, values);
    }
  }
  return weights;
}

template <WeightFormat kFormat>
void Check() {
  constexpr int64_t kN = 20;
  constexpr int64_t kK = 300;
  const PackedWeights weights = RandomWeights(kFormat, kN, kK);
  EmulatedWarp warp(TensorCoreClass::kHopper);
  const int64_t stride = PadK(kK);
  for (int64_t tile = 0; tile < 2; ++tile) {
    std::vector<uint16_t> rows(static_cast<size_t>(kTileRows * stride), uint16_t{0x7fc0});
    for (int64_t block = 0; block < NumBlocks(kK); ++block) {
      DequantBlock<kFormat>(
          warp, weights.Tile(tile).data(), NumBlocks(kK), block, rows.data(), stride);
    }
    for (int64_t r = 0; r < kTileRows && tile * kTileRows + r < kN; ++r) {
      const std::vector<float> expected = weights.DequantizeRow(tile * kTileRows + r);
      for (int64_t col = 0; col < kK; ++col) {
        ASSERT_EQ(rows[static_cast<size_t>(r * stride + col)],
                  FloatToBfloat(expected[static_cast<size_t>(col)]))
            << "bits " << kFormat.bits << " group " << kFormat.group << " tile " << tile << " row "
            << r << " column " << col;
      }
    }
  }
}

TEST(DequantBlock, GivesTheWeightsOfEveryFormat) {
#define QGEMM_FORMAT(name, bits_, group_, zero_, scale_) \
  Check<WeightFormat{                                    \
      .bits = bits_, .group = group_, .zero = ZeroKind::zero_, .scale = ScaleKind::scale_}>();
#include "cuda/qgemm_formats.inc"
#undef QGEMM_FORMAT
}

TEST(PrefillPath, IsATableOverCardAndShape) {
  EXPECT_EQ(PrefillPathFor(90, {4096, 4096}), PrefillPath::kCublasLt);
  EXPECT_EQ(PrefillPathFor(90, {512, 512}), PrefillPath::kQgemmP);
  for (const int capability : {80, 86, 89, 100, 120}) {
    EXPECT_EQ(PrefillPathFor(capability, {28672, 4096}), PrefillPath::kQgemmP) << capability;
  }
}

TEST(PrefillPath, SlicesAreWholePaddedRowsThatFit) {
  for (const MatrixShape shape :
       {MatrixShape{28672, 4096}, {4096, 14336}, {70, 100}, {64, 1 << 20}, {6144, 3584}}) {
    const int64_t rows = PrefillSliceRows(shape);
    EXPECT_EQ(rows % kPadRows, 0);
    EXPECT_GE(rows, kPadRows);
    EXPECT_LE(rows, PadN(shape.n));
    EXPECT_TRUE(rows == kPadRows || 2 * rows * PadK(shape.k) <= kPrefillSliceBytesMax);
  }
}

}  // namespace
}  // namespace inferd::cuda_internal
