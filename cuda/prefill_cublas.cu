#include <algorithm>
#include <vector>

#include "cuda/activation_layout.h"
#include "cuda/dequant_block.h"
#include "cuda/prefill_cublas.h"
#include "cuda/qgemm_device.cuh"

namespace inferd::cuda_internal {
namespace {

constexpr int64_t kTestTokens[] = {8192, 2048, 512, 333, 64};  // the first is the reference

// Grid (tiles of the slice, groups of eight blocks): a warp takes one record.
template <uint32_t kFormatCode>
__global__ void __launch_bounds__(kCtaThreads)
    DequantKernel(const uint8_t* tiles, int64_t k, uint16_t* rows) {
  constexpr WeightFormat kFormat = FormatOf(kFormatCode);
  DeviceWarp warp;
  const int64_t block = int64_t{blockIdx.y} * 8 + threadIdx.x / kWarpLanes;
  if (block < NumBlocks(k)) {
    DequantBlock<kFormat>(warp,
                          tiles + blockIdx.x * kFormat.TileBytes(k),
                          NumBlocks(k),
                          block,
                          rows + int64_t{blockIdx.x} * kTileRows * PadK(k),
                          PadK(k));
  }
}

// From the order of fragment B to rows: a thread moves two values. Grid (pairs of columns, tokens).
__global__ void UnpackKernel(const uint16_t* x, int64_t k, int64_t first_token, uint16_t* rows) {
  const int64_t column = 2 * (int64_t{blockIdx.x} * blockDim.x + threadIdx.x);
  const int64_t token = blockIdx.y;
  if (column < PadK(k)) {
    const int64_t from = ActivationIndex(k, first_token + token, column);
    *reinterpret_cast<uint32_t*>(rows + token * PadK(k) + column) =
        *reinterpret_cast<const uint32_t*>(x + from);
  }
}

// The epilogue of one tile and eight tokens a warp. Grid (tiles of the slice, groups of 64 tokens).
__global__ void FinishKernel(const QgemmArgs args,
                             const float* sums,
                             int64_t first_tile,
                             int64_t slice_rows) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpLanes;
  const int64_t token = int64_t{blockIdx.y} * 64 + threadIdx.x / kWarpLanes * kTileTokens;
  const int64_t tokens = args.end_token - args.first_token;
  FragmentC c{};
#pragma unroll
  for (int r = 0; r < 4; ++r) {
    const MatrixPlace place = PlaceInC(lane, r);
    if (token + place.col < tokens) {
      c.r[r] = sums[(token + place.col) * slice_rows + int64_t{blockIdx.x} * kTileRows + place.row];
    }
  }
  if (token < tokens) {
    FinishTile(args, first_tile + blockIdx.x, args.first_token + token, lane, c);
  }
}

// bf16 of either sign between 2^-4 and 2^3, the same for the same index.
__global__ void FillKernel(uint16_t* values, int64_t count, uint32_t seed) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < count) {
    uint32_t hash = (static_cast<uint32_t>(i) + seed) * 2654435761u;
    hash = (hash ^ hash >> 15) * 2246822519u;
    hash ^= hash >> 13;
    values[i] = static_cast<uint16_t>((hash & 0x807fu) | (123u + (hash >> 8 & 7u)) << 7);
  }
}

__global__ void CompareKernel(const float* a, const float* b, int64_t count, uint32_t* different) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < count && BitsOfFloat(a[i]) != BitsOfFloat(b[i])) {
    atomicAdd(different, 1u);
  }
}

unsigned Blocks(int64_t count, int64_t each) {
  return static_cast<unsigned>((count + each - 1) / each);
}

template <WeightFormat kFormat>
void Dequantise(
    const QgemmArgs& args, int64_t first_tile, int64_t tiles, uint16_t* rows, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(tiles), Blocks(NumBlocks(args.k), 8));
  DequantKernel<CodeOf(kFormat)><<<grid, kCtaThreads, 0, stream>>>(
      args.weights + first_tile * kFormat.TileBytes(args.k), args.k, rows);
}

using DequantFunction = void (*)(const QgemmArgs&, int64_t, int64_t, uint16_t*, cudaStream_t);

DequantFunction FindDequantise(const WeightFormat& format) {
#define QGEMM_FORMAT(name, bits_, group_, zero_, scale_)                                      \
  {                                                                                           \
    constexpr WeightFormat kFormat{                                                           \
        .bits = bits_, .group = group_, .zero = ZeroKind::zero_, .scale = ScaleKind::scale_}; \
    if (format == kFormat) {                                                                  \
      return Dequantise<kFormat>;                                                             \
    }                                                                                         \
  }
#include "cuda/qgemm_formats.inc"
#undef QGEMM_FORMAT
  return nullptr;
}

