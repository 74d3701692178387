// inferd_gpu_check: does the card do what the contract says? Everything that the host tests check
// with the emulated tensor core, once more with the real one, bit for bit:
//   1. mma.sync itself against the emulator, on random fragments of narrow and wide exponents;
//   2. qgemm_d and qgemm_p against their own source run on the host, every format.
//   3. where cuBLASLt is: prompts by way of it, near qgemm_p's, after its self-test over M.
// Prints RESULT lines; exit status 1 if a bit differs, 2 if there is no card. tools/gpu_check.sh
// builds and runs it: it needs nvcc and a card, nothing else.
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "base/half.h"
#include "base/random.h"
#include "cuda/prefill_path.h"
#include "cuda/qgemm_device.cuh"
#include "cuda/qgemm_emulated.h"
#include "cuda/qgemm_launch.h"
#include "tests/conformance/gemm_cases.h"
#include "tests/cuda/random_operands.h"
#ifdef INFERD_WITH_CUBLASLT
#include "cuda/prefill_cublas.h"
#endif

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
                        const GemmCase& shape) {
  const int64_t kN = shape.n;
  const int64_t kK = shape.k;
  const int64_t m = shape.m;
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
  if (!decode) {
    EmulateQgemmP(format, args, options);
  } else if (EmulatesEveryShape(format)) {
    EmulateQgemmD(format, args, options);
  } else {  // the host lacks the shapes for more tokens: the same bits in passes of eight
    for (QgemmArgs pass = args; pass.first_token < m; pass.first_token += kTileTokens) {
      pass.end_token = std::min<int64_t>(m, pass.first_token + kTileTokens);
      EmulateQgemmD(format, pass, options);
    }
  }

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

#ifdef INFERD_WITH_CUBLASLT
// Formats whose prompts by cuBLASLt lie further from qgemm_p's than rounding weights to bf16
// explains (2^-9 each). Where the card's table has no such path, or the self-test refuses it, says
// so.
int64_t PrefillFailures(int capability) {
  constexpr MatrixShape kShape{.n = 2048, .k = 2048};
  constexpr int64_t kTokens = 333;
  constexpr double kErrorMax = 5e-3;
  std::string why = "not in the table of this card";
  std::unique_ptr<PrefillCublas> path;
  if (PrefillPathFor(capability, kShape) == PrefillPath::kCublasLt) {
    path = PrefillCublas::Create(std::span(&kShape, 1), kTokens, why);
  }
  if (path == nullptr) {
    std::printf("prompts by qgemm_p: %s\n", why.c_str());
    return 0;
  }
  std::printf("prompts by %s: its rows do not depend on the number of tokens\n",
              path->name().c_str());
  OnCard<uint16_t> x(RandomPackedActivations(kTokens, kShape.k, 4));
  const std::vector<float> poison(static_cast<size_t>(kTokens * kShape.n), std::nanf(""));
  int64_t failures = 0;
  for (const WeightFormat& format : KernelFormats()) {
    OnCard<uint8_t> weights(RandomPackedWeights(format, kShape.n, kShape.k, 5));
    OnCard<float> expected(poison);
    OnCard<float> got(poison);
    QgemmArgs args{.weights = weights.data(),
                   .x = x.data(),
                   .n = kShape.n,
                   .k = kShape.k,
                   .end_token = kTokens,
                   .epilogue = Epilogue::kStoreFloat,
                   .y = expected.data()};
    Require(LaunchQgemmP(format, args, nullptr), "launch");
    args.y = got.data();
    Require(path->Launch(format, args, nullptr), "launch");
    Require(cudaDeviceSynchronize(), "prefill");
    const std::vector<float> a = expected.Read();
    const std::vector<float> b = got.Read();
    double difference = 0;
    double norm = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      difference += (double{a[i]} - double{b[i]}) * (double{a[i]} - double{b[i]});
      norm += double{a[i]} * double{a[i]};
    }
    const double error = std::sqrt(difference / norm);
    std::printf("prompts by cuBLASLt, bits %d group %d zero %d: relative error %.2e\n",
                format.bits,
                format.group,
                static_cast<int>(format.zero),
                error);
    failures += !(error <= kErrorMax);  // a NaN fails
  }
  return failures;
}
#else
int64_t PrefillFailures(int /*capability*/) { return 0; }
#endif

// `small` leaves out what a sanitizer would take minutes for.
int Run(bool small) {
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
  int64_t failures = 0;
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
    for (const GemmCase& shape : kGemmCases) {
      for (const GemmClass gemm_class : {GemmClass::kDecode, GemmClass::kPrefill}) {
        const int64_t differ = QgemmMismatches(core, format, gemm_class, shape);
        wrong += differ;
        failures += differ != 0;
      }
    }
    wrong += QgemmMismatches(core, format, GemmClass::kPrefill, {.n = 80, .k = 1280, .m = 130});
    std::printf("bits %d group %d zero %d scale %d: %lld outputs differ\n",
                format.bits,
                format.group,
                static_cast<int>(format.zero),
                static_cast<int>(format.scale),
                static_cast<long long>(wrong));
    all += wrong;
  }
  failures += small ? 0 : PrefillFailures(capability);
  std::printf("RESULT gpu.conformance.failures %lld count\n", static_cast<long long>(failures));
  std::printf("RESULT gpu.contract.mismatches %lld count\n", static_cast<long long>(all));
  return all == 0 && failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace inferd::cuda_internal

int main(int argc, char** argv) {
  return inferd::cuda_internal::Run(argc > 1 && std::strcmp(argv[1], "--small") == 0);
}
