// inferd_gpu_bench: how fast the linear ops are on this card, beside what its memory can do.
// Workloads: the four matrices of a Llama-3-8B layer, int4 in groups of 128; decode with 1 to 64
// tokens, prefill with 2,048. Weights are cold: copies that together exceed the second-level cache
// several times are used in turn. Times are medians of rounds, measured with events. Built with
// cuBLASLt it also measures bf16 on the same matrices, and prompts by way of it.
// Prints RESULT and SAMPLE lines. Run inferd_gpu_check first: speed of wrong bits means nothing.
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "cuda/prefill_path.h"
#include "cuda/qgemm_launch.h"
#include "tests/cuda/random_operands.h"
#ifdef INFERD_WITH_CUBLASLT
#include "cuda/prefill_cublas.h"
#include "tests/cuda/bfloat_matmul.h"
#endif

namespace inferd::cuda_internal {
namespace {

#ifndef INFERD_WITH_CUBLASLT  // a toolkit without the library: no such path, no bf16 peer
class PrefillCublas {};
#endif

constexpr WeightFormat kFormat{.bits = 4, .group = 128};
constexpr int64_t kColdBytes = int64_t{512} << 20;
constexpr int kRounds = 15;
constexpr int64_t kDecodeTokens[] = {1, 2, 4, 8, 16, 32, 64};
constexpr int64_t kPrefillTokens = 2048;

void Require(cudaError_t error, const char* what) {
  if (error != cudaSuccess) {
    std::fprintf(stderr, "gpu_bench: %s: %s\n", what, cudaGetErrorString(error));
    std::exit(2);
  }
}

// Seconds of one of `launches` calls of launch(i).
template <class F>
double RoundSeconds(int launches, F launch) {
  static cudaEvent_t begin = nullptr;
  static cudaEvent_t end = nullptr;
  if (begin == nullptr) {
    Require(cudaEventCreate(&begin), "event");
    Require(cudaEventCreate(&end), "event");
  }
  Require(cudaEventRecord(begin), "event");
  for (int i = 0; i < launches; ++i) {
    launch(i);
  }
  Require(cudaEventRecord(end), "event");
  Require(cudaEventSynchronize(end), "launch");
  float ms = 0;
  Require(cudaEventElapsedTime(&ms, begin, end), "event");
  return static_cast<double>(ms) / 1e3 / launches;
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Of rounds, after two to warm up.
template <class F>
double MedianSeconds(F round) {
  std::vector<double> seconds;
  for (int i = -2; i < kRounds; ++i) {
    const double one = round();
    if (i >= 0) {
      seconds.push_back(one);
    }
  }
  return Median(seconds);
}

__global__ void ReadKernel(const uint4* data, size_t count, uint32_t* out) {
  uint32_t sum = 0;
  for (size_t i = blockIdx.x * size_t{blockDim.x} + threadIdx.x; i < count;
       i += size_t{gridDim.x} * blockDim.x) {
    const uint4 v = data[i];
    sum ^= v.x ^ v.y ^ v.z ^ v.w;
  }
  if (sum == 0x12345678u) {  // never, in effect: keeps the loads
    *out = sum;
  }
}

double ReadBytesPerSecond() {
  constexpr size_t kBytes = size_t{2} << 30;
  uint4* data = nullptr;
  Require(cudaMalloc(&data, kBytes), "cudaMalloc");
  Require(cudaMemset(data, 0x5a, kBytes), "cudaMemset");
  const double seconds = MedianSeconds([&] {
    return RoundSeconds(4, [&](int) {
      ReadKernel<<<2048, 512>>>(data, kBytes / 16, reinterpret_cast<uint32_t*>(data));
    });
  });
  cudaFree(data);
  return static_cast<double>(kBytes) / seconds;
}

template <class T>
T* ToCard(const std::vector<T>& host, size_t copies = 1) {
  T* data = nullptr;
  const size_t bytes = host.size() * sizeof(T);
  Require(cudaMalloc(&data, bytes * copies + 16), "cudaMalloc");
  for (size_t i = 0; i < copies; ++i) {
    Require(cudaMemcpy(data + i * host.size(), host.data(), bytes, cudaMemcpyHostToDevice), "copy");
  }
  return data;
}

struct Matrix {
  const char* name;
  int64_t n;
  int64_t k;
};
constexpr Matrix kMatrices[] = {
    {"qkv", 6144, 4096}, {"o", 4096, 4096}, {"gateup", 28672, 4096}, {"down", 4096, 14336}};

struct Timing {
  double seconds = 0;
  double bytes_per_second = 0;
  double flops = 0;
};

#ifdef INFERD_WITH_CUBLASLT
cudaError_t LaunchPrefill(PrefillCublas& path, const QgemmArgs& args) {
  return path.Launch(kFormat, args, nullptr);
}
#else
cudaError_t LaunchPrefill(PrefillCublas&, const QgemmArgs&) { return cudaErrorNotSupported; }
#endif

// What prompts take on this card: the path of the table, else qgemm_p (null).
PrefillCublas* g_prefill = nullptr;  // NOLINT: one for the program

// One op with cold weights: copies of them in turn.
class QgemmTimer {
 public:
  QgemmTimer(const Matrix& matrix, GemmClass gemm_class, int64_t m)
      : matrix_(matrix), gemm_class_(gemm_class), m_(m) {
    const auto weights = RandomPackedWeights(kFormat, matrix.n, matrix.k, 1);
    bytes_ = static_cast<int64_t>(weights.size());
    copies_ = static_cast<size_t>(kColdBytes / bytes_ + 1);
    weights_ = ToCard(weights, copies_);
    x_ = ToCard(RandomPackedActivations(m, matrix.k, 2));
    y_ = ToCard(std::vector<uint16_t>(static_cast<size_t>(m * matrix.n)));
    const QgemmScratch scratch = QgemmScratchFor(matrix.n, m);
    workspace_ = ToCard(std::vector<uint8_t>(static_cast<size_t>(scratch.workspace_bytes)));
    tickets_ = ToCard(std::vector<uint8_t>(static_cast<size_t>(scratch.ticket_bytes)));
  }
  ~QgemmTimer() {
    for (void* memory : {static_cast<void*>(weights_),
                         static_cast<void*>(x_),
                         static_cast<void*>(y_),
                         static_cast<void*>(workspace_),
                         static_cast<void*>(tickets_)}) {
      cudaFree(memory);
    }
  }
  QgemmTimer(const QgemmTimer&) = delete;
  QgemmTimer& operator=(const QgemmTimer&) = delete;

  // Seconds a launch, over one round of all copies.
  double Round() {
    return RoundSeconds(static_cast<int>(copies_), [&](int i) { Launch(i); });
  }

  Timing Measure() {
    const double seconds = MedianSeconds([&] { return Round(); });
    const auto moved = static_cast<double>(bytes_ + 2 * m_ * (matrix_.n + matrix_.k));
    return {.seconds = seconds,
            .bytes_per_second = moved / seconds,
            .flops = 2.0 * static_cast<double>(m_ * matrix_.n * matrix_.k) / seconds};
  }

 private:
  void Launch(int copy) {
    const QgemmArgs args{.weights = weights_ + copy * bytes_,
                         .x = x_,
                         .n = matrix_.n,
                         .k = matrix_.k,
                         .end_token = m_,
                         .epilogue = Epilogue::kStoreBfloat,
                         .y = y_,
                         .workspace = reinterpret_cast<float*>(workspace_),
                         .tickets = reinterpret_cast<uint32_t*>(tickets_)};
    cudaError_t error = cudaSuccess;
    if (gemm_class_ == GemmClass::kDecode) {
      error = LaunchQgemmD(kFormat, args, nullptr);
    } else if (g_prefill == nullptr) {
      error = LaunchQgemmP(kFormat, args, nullptr);
    } else {
      error = LaunchPrefill(*g_prefill, args);
    }
    Require(error, "launch");
  }

  Matrix matrix_;
  GemmClass gemm_class_;
  int64_t m_;
  int64_t bytes_ = 0;
  size_t copies_ = 0;
  uint8_t* weights_ = nullptr;
  uint16_t* x_ = nullptr;
  uint16_t* y_ = nullptr;
  uint8_t* workspace_ = nullptr;
  uint8_t* tickets_ = nullptr;
};

#ifdef INFERD_WITH_CUBLASLT
// bf16 on the same matrices: the rate that prefill is measured by, and decode's peer.
double MeasureBfloat(const std::vector<Timing>& ours_by_matrix) {
  const double peak = 2.0 * 8192.0 * 8192.0 * 8192.0 /
                      MedianSeconds([timer = BfloatTimer(8192, 8192, 8192, 1)]() mutable {
                        return RoundSeconds(timer.copies(), [&](int i) { timer.Launch(i); });
                      });
  std::printf("RESULT gpu.bf16.tflops %.1f TFLOP/s\n", peak / 1e12);
  double worst = 1e9;
  size_t at = 0;
  for (const Matrix& matrix : kMatrices) {
    for (const int64_t m : kDecodeTokens) {
      BfloatTimer timer(matrix.n, matrix.k, m, kColdBytes / (2 * matrix.n * matrix.k) + 1);
      const double seconds = MedianSeconds(
          [&] { return RoundSeconds(timer.copies(), [&](int i) { timer.Launch(i); }); });
      const double ratio = seconds / ours_by_matrix[at++].seconds;
      worst = std::min(worst, ratio);
      std::printf("bf16 cuBLASLt %-6s m %2lld: qgemm_d is %.2f times as fast\n",
                  matrix.name,
                  static_cast<long long>(m),
                  ratio);
    }
  }
  std::printf("RESULT gpu.qgemm_d.vs_bf16 %.2f x\n", worst);
  return peak;
}
#endif

// The prompts' path on this card: cuBLASLt if the table has it and its self-test passes.
void ChoosePrefill(int capability) {
#ifdef INFERD_WITH_CUBLASLT
  std::vector<MatrixShape> shapes;
  for (const Matrix& matrix : kMatrices) {
    if (PrefillPathFor(capability, {matrix.n, matrix.k}) == PrefillPath::kCublasLt) {
      shapes.push_back({matrix.n, matrix.k});
    }
  }
  std::string why = "not in the table of this card";
  static std::unique_ptr<PrefillCublas> path;
  if (!shapes.empty()) {
    path = PrefillCublas::Create(shapes, kPrefillTokens, why);
  }
  g_prefill = path.get();
  std::printf("prefill by %s\n",
              path == nullptr ? ("qgemm_p: " + why).c_str() : path->name().c_str());
#else
  std::printf("prefill by qgemm_p: built without cuBLASLt (sm_%d)\n", capability);
#endif
}

[[maybe_unused]] int Run() {
  cudaDeviceProp card;
  if (cudaGetDeviceProperties(&card, 0) != cudaSuccess) {
    std::fprintf(stderr, "gpu_bench: there is no CUDA card here\n");
    return 2;
  }
  const int capability = 10 * card.major + card.minor;
  std::printf("WORKLOAD %s, sm_%d, cold weights, int4 groups of 128, Llama-3-8B's matrices\n",
              card.name,
              capability);
  const double bandwidth = ReadBytesPerSecond();
  std::printf("RESULT gpu.read_bandwidth %.0f GB/s\n", bandwidth / 1e9);
  ChoosePrefill(capability);
  double worst_gateup = 1e9;
  double worst_qkvo = 1e9;
  double prefill_flops = 0;
  std::vector<Timing> decode;
  for (const Matrix& matrix : kMatrices) {
    const std::string name = matrix.name;
    for (const int64_t m : kDecodeTokens) {
      const Timing timing =
          decode.emplace_back(QgemmTimer(matrix, GemmClass::kDecode, m).Measure());
      const double percent = 100 * timing.bytes_per_second / bandwidth;
      std::printf("qgemm_d %-6s m %2lld: %6.0f GB/s, %5.1f %% of what it reads, %6.1f TFLOP/s\n",
                  matrix.name,
                  static_cast<long long>(m),
                  timing.bytes_per_second / 1e9,
                  percent,
                  timing.flops / 1e12);
      if (m <= 8 && name == "gateup") {
        worst_gateup = std::min(worst_gateup, percent);
      } else if (m <= 8 && name != "down") {
        worst_qkvo = std::min(worst_qkvo, percent);
      }
      if (m == 64 && name == "gateup") {
        std::printf("RESULT gpu.qgemm.m64.tflops %.1f TFLOP/s\n", timing.flops / 1e12);
      }
    }
    const Timing prefill = QgemmTimer(matrix, GemmClass::kPrefill, kPrefillTokens).Measure();
    std::printf("prefill %-6s m 2048: %6.1f TFLOP/s\n", matrix.name, prefill.flops / 1e12);
    if (name == "gateup") {
      prefill_flops = prefill.flops;
      std::printf("RESULT gpu.qgemm_p.tflops %.1f TFLOP/s\n", prefill.flops / 1e12);
    }
  }
  std::printf("RESULT gpu.qgemm_d.gateup.pct_bandwidth %.1f %%\n", worst_gateup);
  std::printf("RESULT gpu.qgemm_d.qkvo.pct_bandwidth %.1f %%\n", worst_qkvo);
#ifdef INFERD_WITH_CUBLASLT
  std::printf("RESULT gpu.qgemm_p.pct_bf16 %.1f %%\n", 100 * prefill_flops / MeasureBfloat(decode));
#else
  std::printf("no bf16 rate: built without cuBLASLt (prefill %.0f)\n", prefill_flops);
#endif
  return 0;
}

}  // namespace
}  // namespace inferd::cuda_internal

#ifdef INFERD_GPU_BENCH_LIBRARY
// For tools/gpu_bench_peers.py, which times other people's kernels in the same process: seconds of
// a decode launch over one round of cold weights. One op is open at a time.
extern "C" double inferd_bench_round(int64_t n, int64_t k, int64_t m, int reopen) {
  using namespace inferd::cuda_internal;  // NOLINT
  static std::unique_ptr<QgemmTimer> timer;
  if (reopen != 0) {
    timer.reset();
    timer = std::make_unique<QgemmTimer>(Matrix{"", n, k}, GemmClass::kDecode, m);
  }
  return timer->Round();
}
#else
int main() { return inferd::cuda_internal::Run(); }
#endif
