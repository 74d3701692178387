#include "cuda/pack_gguf.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/check.h"
#include "base/half.h"
#include "model/dequantize.h"
#include "model/quant_block.h"

namespace inferd::cuda_internal {
namespace {

// What a stored code is subtracted to make the integer that 8-bit codes are.
int CodeOffset(QuantFormat format) {
  switch (format) {
    case QuantFormat::kQ5_0:
      return 16;
    case QuantFormat::kQ8_0:
      return 128;
    case QuantFormat::kQ6_K:
      return 32;
    default:
      return 0;
  }
}

// 32 values, one group.
void CopyPlainBlock(QuantFormat format, const QuantBlock& block, int group, RowBlock& out) {
  const int offset = CodeOffset(format);
  for (int i = 0; i < 32; ++i) {
    out.codes[32 * group + i] = static_cast<uint8_t>(block.codes[static_cast<size_t>(i)] - offset);
  }
  out.scale[group] = block.d;
  out.minimum[group] = block.d_minimum;
}

// Half of a block of 256.
void CopySuperBlock(QuantFormat format, const QuantBlock& block, int half, RowBlock& out) {
  const int offset = CodeOffset(format);
  const int groups = kBlockValues / Info(format).group_values;
  for (int i = 0; i < kBlockValues; ++i) {
    out.codes[i] =
        static_cast<uint8_t>(block.codes[static_cast<size_t>(kBlockValues * half + i)] - offset);
  }
  for (int g = 0; g < groups; ++g) {
    const auto source = static_cast<size_t>(groups * half + g);
    const bool nibbles = format == QuantFormat::kQ2_K;
    const uint8_t scale = block.scales[source];
    out.scale[g] = nibbles ? uint16_t(scale & 15) : scale;
    out.minimum[g] = nibbles ? uint16_t(scale >> 4) : block.minima[source];
  }
  out.d = block.d;
  out.d_minimum = block.d_minimum;
}

// The integers of a run of values that share a scale.
struct Run {
  int least = 0;
  int most = 0;
  uint16_t scale = 0;
  bool shared = false;  // whether it is one scale
};

// The zero with which the run's integers are codes from 0 to 15, or -1.
int ZeroOf(const Run& run) {
  const int zero = std::max(0, -run.least);
  return zero < 16 && run.most + zero < 16 ? zero : -1;
}

// Values [first, first + count) of a row of Q4_0 or Q5_0, count a multiple of 32 and cut at the
// row's end.
Run ReadRun(const TensorView& tensor, int64_t row, int64_t first, int64_t count) {
  const QuantFormatInfo& info = Info(tensor.format);
  const auto* bytes = reinterpret_cast<const uint8_t*>(tensor.data.data()) +
                      row * RowBytes(tensor.format, tensor.cols);
  const int offset = tensor.format == QuantFormat::kQ4_0 ? 8 : 16;
  Run run{.least = 16, .most = -17, .scale = 0, .shared = true};
  QuantBlock stored{};
  for (int64_t i = first / 32; i < std::min(first + count, tensor.cols) / 32; ++i) {
    ReadQuantBlock(tensor.format, bytes + i * info.block_bytes, stored);
    run.shared = run.shared && (i == first / 32 || stored.d == run.scale);
    run.scale = stored.d;
    for (int c = 0; c < 32; ++c) {
      const int integer = stored.codes[static_cast<size_t>(c)] - offset;
      run.least = std::min(run.least, integer);
      run.most = std::max(run.most, integer);
    }
  }
  return run;
}

bool IsInt4In(const TensorView& tensor, int group) {
  for (int64_t row = 0; row < tensor.rows; ++row) {
    for (int64_t first = 0; first < tensor.cols; first += group) {
      const Run run = ReadRun(tensor, row, first, group);
      if (!run.shared || (tensor.format == QuantFormat::kQ5_0 && ZeroOf(run) < 0)) {
        return false;
      }
    }
  }
  return true;
}

// A block of such a tensor in an int4 format of wider groups or with zeros.
RowBlock ReadInt4(const TensorView& tensor,
                  const WeightFormat& format,
                  int64_t row,
                  int64_t block) {
  RowBlock out;
  for (int g = 0; g < format.GroupsPerBlock(); ++g) {
    const int64_t first = block * kBlockValues + g * format.group;
    if (first >= tensor.cols) {
      break;
    }
    const Run run = ReadRun(tensor, row, first, format.group);
    out.scale[g] = run.scale;
    out.zero[g] = format.zero == ZeroKind::kZeroPoint ? static_cast<uint8_t>(ZeroOf(run)) : 0;
    const int to_code = format.zero == ZeroKind::kZeroPoint ? ZeroOf(run) - 16 : 0;
    const QuantFormatInfo& info = Info(tensor.format);
    const auto* bytes = reinterpret_cast<const uint8_t*>(tensor.data.data()) +
                        row * RowBytes(tensor.format, tensor.cols);
    QuantBlock stored{};
    for (int64_t i = 0; i < format.group && first + i < tensor.cols; i += 32) {
      ReadQuantBlock(tensor.format, bytes + (first + i) / 32 * info.block_bytes, stored);
      for (int64_t c = 0; c < 32; ++c) {
        out.codes[g * format.group + i + c] =
            static_cast<uint8_t>(stored.codes[static_cast<size_t>(c)] + to_code);
      }
    }
  }
  return out;
}

class RowReader {
 public:
  explicit RowReader(const TensorView& tensor) : tensor_(tensor), info_(Info(tensor.format)) {}

