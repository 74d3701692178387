#include "model/weight_reader.h"

#include <algorithm>

#include "model/dequantize.h"
#include "model/printable.h"

namespace inferd {
namespace {

std::string ShapeText(const std::vector<uint64_t>& dims) {
  std::string text = "[";
  for (size_t i = dims.size(); i-- > 0;) {
    text += std::to_string(dims[i]) + (i > 0 ? ", " : "]");
  }
  return text;
}

// True if the dims are cols, rows and then only ones.
bool IsShape(const std::vector<uint64_t>& dims, int64_t rows, int64_t cols) {
  const uint64_t second = dims.size() > 1 ? dims[1] : 1;
  return dims[0] == static_cast<uint64_t>(cols) && second == static_cast<uint64_t>(rows) &&
         std::all_of(dims.begin() + static_cast<ptrdiff_t>(std::min<size_t>(dims.size(), 2)),
                     dims.end(),
                     [](uint64_t dim) { return dim == 1; });
}

}  // namespace

StatusOr<TensorView> WeightReader::Matrix(const std::string& name, int64_t rows, int64_t cols) {
  const GgufTensor* tensor = gguf_.FindTensor(name);
  if (tensor == nullptr) {
    return ErrorF(StatusCode::kInvalidArgument, "tensor %s is absent", Quoted(name));
  }
  understood_.insert(name);
  if (!IsShape(tensor->dims, rows, cols)) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "tensor %s: shape %s, but the metadata asks for [%d, %d]",
                  Quoted(name),
                  ShapeText(tensor->dims),
                  rows,
                  cols);
  }
  const auto format = QuantFormatFromGgml(tensor->ggml_type);
  if (!format) {
    return ErrorF(StatusCode::kUnimplemented,
                  "tensor %s: type %s (%d) is not served",
                  Quoted(name),
                  GgmlTypeName(tensor->ggml_type),
                  tensor->ggml_type);
  }
  return TensorView{name, *format, rows, cols, tensor->data, tensor->column_order};
}

StatusOr<TensorView> WeightReader::Vector(const std::string& name, int64_t cols) {
  ASSIGN_OR_RETURN(TensorView vector, Matrix(name, 1, cols));
  if (Info(vector.format).block_values != 1) {
    return ErrorF(StatusCode::kUnimplemented,
                  "tensor %s: a vector in %s is not served; F32, F16 and BF16 are",
                  Quoted(name),
                  Info(vector.format).name);
  }
  return vector;
}

StatusOr<TensorView> WeightReader::OptionalVector(const std::string& name, int64_t cols) {
  if (!Has(name)) {
    return TensorView();
  }
  return Vector(name, cols);
}

StatusOr<std::vector<float>> WeightReader::Values(const std::string& name, int64_t cols) {
  ASSIGN_OR_RETURN(const TensorView vector, Vector(name, cols));
  return Dequantize(vector);
}

Status WeightReader::CheckAllUnderstood() const {
  for (const GgufTensor& tensor : gguf_.tensors()) {
    if (!understood_.contains(tensor.name)) {
      return ErrorF(StatusCode::kUnimplemented, "tensor %s is not understood", Quoted(tensor.name));
    }
  }
  return OkStatus();
}

}  // namespace inferd
