// The numeric contract of the linear op as plain code: it defines the bits that every other
// instruction set must give (docs/design/0002, "Linear").
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/half.h"
#include "cpu/lanes_scalar.h"
#include "cpu/linear_kernels.h"
#include "cpu/linear_lanes.h"
#include "cpu/pack.h"

namespace inferd::cpu_internal {
namespace {

int ScalarBlockRows(int64_t rows) {
  return static_cast<int>(std::min<int64_t>(rows, kBlockRowsMax));
}

// Where the parts of one activation record lie.
struct ActivationRecord {
  const uint8_t* codes;  // int8 [R][32]
  const uint8_t* scales;
  const uint8_t* scaled_sums;

  ActivationRecord(const uint8_t* record, int block_rows, int groups)
      : codes(record),
        scales(record + block_rows * kRecordValues),
        scaled_sums(scales + 8 * block_rows * groups) {}
};

template <int kValues>
QuantizedGroup QuantizeGroup(const float* x, uint8_t* codes) {
  // As integers, magnitudes order as the floats do, with infinities and NaNs on top.
  uint32_t absmax_bits = 0;
  for (int i = 0; i < kValues; ++i) {
    absmax_bits = std::max(absmax_bits, std::bit_cast<uint32_t>(x[i]) & 0x7fffffffu);
  }
  const float absmax = std::bit_cast<float>(absmax_bits);
  QuantizedGroup group;
  if (absmax_bits >= 0x7f800000u || absmax < kNegligibleAbsmax) {
    std::fill_n(codes, kValues, uint8_t{0});
    group.scale = absmax_bits >= 0x7f800000u ? std::numeric_limits<float>::quiet_NaN() : 0.0f;
    return group;
  }
  group.scale = absmax / 127.0f;
  const float inverse = 127.0f / absmax;
  for (int i = 0; i < kValues; ++i) {
    const auto code = static_cast<int32_t>(std::nearbyintf(x[i] * inverse));
    codes[i] = static_cast<uint8_t>(code);
    group.sum += code;
  }
  return group;
}

void ScalarQuantize(const QuantizeRun& run) {
  if (run.group_values == 32) {
    QuantizeRows<32>(run, QuantizeGroup<32>);
  } else {
    QuantizeRows<16>(run, QuantizeGroup<16>);
  }
}

template <typename T>
T LoadAs(const uint8_t* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

// One record of one weight row times every row of the block: totals[m * 16].
void AddRecord(const TileFormat& format,
               const uint8_t* codes,
               const RecordScales& weight,
               const ActivationRecord& x,
               int block_rows,
               float* totals) {
  int16_t integers[kRecordValues];
  for (int i = 0; i < kRecordValues; ++i) {
    integers[i] = static_cast<int16_t>(codes[64 * (i / 4) + i % 4] - format.offset);
  }
  for (int m = 0; m < block_rows; ++m) {
    const auto* x_codes = reinterpret_cast<const int8_t*>(x.codes) + m * kRecordValues;
    float total = totals[m * kTileRows];
    for (int g = 0; g < format.GroupsPerRecord(); ++g) {
      int32_t dot = 0;
      for (int i = g * format.group_values; i < (g + 1) * format.group_values; ++i) {
        dot += int32_t{integers[i]} * int32_t{x_codes[i]};
      }
      const int at = 4 * (g * block_rows + m);
      const float scale = weight.scale[g] * LoadAs<float>(x.scales + at);
      total = std::fma(static_cast<float>(dot), scale, total);
      if (format.minimum) {
        total = std::fma(weight.minimum[g], LoadAs<float>(x.scaled_sums + at), total);
      }
    }
    totals[m * kTileRows] = total;
  }
}

void ScalarTiles(const TileRun& run) {
  const TileFormat format = TileFormatOf(run.format);
  const int groups = format.GroupsPerRecord();
  const int64_t record_bytes = ActivationRecordBytes(run.block_rows, groups);
  uint8_t codes[512];
  for (int t = 0; t < run.num_tiles; ++t) {
    const uint8_t* tile = run.tiles + t * run.tile_bytes;
    float* totals = run.out + t * run.block_rows * kTileRows;
    std::fill_n(totals, run.block_rows * kTileRows, 0.0f);
    for (int64_t r = 0; r < run.k / kRecordValues; ++r) {
      const ActivationRecord x(run.activations + r * record_bytes, run.block_rows, groups);
      UnpackCodes(format.code_bits, tile + RecordOffset(format, r), codes);
      for (int row = 0; row < kTileRows; ++row) {
        const RecordScales scales = ReadScales(format, tile, r, row);
        AddRecord(format, codes + 4 * row, scales, x, run.block_rows, totals + row);
      }
    }
  }
}

void ScalarFloatTile(const FloatTileRun& run) {
  FloatTileOf<ScalarLanes, 1>(run, [](const uint16_t* p) {
    return ScalarLanes::Make([&](int i) { return BfloatToFloat(p[i]); });
  });
}

void ScalarFinish(const FinishRun& run) { FinishRows<ScalarLanes>(run); }

}  // namespace

const LinearKernels& ScalarLinearKernels() {
  static constexpr LinearKernels kKernels = {
      .block_rows = ScalarBlockRows,
      .quantize = ScalarQuantize,
      .tiles = ScalarTiles,
      .float_tile = ScalarFloatTile,
      .finish = ScalarFinish,
  };
  return kKernels;
}

}  // namespace inferd::cpu_internal