// What describes sums [tokens, rows] = x [tokens, k] * weights [rows, k] to the library, whose
// matrices are column-major: D [rows, tokens] = A^T B.
class Problem {
 public:
  Problem(int64_t rows, int64_t k, int64_t tokens) {
    constexpr cublasOperation_t kTranspose = CUBLAS_OP_T;
    ok_ = cublasLtMatmulDescCreate(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F) == 0 &&
          cublasLtMatmulDescSetAttribute(
              operation, CUBLASLT_MATMUL_DESC_TRANSA, &kTranspose, sizeof kTranspose) == 0 &&
          cublasLtMatrixLayoutCreate(&a, CUDA_R_16BF, k, rows, k) == 0 &&
          cublasLtMatrixLayoutCreate(&b, CUDA_R_16BF, k, tokens, k) == 0 &&
          cublasLtMatrixLayoutCreate(&d, CUDA_R_32F, rows, tokens, rows) == 0;
  }
  ~Problem() {
    cublasLtMatrixLayoutDestroy(d);
    cublasLtMatrixLayoutDestroy(b);
    cublasLtMatrixLayoutDestroy(a);
    cublasLtMatmulDescDestroy(operation);
  }
  Problem(const Problem&) = delete;
  Problem& operator=(const Problem&) = delete;
  bool ok() const { return ok_; }

  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatrixLayout_t a = nullptr;
  cublasLtMatrixLayout_t b = nullptr;
  cublasLtMatrixLayout_t d = nullptr;

 private:
  bool ok_ = false;
};

bool SplitsK(const cublasLtMatmulAlgo_t& algorithm) {
  uint32_t splits = 0;
  size_t written = 0;
  return cublasLtMatmulAlgoConfigGetAttribute(
             &algorithm, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, &splits, sizeof splits, &written) != 0 ||
         splits > 1;
}

}  // namespace

std::unique_ptr<PrefillCublas> PrefillCublas::Create(std::span<const MatrixShape> shapes,
                                                     int64_t tokens_max,
                                                     std::string& why) {
  std::unique_ptr<PrefillCublas> path(new PrefillCublas());
  path->tokens_max_ = std::max(tokens_max, kTestTokens[0]);
  int64_t k_max = 0;
  int64_t rows_max = 0;
  int64_t weights_max = 0;
  for (const MatrixShape shape : shapes) {
    k_max = std::max(k_max, PadK(shape.k));
    rows_max = std::max(rows_max, PrefillSliceRows(shape));
    weights_max = std::max(weights_max, PrefillSliceRows(shape) * PadK(shape.k));
  }
  const auto allocate = [](auto*& memory, int64_t count) {
    return cudaMalloc(&memory, static_cast<size_t>(count) * sizeof *memory) == cudaSuccess;
  };
  if (shapes.empty() || cublasLtCreate(&path->library_) != 0 ||
      !allocate(path->weights_, weights_max) || !allocate(path->x_, path->tokens_max_ * k_max) ||
      !allocate(path->sums_, path->tokens_max_ * rows_max) ||
      !allocate(path->expected_, path->tokens_max_ * rows_max)) {
    why = "no cuBLASLt, or no memory for its scratch";
    return nullptr;
  }
  for (const MatrixShape shape : shapes) {
    const int64_t slice = PrefillSliceRows(shape);
    const int64_t last = PadN(shape.n) % slice;
    for (const int64_t rows : {slice, last}) {
      const SliceShape part{rows, PadK(shape.k)};
      if (rows > 0 && !path->algorithms_.contains(part) &&
          (!path->Pin(part, why) || !path->SelfTest(part, why))) {
        return nullptr;
      }
    }
  }
  cudaFree(path->expected_);
  path->expected_ = nullptr;
  return path;
}

PrefillCublas::~PrefillCublas() {
  cudaFree(expected_);
  cudaFree(sums_);
  cudaFree(x_);
  cudaFree(weights_);
  if (library_ != nullptr) {
    cublasLtDestroy(library_);
  }
}

