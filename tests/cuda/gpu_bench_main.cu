// inferd_gpu_bench: how fast the linear ops are on this card, beside what its memory can do.
// Workloads: the four matrices of a Llama-3-8B layer, int4 in groups of 128; decode with 1 to 64
// tokens, prefill with 2,048. Weights are cold: copies that together exceed the second-level cache
// several times are used in turn. Times are medians of rounds, measured with events.
// Prints RESULT and SAMPLE lines. Run inferd_gpu_check first: speed of wrong bits means nothing.
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "cuda/qgemm_launch.h"
#include "tests/cuda/random_operands.h"

namespace inferd::cuda_internal {
namespace {

constexpr WeightFormat kFormat{.bits = 4, .group = 128};
constexpr int64_t kColdBytes = int64_t{512} << 20;
constexpr int kRounds = 15;

void Require(cudaError_t error, const char* what) {
  if (error != cudaSuccess) {
    std::fprintf(stderr, "gpu_bench: %s: %s\n", what, cudaGetErrorString(error));
    std::exit(2);
  }
}

// Median seconds of one of `launches` calls of launch(i), over rounds of all of them.
template <class F>
double MedianSeconds(int launches, F launch) {
  cudaEvent_t begin;
  cudaEvent_t end;
  Require(cudaEventCreate(&begin), "event");
  Require(cudaEventCreate(&end), "event");
  std::vector<double> seconds;
  for (int round = -2; round < kRounds; ++round) {  // two to warm up
    Require(cudaEventRecord(begin), "event");
    for (int i = 0; i < launches; ++i) {
      launch(i);
    }
    Require(cudaEventRecord(end), "event");
    Require(cudaEventSynchronize(end), "launch");
    float ms = 0;
    Require(cudaEventElapsedTime(&ms, begin, end), "event");
    if (round >= 0) {
      seconds.push_back(static_cast<double>(ms) / 1e3 / launches);
    }
  }
  std::sort(seconds.begin(), seconds.end());
  return seconds[seconds.size() / 2];
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
  const double seconds = MedianSeconds(4, [&](int) {
    ReadKernel<<<2048, 512>>>(data, kBytes / 16, reinterpret_cast<uint32_t*>(data));
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
  double bytes_per_second = 0;
  double flops = 0;
};

Timing Time(const Matrix& matrix, GemmClass gemm_class, int64_t m) {
  const auto weights = RandomPackedWeights(kFormat, matrix.n, matrix.k, 1);
  const auto bytes = static_cast<int64_t>(weights.size());
  const auto copies = static_cast<size_t>(kColdBytes / bytes + 1);
  uint8_t* card_weights = ToCard(weights, copies);
  uint16_t* card_x = ToCard(RandomPackedActivations(m, matrix.k, 2));
  uint16_t* card_y = ToCard(std::vector<uint16_t>(static_cast<size_t>(m * matrix.n)));
  const QgemmScratch scratch = QgemmScratchFor(matrix.n, m);
  uint8_t* workspace = ToCard(std::vector<uint8_t>(static_cast<size_t>(scratch.workspace_bytes)));
  uint8_t* tickets = ToCard(std::vector<uint8_t>(static_cast<size_t>(scratch.ticket_bytes)));
  const double seconds = MedianSeconds(static_cast<int>(copies), [&](int i) {
    const QgemmArgs args{.weights = card_weights + i * bytes,
                         .x = card_x,
                         .n = matrix.n,
                         .k = matrix.k,
                         .end_token = m,
                         .epilogue = Epilogue::kStoreBfloat,
                         .y = card_y,
                         .workspace = reinterpret_cast<float*>(workspace),
                         .tickets = reinterpret_cast<uint32_t*>(tickets)};
    Require(gemm_class == GemmClass::kDecode ? LaunchQgemmD(kFormat, args, nullptr)
                                             : LaunchQgemmP(kFormat, args, nullptr),
            "launch");
  });
  for (void* memory : {static_cast<void*>(card_weights),
                       static_cast<void*>(card_x),
                       static_cast<void*>(card_y),
                       static_cast<void*>(workspace),
                       static_cast<void*>(tickets)}) {
    cudaFree(memory);
  }
  const auto moved = static_cast<double>(bytes + 2 * m * (matrix.n + matrix.k));
  return {.bytes_per_second = moved / seconds,
          .flops = 2.0 * static_cast<double>(m * matrix.n * matrix.k) / seconds};
}

int Run() {
  cudaDeviceProp card;
  if (cudaGetDeviceProperties(&card, 0) != cudaSuccess) {
    std::fprintf(stderr, "gpu_bench: there is no CUDA card here\n");
    return 2;
  }
  std::printf("WORKLOAD %s, sm_%d, cold weights, int4 groups of 128, Llama-3-8B's matrices\n",
              card.name,
              10 * card.major + card.minor);
  const double bandwidth = ReadBytesPerSecond();
  std::printf("RESULT gpu.read_bandwidth %.0f GB/s\n", bandwidth / 1e9);
  double worst_gateup = 1e9;
  double worst_qkvo = 1e9;
  for (const Matrix& matrix : kMatrices) {
    const std::string name = matrix.name;
    for (const int64_t m : {1, 2, 4, 8, 16, 32, 64}) {
      const Timing timing = Time(matrix, GemmClass::kDecode, m);
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
    const Timing prefill = Time(matrix, GemmClass::kPrefill, 2048);
    std::printf("qgemm_p %-6s m 2048: %6.1f TFLOP/s\n", matrix.name, prefill.flops / 1e12);
    if (name == "gateup") {
      std::printf("RESULT gpu.qgemm_p.tflops %.1f TFLOP/s\n", prefill.flops / 1e12);
    }
  }
  std::printf("RESULT gpu.qgemm_d.gateup.pct_bandwidth %.1f %%\n", worst_gateup);
  std::printf("RESULT gpu.qgemm_d.qkvo.pct_bandwidth %.1f %%\n", worst_qkvo);
  return 0;
}

}  // namespace
}  // namespace inferd::cuda_internal

int main() { return inferd::cuda_internal::Run(); }
