// Class P by cuBLASLt, for prompts on sm_90: a slice of the weight is dequantised to bf16 in the
// second-level cache and multiplied there, then the next. Plain CUDA: no absl here.
//
// cuBLASLt promises nothing about the order of its sums over different numbers of tokens, so one
// algorithm is pinned for each shape, without a workspace and without splitting K, and a self-test
// at start-up compares its rows over M bit by bit. If it fails for any shape there is no such path,
// and qgemm_p computes prompts. The library's version is part of the contract's name.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "cuda/prefill_path.h"
#include "cuda/qgemm_args.h"
#include "cuda/weight_layout.h"

namespace inferd::cuda_internal {

// Owns its scratch on the current card. One thread; launches are in order on one stream.
class PrefillCublas {
 public:
  // Pins and tests an algorithm for each shape whose table entry is kCublasLt. nullptr, and `why`,
  // if the library, the memory or a self-test fails. Takes seconds and blocks.
  //   tokens_max  the most tokens of a launch
  static std::unique_ptr<PrefillCublas> Create(std::span<const MatrixShape> shapes,
                                               int64_t tokens_max,
                                               std::string& why);
  ~PrefillCublas();
  PrefillCublas(const PrefillCublas&) = delete;
  PrefillCublas& operator=(const PrefillCublas&) = delete;

  // As LaunchQgemmP, for a shape that was given to Create.
  cudaError_t Launch(const WeightFormat& format, const QgemmArgs& args, cudaStream_t stream);
  // For CudaContractFacts::prefill: "cublaslt-130100".
  std::string name() const;

 private:
  PrefillCublas() = default;
  // Algorithms by rows of a slice and values of a row.
  using SliceShape = std::pair<int64_t, int64_t>;
  bool Pin(SliceShape shape, std::string& why);
  bool SelfTest(SliceShape shape, std::string& why);
  cublasStatus_t Multiply(SliceShape shape, int64_t tokens, cudaStream_t stream);

  cublasLtHandle_t library_ = nullptr;
  std::map<SliceShape, cublasLtMatmulAlgo_t> algorithms_;
  int64_t tokens_max_ = 0;
  uint16_t* weights_ = nullptr;  // [slice rows, K] bf16
  uint16_t* x_ = nullptr;        // [tokens_max, K] bf16
  float* sums_ = nullptr;        // [tokens_max, slice rows]
  float* expected_ = nullptr;    // of the self-test; freed after it
};

}  // namespace inferd::cuda_internal
