// inferd_gpu_check: does the card do what the contract says? Everything that the host tests check
// with the emulated tensor core, once more with the real one, bit for bit:
//   1. mma.sync itself against the emulator, on random fragments of narrow and wide exponents;
//   2. qgemm_d and qgemm_p against their own source run on the host, every format.
// Prints RESULT lines; exit status 1 if a bit differs, 2 if there is no card. tools/gpu_check.sh
// builds and runs it: it needs nvcc and a card, nothing else.
#include <cuda_runtime.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "base/half.h"
#include "base/random.h"
#include "cuda/qgemm_device.cuh"
#include "cuda/qgemm_emulated.h"
#include "cuda/qgemm_launch.h"
#include "tests/cuda/random_operands.h"

namespace inferd::cuda_internal {
namespace {

void Require(cudaError_t error, const char* what) {
  if (error != cudaSuccess) {
    std::fprintf(stderr, "gpu_check: %s: %s\n", what, cudaGetErrorString(error));
    std::exit(2);
  }
}

// Device memory with the contents of a vector.
template <class T>
class OnCard {
 public:
  explicit OnCard(const std::vector<T>& host) : count_(host.size()) {
    Require(cudaMalloc(&data_, count_ * sizeof(T) + 16), "cudaMalloc");
    Require(cudaMemcpy(data_, host.data(), count_ * sizeof(T), cudaMemcpyHostToDevice), "copy in");
  }
  OnCard(const OnCard&) = delete;
  OnCard& operator=(const OnCard&) = delete;
  ~OnCard() { cudaFree(data_); }
  T* data() { return data_; }
  std::vector<T> Read() {
    std::vector<T> host(count_);
    Require(cudaMemcpy(host.data(), data_, count_ * sizeof(T), cudaMemcpyDeviceToHost), "copy out");
    return host;
  }

