// How fast the linear op reads and multiplies, for each weight format and instruction set, beside
// the read bandwidth of the same run.
//
// Workload: a stack of [1536, 1536] matrices of random weights, at least --megabytes packed (more
// than the last cache), each multiplied once a pass by M rows of random activations; 2 threads.
// Cases are interleaved pass by pass; figures are medians. At M <= 8 a figure is packed bytes a
// second (bound: bandwidth), above it is operations a second, 2 for each weight and row.
//   RESULT linear.<format>.<isa>.m<M>.gbps|tops
//   RESULT linear.read_bandwidth.gbps     the stack's bytes summed by the same threads
#include <chrono>
#include <cstdio>
#include <cstring>
#include <map>
#include <string>

#include "CLI/CLI.hpp"
#include "base/random.h"
#include "bench/statistics.h"
#include "cpu/packed_linear.h"

namespace inferd {
namespace {

constexpr int64_t kSize = 1536;

double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string Lower(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(), [](unsigned char c) {
    return static_cast<char>(std::tolower(c));
  });
  return result;
}

// Random bytes whose f16 and f32 fields are finite: every byte with exponent bits is tame.
std::vector<std::byte> RandomWeights(QuantFormat format) {
  SplitMix64 random(7);
  std::vector<std::byte> bytes(static_cast<size_t>(kSize * RowBytes(format, kSize)));
  for (std::byte& byte : bytes) {
    byte = static_cast<std::byte>(random.Next() >> 56) & std::byte{0x3f};
  }
  return bytes;
}

struct Stack {
  QuantFormat format{};
  std::vector<std::unique_ptr<PackedLinear>> linears;
  int64_t bytes = 0;
};

Stack MakeStack(QuantFormat format, int64_t bytes_min, ThreadTeam& team) {
  Stack stack;
  stack.format = format;
  const std::vector<std::byte> weights = RandomWeights(format);
  const TensorView view{
      .name = "w", .format = format, .rows = kSize, .cols = kSize, .data = weights};
  while (stack.bytes < bytes_min) {
    auto linear = PackedLinear::Pack({.parts = {view}, .biases = {}}, team);
    stack.bytes += (*linear)->size_bytes();
    stack.linears.push_back(*std::move(linear));
  }
  return stack;
}

double PassSeconds(const Stack& stack, CpuIsa isa, int32_t rows, ThreadTeam& team) {
  static const auto scratch = PackedLinear::MakeScratch();
  SplitMix64 random(9);
  std::vector<float> x(static_cast<size_t>(rows * kSize));
  for (float& value : x) {
    value = static_cast<float>(random.Unit() - 0.5);
  }
  std::vector<float> out(x.size());
  const double start = Seconds();
  for (const auto& linear : stack.linears) {
    linear->Run(
        isa,
        team,
        {.x = x.data(), .x_stride = kSize, .rows = rows, .out = out.data(), .out_stride = kSize},
        *scratch);
  }
  return Seconds() - start;
}

double ReadBandwidth(const std::vector<uint64_t>& buffer, ThreadTeam& team) {
  constexpr int64_t kChunk = 1 << 15;
  const int64_t chunks = static_cast<int64_t>(buffer.size()) / kChunk;
  std::vector<uint64_t> sums(static_cast<size_t>(chunks));
  const double start = Seconds();
  team.Run(chunks, [&](int, int64_t chunk) {
    const uint64_t* values = buffer.data() + chunk * kChunk;
    uint64_t a = 0;
    uint64_t b = 0;
    uint64_t c = 0;
    uint64_t d = 0;
    for (int64_t i = 0; i < kChunk; i += 8) {
      a += values[i] + values[i + 1];
      b += values[i + 2] + values[i + 3];
      c += values[i + 4] + values[i + 5];
      d += values[i + 6] + values[i + 7];
    }
    sums[static_cast<size_t>(chunk)] = a + b + c + d;
  });
  const double seconds = Seconds() - start;
  volatile uint64_t keep = sums[0];
  (void)keep;
  return static_cast<double>(buffer.size() * sizeof(uint64_t)) / seconds / 1e9;
}

int Main(int argc, char** argv) {
  CLI::App app("Speed of the linear op.");
  int threads = 2;
  int passes = 5;
  int64_t megabytes = 96;
  std::vector<std::string> formats = {"Q4_1", "Q8_0", "Q4_0", "Q5_0", "Q4_K", "Q6_K", "F16"};
  std::vector<std::string> isas = {"avx2", "avx512"};
  std::vector<int32_t> rows = {1, 4, 8, 16, 64, 512};
  app.add_option("--threads", threads);
  app.add_option("--passes", passes);
  app.add_option("--megabytes", megabytes);
  app.add_option("--formats", formats);
  app.add_option("--isas", isas);
  app.add_option("--rows", rows);
  CLI11_PARSE(app, argc, argv);

  ThreadTeam team(threads);
  const std::vector<uint64_t> buffer(32 << 20, 1);
  std::map<std::string, std::vector<double>> samples;
  for (const std::string& name : formats) {
    int f = 0;
    while (f < kNumQuantFormats && Info(static_cast<QuantFormat>(f)).name != name) {
      ++f;
    }
    if (f == kNumQuantFormats) {
      std::fprintf(stderr, "unknown format %s\n", name.c_str());
      return 2;
    }
    const Stack stack = MakeStack(static_cast<QuantFormat>(f), megabytes << 20, team);
    for (int pass = 0; pass <= passes; ++pass) {
      const double bandwidth = ReadBandwidth(buffer, team);
      if (pass > 0) {
        samples["linear.read_bandwidth.gbps"].push_back(bandwidth);
      }
      for (const std::string& isa_name : isas) {
        const auto isa = CpuIsaFromName(isa_name);
        if (!isa || !IsSupported(*isa)) {
          continue;
        }
        for (const int32_t m : rows) {
          const double seconds = PassSeconds(stack, *isa, m, team);
          if (pass == 0) {
            continue;  // warms caches and clocks
          }
          const std::string key =
              "linear." + Lower(name) + "." + isa_name + ".m" + std::to_string(m);
          const auto weights = static_cast<double>(stack.linears.size()) * kSize * kSize;
          if (m <= 8) {
            samples[key + ".gbps"].push_back(static_cast<double>(stack.bytes) / seconds / 1e9);
          } else {
            samples[key + ".tops"].push_back(2.0 * weights * m / seconds / 1e12);
          }
        }
      }
    }
  }
  for (const auto& [key, values] : samples) {
    const bool bytes = key.ends_with("gbps");
    std::printf("RESULT %s %.3f %s\n", key.c_str(), Median(values), bytes ? "GB/s" : "TOPS");
  }
  return 0;
}

}  // namespace
}  // namespace inferd

int main(int argc, char** argv) { return inferd::Main(argc, argv); }
