// The layout's index maths, exhaustively: every code bit has one place, the lanes' view and the
// matrix's view agree, loads of a warp are contiguous, planes of scales are permutations.
#include "cuda/weight_layout.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

namespace inferd::cuda_internal {
namespace {

constexpr int kWidths[] = {1, 2, 4, 8};

std::vector<WeightFormat> EveryFormat() {
  std::vector<WeightFormat> formats;
  for (const int bits : {2, 3, 4, 8}) {
    for (const int group : {16, 32, 64, 128}) {
      for (const ZeroKind zero : {ZeroKind::kSymmetric, ZeroKind::kZeroPoint, ZeroKind::kMinimum}) {
        for (const ScaleKind scale : {ScaleKind::kHalf, ScaleKind::kSuperBlock}) {
          const WeightFormat format{.bits = bits, .group = group, .zero = zero, .scale = scale};
          if (format.IsValid()) {
            formats.push_back(format);
          }
        }
      }
    }
  }
  return formats;
}

TEST(Planes, EveryBitOfEveryCodeHasItsOwnPlace) {
  for (const int width : kWidths) {
    std::set<int> bits;
    for (int row = 0; row < kTileRows; ++row) {
      for (int column = 0; column < kBlockValues; ++column) {
        const PlanePlace place = PlaceInPlane(width, row, column);
        ASSERT_EQ(place.byte % 4, 0);
        ASSERT_LE(place.bit + width, 32);
        for (int bit = 0; bit < width; ++bit) {
          bits.insert(8 * place.byte + place.bit + bit);
        }
      }
    }
    const int all = width * kTileRows * kBlockValues;
    EXPECT_EQ(bits.size(), static_cast<size_t>(all)) << width;
    EXPECT_EQ(*bits.rbegin(), all - 1) << width;
  }
}

// What a lane takes out of its words for a register of fragment A is the element that PlaceInA
// says the register holds.
TEST(Planes, LanesFindTheirOwnElements) {
  for (const int width : kWidths) {
    for (int lane = 0; lane < kWarpLanes; ++lane) {
      for (int step = 0; step < kStepsPerBlock; ++step) {
        for (int r = 0; r < 4; ++r) {
          for (int h = 0; h < 2; ++h) {
            const WordBit mine = CodeInWords(width, step, r, h);
            const MatrixPlace element = PlaceInA(lane, r, h);
            const PlanePlace place =
                PlaceInPlane(width, element.row, step * kStepValues + element.col);
            ASSERT_EQ(place.byte, WordAt(width, lane, mine.word));
            ASSERT_EQ(place.bit, mine.bit);
            ASSERT_LT(mine.word, WordsPerLane(width));
          }
          // One shift and one mask give both halves of a register.
          ASSERT_EQ(CodeInWords(width, step, r, 0).word, CodeInWords(width, step, r, 1).word);
          ASSERT_EQ(CodeInWords(width, step, r, 0).bit + 16, CodeInWords(width, step, r, 1).bit);
        }
      }
    }
  }
}

TEST(Planes, AWarpsLoadIsContiguous) {
  for (const int width : kWidths) {
    const int words = std::min(WordsPerLane(width), 4);  // of one load
    for (int load = 0; load < WordsPerLane(width) / words; ++load) {
      for (int lane = 0; lane < kWarpLanes; ++lane) {
        for (int word = 0; word < words; ++word) {
          const int at = load * kWarpLanes * words * 4 + (lane * words + word) * 4;
          ASSERT_EQ(WordAt(width, lane, load * words + word), at);
        }
      }
    }
  }
}

TEST(Records, PartsDoNotOverlapAndAreAligned) {
  EXPECT_EQ(EveryFormat().size(), 43u);
  for (const WeightFormat& format : EveryFormat()) {
    EXPECT_EQ(format.RecordBytes() % 32, 0);
    EXPECT_EQ(format.ScaleAt() % 16, 0);
    EXPECT_EQ(format.MinimumAt() % 16, 0);
    EXPECT_LE(format.ZeroAt() + format.ZeroBytes(), format.RecordBytes());
    std::set<int> scales;
    std::set<std::pair<int, int>> zeros;
    for (int row = 0; row < kTileRows; ++row) {
      for (int group = 0; group < format.GroupsPerBlock(); ++group) {
        scales.insert(ScaleIndex(format, row, group));
        zeros.insert({ZeroIndex(format, row, group), row / 8});
        // A lane reads its two rows and all groups in one piece.
        const int lane_first = ScaleIndex(format, row % 8, 0);
        EXPECT_LT(ScaleIndex(format, row, group) - lane_first, 2 * format.GroupsPerBlock());
      }
    }
    const int values = kTileRows * format.GroupsPerBlock();
    EXPECT_EQ(scales.size(), static_cast<size_t>(values));
    EXPECT_EQ(*scales.rbegin(), values - 1);
    EXPECT_EQ(zeros.size(), static_cast<size_t>(values));
    EXPECT_EQ(zeros.rbegin()->first, values / 2 - 1);
  }
}

TEST(Records, HaveTheSizesOfTheFormatPage) {
  constexpr WeightFormat kInt4G128{.bits = 4, .group = 128};
  static_assert(kInt4G128.RecordBytes() == 1056);
  static_assert(WeightFormat{.bits = 4, .group = 128, .zero = ZeroKind::kZeroPoint}.RecordBytes() ==
                1088);
  constexpr WeightFormat kQ4K{
      .bits = 4, .group = 32, .zero = ZeroKind::kMinimum, .scale = ScaleKind::kSuperBlock};
  static_assert(kQ4K.RecordBytes() == 1152);
  static_assert(kQ4K.TileBytes(4096) == 32 * 1152 + 16 * 64);
  constexpr WeightFormat kQ3K{.bits = 3, .group = 16, .scale = ScaleKind::kSuperBlock};
  static_assert(kQ3K.RecordBytes() == 896);
  static_assert(WeightFormat{.bits = 8, .group = 128}.RecordBytes() == 2080);
}

TEST(Interleave, GateAndUpShareALane) {
  std::set<int64_t> rows;
  for (int64_t row = 0; row < 64; ++row) {
    const int64_t gate = InterleavedRow(0, row);
    const int64_t up = InterleavedRow(1, row);
    EXPECT_EQ(gate / kTileRows, up / kTileRows);
    EXPECT_EQ(up % kTileRows, gate % kTileRows + 8);  // c0 and c2 of one lane
    rows.insert(gate);
    rows.insert(up);
  }
  EXPECT_EQ(rows.size(), 128u);
  EXPECT_EQ(*rows.rbegin(), 127);
}

}  // namespace
}  // namespace inferd::cuda_internal