 private:
  T* data_ = nullptr;
  size_t count_;
};

__global__ void MmaKernel(const FragmentA* a, const FragmentB* b, FragmentC* c) {
  DeviceWarp warp;
  const unsigned at = blockIdx.x * kWarpLanes + threadIdx.x;
  const DeviceWarp::PerLane<FragmentA> mine_a{{a[at]}};
  const DeviceWarp::PerLane<FragmentB> mine_b{{b[at]}};
  DeviceWarp::PerLane<FragmentC> mine_c{{c[at]}};
  warp.Mma(mine_a, mine_b, mine_c);
  c[at] = mine_c[0];
}

uint32_t RandomPair(SplitMix64& random, int spread) {
  return RandomBfloat(random, spread) | uint32_t{RandomBfloat(random, spread)} << 16;
}

// Outputs of `count` random instructions that differ, NaNs compared as NaNs.
int64_t MmaMismatches(TensorCoreClass core, int count, int spread, uint64_t seed) {
  SplitMix64 random(seed);
  std::vector<FragmentA> a(static_cast<size_t>(count) * kWarpLanes);
  std::vector<FragmentB> b(a.size());
  std::vector<FragmentC> c(a.size());
  for (size_t i = 0; i < a.size(); ++i) {
    for (uint32_t& r : a[i].r) {
      r = RandomPair(random, spread);
    }
    for (uint32_t& r : b[i].r) {
      r = RandomPair(random, spread);
    }
    for (float& r : c[i].r) {
      r = random.Below(4) == 0 ? 0.0f : BfloatToFloat(RandomBfloat(random, 2 * spread));
    }
  }
  OnCard<FragmentA> card_a(a);
  OnCard<FragmentB> card_b(b);
  OnCard<FragmentC> card_c(c);
  MmaKernel<<<static_cast<unsigned>(count), kWarpLanes>>>(
      card_a.data(), card_b.data(), card_c.data());
  Require(cudaDeviceSynchronize(), "mma");
  const std::vector<FragmentC> got = card_c.Read();
  int64_t wrong = 0;
  for (int i = 0; i < count; ++i) {
    const size_t first = static_cast<size_t>(i) * kWarpLanes;
    Lanes<FragmentA, kWarpLanes> lanes_a;
    Lanes<FragmentB, kWarpLanes> lanes_b;
    Lanes<FragmentC, kWarpLanes> lanes_c;
    std::memcpy(lanes_a.lane, &a[first], sizeof lanes_a);
    std::memcpy(lanes_b.lane, &b[first], sizeof lanes_b);
    std::memcpy(lanes_c.lane, &c[first], sizeof lanes_c);
    EmulatedMma(core, lanes_a, lanes_b, lanes_c);
    for (int lane = 0; lane < kWarpLanes; ++lane) {
      wrong += !SameBits(lanes_c[lane].r, got[first + static_cast<size_t>(lane)].r, 4);
    }
  }
  return wrong;
}

// Rows that differ between card and host, for one format.
int64_t QgemmMismatches(TensorCoreClass core,
                        const WeightFormat& format,
                        GemmClass gemm_class,
                        int64_t m) {
  constexpr int64_t kN = 80;
  constexpr int64_t kK = 1280;
  const std::vector<uint8_t> weights = RandomPackedWeights(format, kN, kK, 7);
  const std::vector<uint16_t> x = RandomPackedActivations(m, kK, 8);
  std::vector<float> expected(static_cast<size_t>(m * kN));
  QgemmArgs args{.weights = weights.data(),
                 .x = x.data(),
                 .n = kN,
                 .k = kK,
                 .end_token = m,
                 .epilogue = Epilogue::kStoreFloat,
                 .y = expected.data()};
  const EmulationOptions options{.core = core};
  const bool decode = gemm_class == GemmClass::kDecode;
  decode ? EmulateQgemmD(format, args, options) : EmulateQgemmP(format, args, options);

  OnCard<uint8_t> card_weights(weights);
  OnCard<uint16_t> card_x(x);
  // Poisoned: every output has to be written.
  OnCard<uint32_t> card_y(std::vector<uint32_t>(expected.size(), 0xffffffffu));
  const QgemmScratch scratch = QgemmScratchFor(kN, m);
  OnCard<uint8_t> workspace(std::vector<uint8_t>(static_cast<size_t>(scratch.workspace_bytes)));
  OnCard<uint8_t> tickets(std::vector<uint8_t>(static_cast<size_t>(scratch.ticket_bytes)));
  args.weights = card_weights.data();
  args.x = card_x.data();
  args.y = card_y.data();
  args.workspace = reinterpret_cast<float*>(workspace.data());
  args.tickets = reinterpret_cast<uint32_t*>(tickets.data());
  int64_t wrong = 0;
  for (int run = 0; run < 3; ++run) {  // again: the tickets have to be back at zero
    Require(decode ? LaunchQgemmD(format, args, nullptr) : LaunchQgemmP(format, args, nullptr),
            "launch");
    Require(cudaDeviceSynchronize(), "qgemm");
    const std::vector<uint32_t> got = card_y.Read();
    std::vector<float> values(got.size());
    std::memcpy(values.data(), got.data(), 4 * got.size());
    for (size_t i = 0; i < values.size(); ++i) {
      wrong += !SameBits(&expected[i], &values[i], 1);
    }
  }
  return wrong;
}

int Run() {
  int cards = 0;
  if (cudaGetDeviceCount(&cards) != cudaSuccess || cards == 0) {
    std::fprintf(stderr, "gpu_check: there is no CUDA card here\n");
    return 2;
  }
  cudaDeviceProp card;
  Require(cudaGetDeviceProperties(&card, 0), "properties");
  const int capability = 10 * card.major + card.minor;
  const TensorCoreClass core = TensorCoreClassOf(capability);
  std::printf("WORKLOAD %s, sm_%d\n", card.name, capability);
  int64_t all = 0;
  for (const int spread : {2, 12, 40, 120}) {
    const int64_t wrong = MmaMismatches(core, 4096, spread, static_cast<uint64_t>(spread));
    std::printf("mma.sync against the emulator, exponents over %d: %lld of %d lanes differ\n",
                spread,
                static_cast<long long>(wrong),
                4096 * kWarpLanes);
    all += wrong;
  }
  for (const WeightFormat& format : KernelFormats()) {
    int64_t wrong = 0;
    // The host instantiates the wider shapes for two formats; few tokens for all.
    const bool every_shape = EmulatesEveryShape(format);
    for (const int64_t m : {1, 7, 9, 32, 65}) {
      wrong += m > 8 && !every_shape ? 0 : QgemmMismatches(core, format, GemmClass::kDecode, m);
    }
    for (const int64_t m : {5, 130}) {
      wrong += QgemmMismatches(core, format, GemmClass::kPrefill, m);
    }
    std::printf("bits %d group %d zero %d scale %d: %lld outputs differ\n",
                format.bits,
                format.group,
                static_cast<int>(format.zero),
                static_cast<int>(format.scale),
                static_cast<long long>(wrong));
    all += wrong;
  }
  std::printf("RESULT gpu.contract.mismatches %lld count\n", static_cast<long long>(all));
  return all == 0 ? 0 : 1;
}

}  // namespace
}  // namespace inferd::cuda_internal

int main() { return inferd::cuda_internal::Run(); }
