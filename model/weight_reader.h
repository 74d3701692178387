// WeightReader: gives tensors by name, checks their shape and type, and remembers which were
// taken, so that a tensor nobody understood is refused, never ignored.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "model/gguf.h"
#include "model/tensor_view.h"

namespace inferd {

// Refers to the Gguf, which outlives it and the views. One thread.
class WeightReader {
 public:
  explicit WeightReader(const Gguf& gguf) : gguf_(gguf) {}

  bool Has(std::string_view name) const { return gguf_.FindTensor(name) != nullptr; }

  // A matrix [rows, cols]. kInvalidArgument if absent or of another shape (saying both),
  // kUnimplemented for a type that is not read.
  StatusOr<TensorView> Matrix(const std::string& name, int64_t rows, int64_t cols);
  // A row [1, cols] of F32, F16 or BF16 (norms, biases, factors).
  StatusOr<TensorView> Vector(const std::string& name, int64_t cols);
  // The same; an empty view if absent.
  StatusOr<TensorView> OptionalVector(const std::string& name, int64_t cols);
  // The values of a Vector.
  StatusOr<std::vector<float>> Values(const std::string& name, int64_t cols);
  // The tensor holds nothing that the forward pass needs.
  void Ignore(const std::string& name) { understood_.insert(name); }

  // kUnimplemented naming the first tensor of the file that nobody asked for.
  Status CheckAllUnderstood() const;

 private:
  const Gguf& gguf_;
  std::set<std::string, std::less<>> understood_;
};

}  // namespace inferd
