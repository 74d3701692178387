#include "model/tensor_view.h"

#include "base/check.h"

namespace inferd {

int64_t RowBytes(QuantFormat format, int64_t cols) {
  const QuantFormatInfo& info = Info(format);
  CHECK(cols >= 0 && cols % info.block_values == 0);
  return cols / info.block_values * info.block_bytes;
}

TensorView RowRange(const TensorView& tensor, int64_t first, int64_t count) {
  CHECK(first >= 0 && count >= 0 && first <= tensor.rows && count <= tensor.rows - first);
  const auto row_bytes = static_cast<size_t>(RowBytes(tensor.format, tensor.cols));
  TensorView part = tensor;
  part.rows = count;
  part.data = tensor.data.subspan(static_cast<size_t>(first) * row_bytes,
                                  static_cast<size_t>(count) * row_bytes);
  return part;
}

}  // namespace inferd