bool PrefillCublas::Pin(SliceShape shape, std::string& why) {
  why = "cuBLASLt offers no algorithm that does not split K";
  const Problem problem(shape.first, shape.second, kTestTokens[1]);
  cublasLtMatmulPreference_t preference = nullptr;
  constexpr size_t kNoWorkspace = 0;
  constexpr uint32_t kNoReduction = CUBLASLT_REDUCTION_SCHEME_NONE;
  if (!problem.ok() || cublasLtMatmulPreferenceCreate(&preference) != 0) {
    return false;
  }
  cublasLtMatmulHeuristicResult_t found[16];
  int count = 0;
  const bool asked =
      cublasLtMatmulPreferenceSetAttribute(preference,
                                           CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                           &kNoWorkspace,
                                           sizeof kNoWorkspace) == 0 &&
      cublasLtMatmulPreferenceSetAttribute(preference,
                                           CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                           &kNoReduction,
                                           sizeof kNoReduction) == 0 &&
      cublasLtMatmulAlgoGetHeuristic(library_,
                                     problem.operation,
                                     problem.a,
                                     problem.b,
                                     problem.d,
                                     problem.d,
                                     preference,
                                     16,
                                     found,
                                     &count) == 0;
  cublasLtMatmulPreferenceDestroy(preference);
  for (int i = 0; asked && i < count; ++i) {
    if (found[i].state == 0 && !SplitsK(found[i].algo)) {
      algorithms_[shape] = found[i].algo;
      return true;
    }
  }
  return false;
}

cublasStatus_t PrefillCublas::Multiply(SliceShape shape, int64_t tokens, cudaStream_t stream) {
  const Problem problem(shape.first, shape.second, tokens);
  const auto algorithm = algorithms_.find(shape);
  if (!problem.ok() || algorithm == algorithms_.end()) {
    return CUBLAS_STATUS_NOT_SUPPORTED;
  }
  constexpr float kOne = 1.0f;
  constexpr float kZero = 0.0f;
  return cublasLtMatmul(library_,
                        problem.operation,
                        &kOne,
                        weights_,
                        problem.a,
                        x_,
                        problem.b,
                        &kZero,
                        sums_,
                        problem.d,
                        sums_,
                        problem.d,
                        &algorithm->second,
                        nullptr,
                        0,
                        stream);
}

bool PrefillCublas::SelfTest(SliceShape shape, std::string& why) {
  why = "cuBLASLt's rows depend on the number of tokens: " + std::to_string(shape.first) + " x " +
        std::to_string(shape.second);
  const int64_t weights = shape.first * shape.second;
  const int64_t x = kTestTokens[0] * shape.second;
  FillKernel<<<Blocks(weights, 256), 256>>>(weights_, weights, 1);
  FillKernel<<<Blocks(x, 256), 256>>>(x_, x, 2);
  uint32_t* different = nullptr;
  if (cudaMalloc(&different, sizeof *different) != cudaSuccess ||
      cudaMemset(different, 0, sizeof *different) != cudaSuccess) {
    return false;
  }
  bool ran = true;
  for (const int64_t tokens : kTestTokens) {
    ran = ran && Multiply(shape, tokens, nullptr) == CUBLAS_STATUS_SUCCESS;
    const int64_t sums = tokens * shape.first;
    if (tokens == kTestTokens[0]) {
      std::swap(sums_, expected_);
    } else {
      CompareKernel<<<Blocks(sums, 256), 256>>>(sums_, expected_, sums, different);
    }
  }
  uint32_t count = 1;
  ran = ran && cudaMemcpy(&count, different, sizeof count, cudaMemcpyDeviceToHost) == cudaSuccess;
  cudaFree(different);
  return ran && count == 0;
}

cudaError_t PrefillCublas::Launch(const WeightFormat& format,
                                  const QgemmArgs& args,
                                  cudaStream_t stream) {
  const DequantFunction dequantise = FindDequantise(format);
  const int64_t tokens = args.end_token - args.first_token;
  if (dequantise == nullptr || tokens < 1 || tokens > tokens_max_ ||
      args.first_token % kTileTokens != 0) {
    return cudaErrorInvalidValue;
  }
  const dim3 unpack(Blocks(PadK(args.k) / 2, 256), static_cast<unsigned>(tokens));
  UnpackKernel<<<unpack, 256, 0, stream>>>(args.x, args.k, args.first_token, x_);
  const int64_t slice = PrefillSliceRows({args.n, args.k});
  for (int64_t first = 0; first < PadN(args.n); first += slice) {
    const int64_t rows = std::min(slice, PadN(args.n) - first);
    dequantise(args, first / kTileRows, rows / kTileRows, weights_, stream);
    if (Multiply({rows, PadK(args.k)}, tokens, stream) != CUBLAS_STATUS_SUCCESS) {
      return cudaErrorInvalidValue;
    }
    const dim3 finish(static_cast<unsigned>(rows / kTileRows), Blocks(tokens, 64));
    FinishKernel<<<finish, kCtaThreads, 0, stream>>>(args, sums_, first / kTileRows, rows);
  }
  return cudaGetLastError();
}

std::string PrefillCublas::name() const {
  return "cublaslt-" + std::to_string(cublasLtGetVersion());
}

}  // namespace inferd::cuda_internal