  RowBlock Read(int64_t row, int64_t block) const {
    const auto* bytes = reinterpret_cast<const uint8_t*>(tensor_.data.data()) +
                        row * RowBytes(tensor_.format, tensor_.cols);
    RowBlock out;
    QuantBlock stored{};
    if (info_.block_values == 256) {
      ReadQuantBlock(tensor_.format, bytes + block / 2 * info_.block_bytes, stored);
      CopySuperBlock(tensor_.format, stored, static_cast<int>(block % 2), out);
      return out;
    }
    const int64_t count = tensor_.cols / 32;
    for (int64_t i = 4 * block; i < std::min(4 * block + 4, count); ++i) {
      ReadQuantBlock(tensor_.format, bytes + i * info_.block_bytes, stored);
      CopyPlainBlock(tensor_.format, stored, static_cast<int>(i % 4), out);
    }
    return out;
  }

 private:
  const TensorView& tensor_;
  const QuantFormatInfo& info_;
};

Status CheckShape(const TensorView& tensor) {
  if (tensor.rows < 1 || tensor.cols < 1 || tensor.rows > PackedWeights::kRowsMax ||
      tensor.cols > PackedWeights::kColsMax) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "tensor %s [%d, %d]: too large to be packed for a GPU",
                  tensor.name,
                  tensor.rows,
                  tensor.cols);
  }
  return OkStatus();
}

Status CheckParts(std::span<const TensorView> parts, RowOrder order) {
  CHECK(!parts.empty());
  const TensorView& first = parts.front();
  int64_t rows = 0;
  for (const TensorView& part : parts) {
    RETURN_IF_ERROR(CheckShape(part));
    rows += part.rows;
    if (!std::equal(first.column_order.begin(),
                    first.column_order.end(),
                    part.column_order.begin(),
                    part.column_order.end())) {
      return ErrorF(StatusCode::kInvalidArgument,
                    "tensors %s and %s have different orders of columns; pack them apart",
                    first.name,
                    part.name);
    }
    if (part.format != first.format || part.cols != first.cols) {
      return ErrorF(StatusCode::kInvalidArgument,
                    "tensors %s and %s have different formats or row lengths; pack them apart",
                    first.name,
                    part.name);
    }
  }
  if (order == RowOrder::kInterleaved &&
      (parts.size() != 2 || rows != 2 * first.rows || first.rows % 8 != 0)) {
    return ErrorF(
        StatusCode::kInvalidArgument,
        "tensor %s: only two matrices of equally many rows, a multiple of 8, can be interleaved",
        first.name);
  }
  if (rows > PackedWeights::kRowsMax) {
    return ErrorF(StatusCode::kInvalidArgument, "tensor %s: too many rows together", first.name);
  }
  return OkStatus();
}

}  // namespace

std::optional<WeightFormat> PackedFormatOf(QuantFormat format) {
  const QuantFormatInfo& info = Info(format);
  if (info.group_values == 1) {
    return std::nullopt;
  }
  WeightFormat packed{
      .bits = 8,
      .group = info.group_values,
      .zero = info.has_minimum ? ZeroKind::kMinimum : ZeroKind::kSymmetric,
      .scale = info.block_values == 256 ? ScaleKind::kSuperBlock : ScaleKind::kHalf};
  switch (format) {
    case QuantFormat::kQ2_K:
      packed.bits = 2;
      break;
    case QuantFormat::kQ3_K:
      packed.bits = 3;
      break;
    case QuantFormat::kQ4_0:
    case QuantFormat::kQ4_1:
    case QuantFormat::kQ4_K:
      packed.bits = 4;
      break;
    default:
      break;  // 5 and 6 bits use the tile of 8
  }
  return packed;
}

