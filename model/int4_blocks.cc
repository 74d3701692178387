#include "model/int4_blocks.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include "base/half.h"
#include "model/printable.h"

namespace inferd {
namespace {

constexpr int64_t kCodesPerWord = 8;
constexpr int64_t kBlockValues = 32;
constexpr int64_t kSizeMax = int64_t{1} << 24;
// Rows that are converted together: the words of 16 neighbours lie in one cache line.
constexpr int64_t kRowsTogether = 16;
constexpr int kSymmetricZero = 8;
// Which nibble of an AWQ word holds each of its eight outputs.
constexpr int kAwqNibbleOf[8] = {0, 4, 1, 5, 2, 6, 3, 7};

template <typename T>
T Load(const SafetensorsTensor& tensor, int64_t index) {
  T value;
  std::memcpy(&value, tensor.data.data() + static_cast<size_t>(index) * sizeof(T), sizeof(T));
  return value;
}

bool HasShape(const SafetensorsTensor& tensor, int64_t rows, int64_t cols) {
  return tensor.shape.size() == 2 && tensor.shape[0] == rows && tensor.shape[1] == cols;
}

// The f16 with the same value; false if there is none.
bool ExactHalf(SafetensorsType type, const SafetensorsTensor& scales, int64_t index, uint16_t& to) {
  if (type == SafetensorsType::kF16) {
    to = Load<uint16_t>(scales, index);
    return (to & 0x7c00u) != 0x7c00u;
  }
  const float value = type == SafetensorsType::kBF16 ? BfloatToFloat(Load<uint16_t>(scales, index))
                                                     : Load<float>(scales, index);
  to = FloatToHalf(value);
  return HalfToFloat(to) == value && (to & 0x7c00u) != 0x7c00u;
}

class Reader {
 public:
  explicit Reader(const Int4Source& source) : source_(source) {}

  StatusOr<Int4Blocks> Read() {
    RETURN_IF_ERROR(CheckShapes());
    RETURN_IF_ERROR(ReadScales());
    RETURN_IF_ERROR(ReadZeros());
    RETURN_IF_ERROR(ReadColumnOrder());
    Int4Blocks blocks;
    blocks.format = symmetric_ ? QuantFormat::kQ4_0 : QuantFormat::kQ5_0;
    blocks.rows = rows_;
    blocks.cols = cols_;
    const int64_t block_bytes = Info(blocks.format).block_bytes;
    blocks.data.resize(static_cast<size_t>(rows_ * (cols_ / kBlockValues) * block_bytes));
    for (int64_t first = 0; first < rows_; first += kRowsTogether) {
      for (int64_t block = 0; block < cols_ / kBlockValues; ++block) {
        for (int64_t row = first; row < std::min(first + kRowsTogether, rows_); ++row) {
          const int64_t at = (row * (cols_ / kBlockValues) + block) * block_bytes;
          WriteBlock(row, block, reinterpret_cast<uint8_t*>(blocks.data.data()) + at);
        }
      }
    }
    blocks.column_order = std::move(order_);
    return blocks;
  }

 private:
  Status Bad(StatusCode code, std::string_view problem) const {
    return ErrorF(code, "weights %s: %s", Quoted(source_.name), problem);
  }

  Status CheckShapes() {
    const SafetensorsTensor* codes = source_.codes;
    const SafetensorsTensor* zeros = source_.zeros;
    const SafetensorsTensor* scales = source_.scales;
    if (codes == nullptr || zeros == nullptr || scales == nullptr) {
      return Bad(StatusCode::kInvalidArgument, "one of qweight, qzeros and scales is absent");
    }
    if (codes->type != SafetensorsType::kI32 || zeros->type != SafetensorsType::kI32 ||
        codes->shape.size() != 2 || scales->shape.size() != 2) {
      return Bad(StatusCode::kInvalidArgument, "qweight or qzeros is no matrix of i32");
    }
    awq_ = source_.layout == Int4Layout::kAwq;
    if (codes->shape[0] > kSizeMax || codes->shape[1] > kSizeMax) {
      return Bad(StatusCode::kInvalidArgument, "too large");
    }
    cols_ = codes->shape[0] * (awq_ ? 1 : kCodesPerWord);
    rows_ = codes->shape[1] * (awq_ ? kCodesPerWord : 1);
    if (rows_ < 1 || cols_ < 1 || rows_ % kCodesPerWord != 0 || cols_ % kBlockValues != 0) {
      return Bad(StatusCode::kUnimplemented, "outputs in eights and inputs in 32s are served");
    }
    group_ = source_.group == -1 ? cols_ : source_.group;
    if (group_ < kBlockValues || group_ % kBlockValues != 0 || cols_ % group_ != 0) {
      return Bad(StatusCode::kUnimplemented,
                 "groups of whole 32s that divide the inputs are served");
    }
    groups_ = cols_ / group_;
    if (!HasShape(*scales, groups_, rows_) || !HasShape(*zeros, groups_, rows_ / kCodesPerWord)) {
      return Bad(StatusCode::kInvalidArgument, "qweight, qzeros and scales do not fit each other");
    }
    return OkStatus();
  }

