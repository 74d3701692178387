// OpBench: feeds matrices of a test's choice to the ops of a device and reads the results back.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "model/gguf_writer.h"
#include "tests/conformance/devices.h"

namespace inferd {

// [rows, cols] row-major; a test's own numbers.
struct Matrix {
  int32_t rows = 0;
  int32_t cols = 0;
  std::vector<float> values;

  Matrix() = default;
  Matrix(int32_t n_rows, int32_t n_cols)
      : rows(n_rows),
        cols(n_cols),
        values(static_cast<size_t>(n_rows) * static_cast<size_t>(n_cols)) {}
  float& at(int32_t row, int32_t col) {
    return values[static_cast<size_t>(row) * static_cast<size_t>(cols) + static_cast<size_t>(col)];
  }
  float at(int32_t row, int32_t col) const {
    return values[static_cast<size_t>(row) * static_cast<size_t>(cols) + static_cast<size_t>(col)];
  }
};

// About normal, standard deviation 1.
Matrix RandomMatrix(int32_t rows, int32_t cols, uint64_t seed);
// Integers in [-127, 127] times a power of two for each 16, one of them at the limit: symmetric
// int8 with a scale per 16 or per 32 holds them without loss.
Matrix RandomInt8Matrix(int32_t rows, int32_t cols, uint64_t seed);

// max |actual - expected| / rms(expected); infinity if a value is not finite or sizes differ.
double RelativeError(const Matrix& expected, const Matrix& actual);

// A tensor with its bytes.
struct OwnedTensor {
  std::string bytes;
  TensorView view;                             // points into bytes; moving the struct keeps them
  explicit OwnedTensor(const Matrix& matrix);  // F32
  OwnedTensor(QuantFormat format, int64_t rows, int64_t cols, uint64_t seed);
  OwnedTensor(OwnedTensor&&) = delete;
};

// One device under test. Construct for each test.
class OpBench {
 public:
  explicit OpBench(Device& device) : device_(device) {}

  Device& device() { return device_; }
  // Starts a step of `rows` rows at positions 0.. of one sequence, all of whose logits are wanted.
  void BeginStep(int32_t rows);
  // Starts a given step; rows are fed by their index whatever the batch's tokens are.
  void BeginStep(ForwardBatch batch);
  // A tensor on the device with these values, put there by Embed of an F32 table. The step must
  // have been begun with as many rows.
  std::unique_ptr<DeviceTensor> Feed(const Matrix& matrix);
  std::unique_ptr<DeviceTensor> Empty(int32_t cols);
  Matrix Read(const DeviceTensor& tensor, int32_t rows);
  std::unique_ptr<DeviceLinear> Load(const LinearSpec& spec);
  std::unique_ptr<DeviceVector> Load(const std::vector<float>& values);

 private:
  Device& device_;
  ForwardBatch batch_;
};

// The suites' fixture: a device by name; absent ones are skipped with the reason.
class DeviceTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    tested_ = OpenConformanceDevice(GetParam());
    if (tested_.device == nullptr) {
      GTEST_SKIP() << GetParam() << ": " << tested_.absent_because;
    }
  }
  Device& device() { return *tested_.device; }
  const ConformanceLimits& limits() const { return tested_.limits; }

 private:
  ConformanceDevice tested_;
};

// INSTANTIATE_TEST_SUITE_P's last argument for suites over device names.
inline std::string DeviceTestName(const ::testing::TestParamInfo<std::string>& test) {
  return test.param;
}

}  // namespace inferd
