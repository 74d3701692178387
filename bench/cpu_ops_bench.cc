// inferd_cpu_ops_bench: the CPU device's ops other than the linear one, alone.
//
//   attention.decode.*    one query position of --sequences sequences over --context positions;
//                         GB/s of KV read
//   attention.prefill.*   a prompt of --prompt positions; GFLOP/s of the causal half
//   region                an empty parallel region over the team
//   rms_norm, rope_append per row
//
// Prints `RESULT ops.<op>.<shape> <median> <unit>`, for each instruction set that the host has.
// --cpu-time takes the calling thread's CPU time instead of the clock: with --threads 1, on a busy
// host, that is the figure to compare.
#include <time.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <numeric>
#include <string>
#include <vector>

#include "cpu/cpu_attention.h"
#include "cpu/cpu_kernels.h"
#include "cpu/thread_team.h"

namespace inferd {
namespace {

struct Shape {
  std::string name;
  int32_t heads;
  int32_t kv_heads;
  int32_t dim;
};

struct Args {
  int threads = 1;
  int passes = 7;
  int64_t context = 1024;
  int64_t prompt = 512;
  int32_t sequences = 1;
  bool cpu_time = false;
};

double Now(const Args& args) {
  timespec now{};
  clock_gettime(args.cpu_time ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// Median seconds of one call, over passes of at least 20 ms. The clock is read once for a growing
// number of calls: reading a thread's CPU time takes half a microsecond.
template <typename Op>
double Measure(const Args& args, const Op& op) {
  op();
  std::vector<double> seconds;
  for (int pass = 0; pass < args.passes; ++pass) {
    int64_t calls = 1;
    double taken = 0;
    for (;; calls *= 2) {
      const double start = Now(args);
      for (int64_t i = 0; i < calls; ++i) {
        op();
      }
      taken = Now(args) - start;
      if (taken >= 0.02) {
        break;
      }
    }
    seconds.push_back(taken / static_cast<double>(calls));
  }
  std::sort(seconds.begin(), seconds.end());
  return seconds[seconds.size() / 2];
}

void Result(const std::string& key, double value, const char* unit) {
  std::cout << "RESULT ops." << key << ' ' << value << ' ' << unit << '\n';
}

// The queries, cache and results of `sequences` sequences of one layer.
class Layer {
 public:
  Layer(const Shape& shape, int64_t length, int32_t sequences)
      : shape_(shape), length_(length), sequences_(sequences) {
    blocks_ = (length + kKvBlock - 1) / kKvBlock;
    unit_values_ = int64_t{2} * shape.kv_heads * kKvBlock * shape.dim;
    pool_.assign(static_cast<size_t>(unit_values_ * blocks_ * sequences + 64), 0x2c00);  // 1/16
    q_.assign(static_cast<size_t>(length * shape.heads * shape.dim), 0.01f);
    out_.resize(q_.size() * static_cast<size_t>(sequences));
    table_.resize(static_cast<size_t>(blocks_ * sequences));
    std::iota(table_.begin(), table_.end(), 0u);
  }

  std::vector<AttentionTile> Tiles(int64_t start) {
    std::vector<AttentionTile> tiles;
    const int32_t group = shape_.heads / shape_.kv_heads;
    const int32_t step = CpuAttention::TilePositions(group);
    for (int32_t s = 0; s < sequences_; ++s) {
      for (int64_t at = start; at < length_; at += step) {
        for (int32_t h = 0; h < shape_.kv_heads; ++h) {
          AttentionTile& tile = tiles.emplace_back();
          tile.q_stride = tile.out_stride = static_cast<int64_t>(shape_.heads) * shape_.dim;
          const int64_t offset = at * tile.q_stride + int64_t{h} * group * shape_.dim;
          tile.q = q_.data() + offset;
          tile.out = out_.data() + s * length_ * tile.q_stride + offset;
          tile.positions = static_cast<int32_t>(std::min<int64_t>(step, length_ - at));
          tile.group = group;
          tile.start = at;
          tile.dk = tile.dv = tile.dv_padded = shape_.dim;
          tile.scale = 0.125f;
          tile.table = table_.data() + s * blocks_;
          tile.keys = reinterpret_cast<const uint8_t*>(pool_.data()) +
                      int64_t{2} * h * kKvBlock * shape_.dim;
          tile.values = tile.keys + int64_t{2} * shape_.kv_heads * kKvBlock * shape_.dim;
          tile.unit_bytes = 2 * unit_values_;
        }
      }
    }
    return tiles;
  }

 private:
  Shape shape_;
  int64_t length_;
  int32_t sequences_;
  int64_t blocks_ = 0;
  int64_t unit_values_ = 0;
  std::vector<uint16_t> pool_;
  std::vector<float> q_, out_;
  std::vector<uint32_t> table_;
};

void BenchAttention(const Args& args, CpuIsa isa, const Shape& shape, ThreadTeam& team) {
  const CpuKernels& kernels = KernelsFor(isa);
  CpuAttention attention;
  const std::string suffix = shape.name + "." + std::string(Name(isa));
  {
    Layer layer(shape, args.context, args.sequences);
    const std::vector<AttentionTile> tiles = layer.Tiles(args.context - 1);
    const double seconds = Measure(args, [&] { attention.Run(kernels, team, tiles); });
    const double bytes =
        4.0 * args.sequences * static_cast<double>(args.context) * shape.kv_heads * shape.dim;
    Result("attention.decode." + suffix, bytes / seconds * 1e-9, "GB/s");
  }
  Layer layer(shape, args.prompt, 1);
  const std::vector<AttentionTile> tiles = layer.Tiles(0);
  const double seconds = Measure(args, [&] { attention.Run(kernels, team, tiles); });
  const auto n = static_cast<double>(args.prompt);
  const double flops = 2.0 * n * (n + 1) * shape.heads * shape.dim;
  Result("attention.prefill." + suffix, flops / seconds * 1e-9, "GFLOP/s");
}

void BenchRows(const Args& args, CpuIsa isa) {
  const CpuKernels& kernels = KernelsFor(isa);
  constexpr int32_t kDim = 576;
  std::vector<float> x(kDim, 0.5f);
  const std::vector<float> weight(kDim, 1.5f);
  const std::string suffix = "." + std::string(Name(isa));
  const double norm = Measure(
      args, [&] { kernels.rms_norm(x.data(), weight.data(), 1e-5f, nullptr, x.data(), kDim); });
  Result("rms_norm.576" + suffix, norm * 1e9, "ns/row");
  const std::vector<float> angles(32, 0.7f);
  std::vector<uint16_t> block(64 * 64 * 2);
  int32_t slot = 0;
  const double rope = Measure(args, [&] {
    for (int head = 0; head < 9; ++head) {
      kernels.rope_interleaved(x.data(), angles.data(), angles.data(), 32);
    }
    for (int head = 0; head < 3; ++head) {
      kernels.rope_interleaved(x.data(), angles.data(), angles.data(), 32);
      kernels.append_key(x.data(), 64, slot, block.data());
      kernels.append_value(x.data(), 64, slot, block.data() + 64 * 64);
    }
    slot = (slot + 1) % 64;
  });
  Result("rope_append.9x3x64" + suffix, rope * 1e9, "ns/row");
}

void Main(const Args& args) {
  ThreadTeam team(args.threads);
  const double region = Measure(args, [&] { team.Run(args.threads, [](int, int64_t) {}); });
  Result("region." + std::to_string(args.threads), region * 1e9, "ns");
  const std::vector<Shape> shapes = {{"9x3x64", 9, 3, 64},
                                     {"32x4x64", 32, 4, 64},
                                     {"32x8x128", 32, 8, 128},
                                     {"4x1x256", 4, 1, 256},
                                     {"32x32x96", 32, 32, 96}};
  for (const CpuIsa isa : {CpuIsa::kAvx2, CpuIsa::kAvx512}) {
    if (!IsSupported(isa)) {
      continue;
    }
    for (const Shape& shape : shapes) {
      BenchAttention(args, isa, shape, team);
    }
    BenchRows(args, isa);
  }
}

}  // namespace
}  // namespace inferd

int main(int argc, char** argv) {
  CLI::App app("Speed of the CPU device's ops.");
  inferd::Args args;
  app.add_option("--threads", args.threads, "compute threads")->check(CLI::Range(1, 1024));
  app.add_option("--passes", args.passes, "passes of each op");
  app.add_option("--context", args.context, "positions that a decode step reads");
  app.add_option("--prompt", args.prompt, "positions of the prefill");
  app.add_option("--sequences", args.sequences, "sequences of a decode step");
  app.add_flag("--cpu-time", args.cpu_time, "the calling thread's CPU time");
  CLI11_PARSE(app, argc, argv);
  inferd::Main(args);
  return 0;
}
