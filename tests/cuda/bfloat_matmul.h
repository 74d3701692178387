// bf16 by cuBLASLt as it likes best: the peer of the quantised ops, and the rate that prefill is
// measured by.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <utility>
#include <vector>

#include "tests/cuda/random_operands.h"

namespace inferd::cuda_internal {

// y [m, n] = x [m, k] * w [n, k], with `copies` of w in turn. Ends the program if the library
// fails.
class BfloatTimer {
 public:
  BfloatTimer(int64_t n, int64_t k, int64_t m, int64_t copies)
      : weight_values_(n * k), copies_(static_cast<int>(copies)) {
    Check(cublasLtCreate(&library_) == 0);
    constexpr cublasOperation_t kTranspose = CUBLAS_OP_T;
    Check(cublasLtMatmulDescCreate(&operation_, CUBLAS_COMPUTE_32F, CUDA_R_32F) == 0);
    Check(cublasLtMatmulDescSetAttribute(
              operation_, CUBLASLT_MATMUL_DESC_TRANSA, &kTranspose, sizeof kTranspose) == 0);
    Check(cublasLtMatrixLayoutCreate(&a_, CUDA_R_16BF, k, n, k) == 0);
    Check(cublasLtMatrixLayoutCreate(&b_, CUDA_R_16BF, k, m, k) == 0);
    Check(cublasLtMatrixLayoutCreate(&d_, CUDA_R_16BF, n, m, n) == 0);
    cublasLtMatmulPreference_t preference = nullptr;
    Check(cublasLtMatmulPreferenceCreate(&preference) == 0);
    Check(cublasLtMatmulPreferenceSetAttribute(preference,
                                               CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                               &kWorkspaceBytes,
                                               sizeof kWorkspaceBytes) == 0);
    int count = 0;
    Check(cublasLtMatmulAlgoGetHeuristic(
              library_, operation_, a_, b_, d_, d_, preference, 1, &best_, &count) == 0 &&
          count == 1);
    cublasLtMatmulPreferenceDestroy(preference);
    w_ = Random(weight_values_ * copies_);
    x_ = Random(k * m);
    y_ = Random(n * m);
    Check(cudaMalloc(&workspace_, kWorkspaceBytes) == cudaSuccess);
  }
  BfloatTimer(BfloatTimer&& other) noexcept
      : weight_values_(other.weight_values_),
        copies_(other.copies_),
        library_(std::exchange(other.library_, nullptr)),
        operation_(std::exchange(other.operation_, nullptr)),
        a_(std::exchange(other.a_, nullptr)),
        b_(std::exchange(other.b_, nullptr)),
        d_(std::exchange(other.d_, nullptr)),
        best_(other.best_),
        w_(std::exchange(other.w_, nullptr)),
        x_(std::exchange(other.x_, nullptr)),
        y_(std::exchange(other.y_, nullptr)),
        workspace_(std::exchange(other.workspace_, nullptr)) {}
  ~BfloatTimer() {
    if (library_ == nullptr) {
      return;
    }
    for (void* memory :
         {static_cast<void*>(w_), static_cast<void*>(x_), static_cast<void*>(y_), workspace_}) {
      cudaFree(memory);
    }
    cublasLtMatrixLayoutDestroy(d_);
    cublasLtMatrixLayoutDestroy(b_);
    cublasLtMatrixLayoutDestroy(a_);
    cublasLtMatmulDescDestroy(operation_);
    cublasLtDestroy(library_);
  }

  int copies() const { return copies_; }
  void Launch(int copy) {
    constexpr float kOne = 1.0f;
    constexpr float kZero = 0.0f;
    Check(cublasLtMatmul(library_,
                         operation_,
                         &kOne,
                         w_ + copy * weight_values_,
                         a_,
                         x_,
                         b_,
                         &kZero,
                         y_,
                         d_,
                         y_,
                         d_,
                         &best_.algo,
                         workspace_,
                         kWorkspaceBytes,
                         nullptr) == 0);
  }

 private:
  static constexpr size_t kWorkspaceBytes = size_t{32} << 20;

  static void Check(bool ok) {
    if (!ok) {
      std::fprintf(stderr, "gpu_bench: cuBLASLt, or memory for it, failed\n");
      std::exit(2);
    }
  }
  // Random values, repeated: zeros would run faster than real data do.
  static uint16_t* Random(int64_t count) {
    constexpr int64_t kPeriod = (int64_t{1} << 20) + 7;
    SplitMix64 random(3);
    std::vector<uint16_t> values(static_cast<size_t>(std::min(count, kPeriod)));
    for (uint16_t& value : values) {
      value = RandomBfloat(random, 4);
    }
    uint16_t* data = nullptr;
    Check(cudaMalloc(&data, static_cast<size_t>(count) * 2) == cudaSuccess);
    for (int64_t at = 0; at < count; at += kPeriod) {
      const auto bytes = static_cast<size_t>(std::min(kPeriod, count - at)) * 2;
      Check(cudaMemcpy(data + at, values.data(), bytes, cudaMemcpyHostToDevice) == cudaSuccess);
    }
    return data;
  }

  int64_t weight_values_;
  int copies_;
  cublasLtHandle_t library_ = nullptr;
  cublasLtMatmulDesc_t operation_ = nullptr;
  cublasLtMatrixLayout_t a_ = nullptr;
  cublasLtMatrixLayout_t b_ = nullptr;
  cublasLtMatrixLayout_t d_ = nullptr;
  cublasLtMatmulHeuristicResult_t best_{};
  uint16_t* w_ = nullptr;
  uint16_t* x_ = nullptr;
  uint16_t* y_ = nullptr;
  void* workspace_ = nullptr;
};

}  // namespace inferd::cuda_internal