  Status ReadScales() {
    const SafetensorsType type = source_.scales->type;
    if (type != SafetensorsType::kF16 && type != SafetensorsType::kBF16 &&
        type != SafetensorsType::kF32) {
      return Bad(StatusCode::kUnimplemented, "scales are neither F16, BF16 nor F32");
    }
    scales_.resize(static_cast<size_t>(groups_ * rows_));
    for (size_t i = 0; i < scales_.size(); ++i) {
      if (!ExactHalf(type, *source_.scales, static_cast<int64_t>(i), scales_[i])) {
        return Bad(StatusCode::kUnimplemented, "a scale that is no finite f16");
      }
    }
    return OkStatus();
  }

  static uint32_t Nibble(uint32_t word, int64_t index) { return word >> (4 * index) & 15u; }

  Status ReadZeros() {
    zeros_.resize(scales_.size());
    for (int64_t g = 0; g < groups_; ++g) {
      for (int64_t row = 0; row < rows_; ++row) {
        const auto word = Load<uint32_t>(*source_.zeros, (g * rows_ + row) / kCodesPerWord);
        const int64_t in_word = row % kCodesPerWord;
        uint32_t zero = Nibble(word, awq_ ? kAwqNibbleOf[in_word] : in_word);
        if (source_.layout == Int4Layout::kGptq && ++zero == 16) {
          return Bad(StatusCode::kUnimplemented,
                     "a stored zero of 15, which readers of GPTQ files disagree about");
        }
        zeros_[static_cast<size_t>(g * rows_ + row)] = static_cast<uint8_t>(zero);
        symmetric_ = symmetric_ && zero == kSymmetricZero;
      }
    }
    return OkStatus();
  }

  // Sorts the inputs by group, which keeps their order where the groups are runs already.
  Status ReadColumnOrder() {
    const SafetensorsTensor* index = source_.group_index;
    if (index == nullptr || index->data.empty()) {
      return OkStatus();
    }
    if (index->type != SafetensorsType::kI32 || index->shape != std::vector<int64_t>{cols_}) {
      return Bad(StatusCode::kInvalidArgument, "g_idx is not one i32 for each input");
    }
    std::vector<int32_t> group_of(static_cast<size_t>(cols_));
    std::vector<int64_t> sizes(static_cast<size_t>(groups_));
    for (int64_t i = 0; i < cols_; ++i) {
      const auto g = Load<int32_t>(*index, i);
      if (g < 0 || g >= groups_) {
        return Bad(StatusCode::kInvalidArgument, "g_idx names a group that is not there");
      }
      group_of[static_cast<size_t>(i)] = g;
      ++sizes[static_cast<size_t>(g)];
    }
    if (std::any_of(sizes.begin(), sizes.end(), [&](int64_t size) { return size != group_; })) {
      return Bad(StatusCode::kUnimplemented, "groups of unequal size");
    }
    std::vector<int32_t> order(static_cast<size_t>(cols_));
    std::iota(order.begin(), order.end(), 0);
    if (!std::is_sorted(group_of.begin(), group_of.end())) {
      std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
        return group_of[static_cast<size_t>(a)] < group_of[static_cast<size_t>(b)];
      });
      order_ = std::move(order);
    }
    return OkStatus();
  }

  uint32_t Code(int64_t row, int64_t col) const {
    if (awq_) {
      const auto word = Load<uint32_t>(*source_.codes, (col * rows_ + row) / kCodesPerWord);
      return Nibble(word, kAwqNibbleOf[row % kCodesPerWord]);
    }
    const auto word = Load<uint32_t>(*source_.codes, col / kCodesPerWord * rows_ + row);
    return Nibble(word, col % kCodesPerWord);
  }

  void WriteBlock(int64_t row, int64_t block, uint8_t* out) const {
    const auto group = static_cast<size_t>(block * kBlockValues / group_ * rows_ + row);
    // Q4_0 stores code - 8 + 8, Q5_0 code - zero + 16.
    const uint32_t offset = symmetric_ ? 0 : 16u - zeros_[group];
    uint32_t high = 0;
    uint8_t* nibbles = out + (symmetric_ ? 2 : 6);
    std::memset(nibbles, 0, 16);
    for (int64_t i = 0; i < kBlockValues; ++i) {
      const int64_t stored = block * kBlockValues + i;
      const uint32_t code =
          Code(row, order_.empty() ? stored : order_[static_cast<size_t>(stored)]) + offset;
      nibbles[i % 16] = static_cast<uint8_t>(nibbles[i % 16] | (code & 15u) << (i / 16 * 4));
      high |= (code >> 4) << i;
    }
    std::memcpy(out, &scales_[group], 2);
    if (!symmetric_) {
      std::memcpy(out + 2, &high, 4);
    }
  }

  const Int4Source& source_;
  bool awq_ = false;
  bool symmetric_ = true;
  int64_t rows_ = 0;
  int64_t cols_ = 0;
  int64_t group_ = 0;
  int64_t groups_ = 0;
  std::vector<uint16_t> scales_;  // [group][row] f16
  std::vector<uint8_t> zeros_;    // [group][row]
  std::vector<int32_t> order_;
};

}  // namespace

StatusOr<Int4Blocks> ReadInt4(const Int4Source& source) { return Reader(source).Read(); }

}  // namespace inferd
