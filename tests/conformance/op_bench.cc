#include "tests/conformance/op_bench.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "base/check.h"
#include "base/random.h"

namespace inferd {

Matrix RandomMatrix(int32_t rows, int32_t cols, uint64_t seed) {
  SplitMix64 random(seed);
  Matrix matrix(rows, cols);
  for (float& value : matrix.values) {
    double sum = 0;
    for (int i = 0; i < 12; ++i) {
      sum += random.Unit();
    }
    value = static_cast<float>(sum - 6.0);
  }
  return matrix;
}

Matrix RandomInt8Matrix(int32_t rows, int32_t cols, uint64_t seed) {
  constexpr int32_t kGroup = 16;
  constexpr int32_t kPair = 32;  // both groups of 16 in a group of 32 have one scale
  SplitMix64 random(seed);
  Matrix matrix(rows, cols);
  for (int32_t row = 0; row < rows; ++row) {
    float scale = 1.0f;
    int32_t limit_at = 0;
    for (int32_t col = 0; col < cols; ++col) {
      if (col % kPair == 0) {
        scale = std::ldexp(1.0f, static_cast<int>(random.Below(5)) - 8);
      }
      if (col % kGroup == 0) {
        limit_at = col + static_cast<int32_t>(random.Below(kGroup));
        limit_at = std::min(limit_at, cols - 1);
      }
      const auto code = static_cast<int32_t>(random.Below(255)) - 127;
      const int32_t limit = code < 0 ? -127 : 127;
      matrix.at(row, col) = static_cast<float>(col == limit_at ? limit : code) * scale;
    }
  }
  return matrix;
}

double RelativeError(const Matrix& expected, const Matrix& actual) {
  if (expected.values.size() != actual.values.size()) {
    return std::numeric_limits<double>::infinity();
  }
  double squares = 0;
  double worst = 0;
  for (size_t i = 0; i < expected.values.size(); ++i) {
    const auto want = static_cast<double>(expected.values[i]);
    const double error = std::abs(static_cast<double>(actual.values[i]) - want);
    if (!std::isfinite(error)) {
      return std::numeric_limits<double>::infinity();
    }
    squares += want * want;
    worst = std::max(worst, error);
  }
  const double rms = std::sqrt(squares / static_cast<double>(expected.values.size()));
  return rms > 0 ? worst / rms : worst;
}

OwnedTensor::OwnedTensor(const Matrix& matrix) : bytes(matrix.values.size() * sizeof(float), '\0') {
  std::memcpy(bytes.data(), matrix.values.data(), bytes.size());
  view = {.name = "fed",
          .format = QuantFormat::kF32,
          .rows = matrix.rows,
          .cols = matrix.cols,
          .data = std::as_bytes(std::span(bytes))};
}

OwnedTensor::OwnedTensor(QuantFormat format, int64_t rows, int64_t cols, uint64_t seed)
    : bytes(static_cast<size_t>(rows * RowBytes(format, cols)), '\0') {
  FillRandomBlocks(
      format, {.seed = seed, .stddev = 0.5f}, std::as_writable_bytes(std::span(bytes)));
  view = {.name = std::string(Info(format).name),
          .format = format,
          .rows = rows,
          .cols = cols,
          .data = std::as_bytes(std::span(bytes))};
}

void OpBench::BeginStep(int32_t rows) {
  ForwardBatch batch;
  batch.tokens.assign(static_cast<size_t>(rows), 0);
  batch.positions.resize(static_cast<size_t>(rows));
  std::iota(batch.positions.begin(), batch.positions.end(), 0);
  batch.sequences = {{.first_row = 0, .n_rows = rows, .start = 0}};
  batch.logit_rows.resize(static_cast<size_t>(rows));
  std::iota(batch.logit_rows.begin(), batch.logit_rows.end(), 0);
  BeginStep(std::move(batch));
}

void OpBench::BeginStep(ForwardBatch batch) {
  batch_ = std::move(batch);
  std::iota(batch_.tokens.begin(), batch_.tokens.end(), 0);
  device_.BeginStep(batch_);
}

std::unique_ptr<DeviceTensor> OpBench::Feed(const Matrix& matrix) {
  CHECK(matrix.rows == batch_.n_rows());
  const OwnedTensor table(matrix);
  const auto linear = Load({.parts = {table.view}, .biases = {}});
  auto tensor = Empty(matrix.cols);
  device_.Embed(*linear, 1.0f, *tensor);
  CHECK(device_.Synchronize().ok());
  return tensor;
}

std::unique_ptr<DeviceTensor> OpBench::Empty(int32_t cols) {
  auto tensor = device_.AllocateTensor(batch_.n_rows(), cols);
  CHECK(tensor.ok());
  return *std::move(tensor);
}

Matrix OpBench::Read(const DeviceTensor& tensor, int32_t rows) {
  CHECK(device_.Synchronize().ok());
  Matrix matrix(rows, tensor.cols());
  for (int32_t row = 0; row < rows; ++row) {
    device_.ReadRow(tensor,
                    row,
                    std::span(matrix.values)
                        .subspan(static_cast<size_t>(row) * static_cast<size_t>(matrix.cols),
                                 static_cast<size_t>(matrix.cols)));
  }
  return matrix;
}

std::unique_ptr<DeviceLinear> OpBench::Load(const LinearSpec& spec) {
  auto linear = device_.LoadLinear(spec);
  EXPECT_TRUE(linear.ok()) << Message(linear.status());
  CHECK(linear.ok());
  return *std::move(linear);
}

std::unique_ptr<DeviceVector> OpBench::Load(const std::vector<float>& values) {
  Matrix matrix(1, static_cast<int32_t>(values.size()));
  matrix.values = values;
  const OwnedTensor tensor(matrix);
  auto vector = device_.LoadVector(tensor.view);
  CHECK(vector.ok());
  return *std::move(vector);
}

}  // namespace inferd