std::optional<WeightFormat> WidestInt4FormatOf(std::span<const TensorView> parts) {
  const QuantFormat source = parts.front().format;
  if (source != QuantFormat::kQ4_0 && source != QuantFormat::kQ5_0) {
    return std::nullopt;
  }
  const bool zeros = source == QuantFormat::kQ5_0;
  for (const int group : {128, 64, 32}) {
    if (group == 32 && !zeros) {
      break;  // Q4_0 itself
    }
    if (std::all_of(parts.begin(), parts.end(), [&](const TensorView& part) {
          return IsInt4In(part, group);
        })) {
      return WeightFormat{
          .bits = 4, .group = group, .zero = zeros ? ZeroKind::kZeroPoint : ZeroKind::kSymmetric};
    }
  }
  return std::nullopt;
}

StatusOr<PackedWeights> PackGguf(std::span<const TensorView> parts, RowOrder order) {
  RETURN_IF_ERROR(CheckParts(parts, order));
  const TensorView& first = parts.front();
  const auto int4 = WidestInt4FormatOf(parts);
  const auto format = int4 ? int4 : PackedFormatOf(first.format);
  if (!format) {
    return ErrorF(StatusCode::kUnimplemented,
                  "tensor %s: %s weights are packed as int8 only",
                  first.name,
                  Info(first.format).name);
  }
  int64_t rows = 0;
  for (const TensorView& part : parts) {
    rows += part.rows;
  }
  PackedWeights packed(*format, rows, first.cols);
  int64_t first_row = 0;
  for (size_t p = 0; p < parts.size(); ++p) {
    const RowReader reader(parts[p]);
    for (int64_t row = 0; row < parts[p].rows; ++row) {
      const int64_t to = order == RowOrder::kInterleaved ? InterleavedRow(static_cast<int>(p), row)
                                                         : first_row + row;
      for (int64_t block = 0; block < NumBlocks(first.cols); ++block) {
        packed.Write(
            to, block, int4 ? ReadInt4(parts[p], *int4, row, block) : reader.Read(row, block));
      }
    }
    first_row += parts[p].rows;
  }
  return packed;
}

StatusOr<PackedWeights> PackInt8(const TensorView& matrix) {
  RETURN_IF_ERROR(CheckShape(matrix));
  PackedWeights packed(kInt8Format, matrix.rows, matrix.cols);
  std::vector<float> values(static_cast<size_t>(matrix.cols));
  const auto row_bytes = static_cast<size_t>(RowBytes(matrix.format, matrix.cols));
  for (int64_t row = 0; row < matrix.rows; ++row) {
    inferd::DequantizeRow(matrix.format,
                          matrix.data.subspan(static_cast<size_t>(row) * row_bytes, row_bytes),
                          values);
    for (int64_t block = 0; block < NumBlocks(matrix.cols); ++block) {
      const auto begin = static_cast<size_t>(block * kBlockValues);
      const auto group =
          std::span(values).subspan(begin, std::min<size_t>(kBlockValues, values.size() - begin));
      float largest = 0.0f;
      bool finite = true;
      for (const float value : group) {
        finite = finite && std::isfinite(value);
        largest = std::max(largest, std::abs(value));
      }
      if (!finite || largest > 65504.0f * 127.0f) {
        return ErrorF(StatusCode::kInvalidArgument,
                      "tensor %s: row %d has a value that int8 cannot hold",
                      matrix.name,
                      row);
      }
      RowBlock out;
      out.scale[0] = FloatToHalf(largest / 127.0f);
      const float scale = HalfToFloat(out.scale[0]);
      for (size_t i = 0; i < group.size() && scale > 0.0f; ++i) {
        const float code = std::clamp(std::nearbyint(group[i] / scale), -127.0f, 127.0f);
        out.codes[i] = static_cast<uint8_t>(static_cast<int>(code));
      }
      packed.Write(row, block, out);
    }
  }
  return packed;
}

}  // namespace inferd::cuda_internal
