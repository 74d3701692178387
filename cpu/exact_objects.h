// What the exact device hands out: plain f32 memory behind the handles of backend/device.h.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include "backend/device.h"
#include "backend/kv_layout.h"
#include "base/check.h"

namespace inferd::cpu_internal {

// Zeroed f32 memory that the system gives page by page, as it is first touched.
class Floats {
 public:
  explicit Floats(int64_t size)
      : data_(static_cast<float*>(std::calloc(static_cast<size_t>(size), sizeof(float)))) {}
  bool ok() const { return data_ != nullptr; }
  float* at(int64_t offset) const { return data_.get() + offset; }

 private:
  struct Free {
    void operator()(float* pointer) const { std::free(pointer); }
  };
  std::unique_ptr<float, Free> data_;
};

class ExactTensor final : public DeviceTensor {
 public:
  ExactTensor(int32_t rows_max, int32_t cols)
      : rows_max_(rows_max), cols_(cols), values_(int64_t{rows_max} * cols) {}
  int32_t rows_max() const override { return rows_max_; }
  int32_t cols() const override { return cols_; }
  bool ok() const { return values_.ok(); }
  float* row(int32_t index) const {
    DCHECK(index >= 0 && index < rows_max_);
    return values_.at(int64_t{index} * cols_);
  }

 private:
  int32_t rows_max_;
  int32_t cols_;
  Floats values_;
};

class ExactVector final : public DeviceVector {
 public:
  explicit ExactVector(std::vector<float> v) : values(std::move(v)) {}
  const std::vector<float> values;
};

// [total_rows, in] f32; if gated the first half are gate rows, the second up rows.
class ExactLinear final : public DeviceLinear {
 public:
  int32_t in_features() const override { return in; }
  int32_t out_features() const override { return out; }
  int64_t size_bytes() const override {
    return static_cast<int64_t>((weights.size() + bias.size()) * sizeof(float));
  }
  const float* row(int64_t index) const { return weights.data() + index * in; }

  int32_t in = 0;
  int32_t out = 0;
  bool gated = false;
  Activation activation = Activation::kSilu;
  std::vector<float> weights;
  std::vector<float> bias;  // empty: none; else one for each row of weights
};

class ExactState final : public DeviceState {
 public:
  explicit ExactState(const ModelConfig& config) : layout(config) {}
  int64_t size_bytes() const override { return bytes; }

  KvLayout layout;
  std::vector<Floats> groups;
  std::vector<int64_t> units;
  int64_t bytes = 0;
};

template <typename To, typename From>
To& As(From& object) {
  auto* cast = dynamic_cast<std::remove_reference_t<To>*>(&object);
  CHECK(cast != nullptr);  // an object of another device
  return *cast;
}

}  // namespace inferd::cpu_internal
