// The linear op's kernels read nothing past their operands: weights, activations and x end at an
// unmapped page, so that one byte more is a fault (sanitizers do not see into these files).
#include "cpu/linear_kernels.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <tuple>
#include <vector>

#include "cpu/pack.h"
#include "gtest/gtest.h"

namespace inferd::cpu_internal {
namespace {

// `size` zero bytes whose end is the end of mapped memory.
class GuardedBytes {
 public:
  explicit GuardedBytes(int64_t size) {
    const int64_t page = sysconf(_SC_PAGESIZE);
    const int64_t mapped = (size + page - 1) / page * page;
    length_ = static_cast<size_t>(mapped + page);
    void* base = mmap(nullptr, length_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT_NE(base, MAP_FAILED);
    base_ = static_cast<uint8_t*>(base);
    EXPECT_EQ(mprotect(base_ + mapped, static_cast<size_t>(page), PROT_NONE), 0);
    data_ = base_ + mapped - size;
  }
  ~GuardedBytes() { munmap(base_, length_); }
  GuardedBytes(const GuardedBytes&) = delete;
  GuardedBytes& operator=(const GuardedBytes&) = delete;
  uint8_t* data() { return data_; }
  float* floats() { return reinterpret_cast<float*>(data_); }

 private:
  uint8_t* base_ = nullptr;
  uint8_t* data_ = nullptr;
  size_t length_ = 0;
};

class GuardTest : public ::testing::TestWithParam<std::tuple<CpuIsa, int>> {
 protected:
  void SetUp() override {
    if (!IsSupported(isa())) {
      GTEST_SKIP() << "this CPU has no " << Name(isa());
    }
  }
  CpuIsa isa() const { return std::get<0>(GetParam()); }
  QuantFormat format() const { return static_cast<QuantFormat>(std::get<1>(GetParam())); }
};

INSTANTIATE_TEST_SUITE_P(
    Kernels,
    GuardTest,
    ::testing::Combine(::testing::Values(CpuIsa::kScalar, CpuIsa::kAvx2, CpuIsa::kAvx512),
                       ::testing::Range(0, kNumQuantFormats)),
    [](const auto& test) {
      const auto format = static_cast<QuantFormat>(std::get<1>(test.param));
      return std::string(Name(std::get<0>(test.param))) + "_" + std::string(Info(format).name);
    });

TEST_P(GuardTest, OperandsEndAtUnmappedPages) {
  const LinearKernels& kernels = LinearKernelsFor(isa());
  const TileFormat tile = TileFormatOf(format());
  for (const int64_t k : {int64_t{256}, int64_t{768}}) {
    const int64_t tile_bytes = TileBytes(format(), k);
    for (int rows = 1; rows <= kBlockRowsMax; ++rows) {
      GuardedBytes x(rows * k * int64_t{sizeof(float)});
      for (int i = 0; i < rows * k; ++i) {
        x.floats()[i] = 1.0f;
      }
      if (tile.code_bits == 0) {
        GuardedBytes weights(tile_bytes);
        GuardedBytes out(rows * kTileRows * int64_t{sizeof(float)});
        kernels.float_tile({.format = format(),
                            .tile = weights.data(),
                            .k = k,
                            .x = x.floats(),
                            .x_stride = k,
                            .rows = rows,
                            .out = out.floats()});
        EXPECT_EQ(out.floats()[0], 0.0f);
        continue;
      }
      const int block_rows = kernels.block_rows(rows);
      const int taken = std::min(rows, block_rows);
      GuardedBytes block(k / kRecordValues *
                         ActivationRecordBytes(block_rows, tile.GroupsPerRecord()));
      kernels.quantize({.x = x.floats() + (rows - taken) * k,
                        .x_stride = k,
                        .rows = taken,
                        .block_rows = block_rows,
                        .k = k,
                        .group_values = tile.group_values,
                        .block = block.data()});
      EXPECT_EQ(block.data()[0], 127);
      for (int tiles = 1; tiles <= kTilesMax; ++tiles) {
        GuardedBytes weights(tiles * tile_bytes);
        GuardedBytes out(tiles * block_rows * kTileRows * int64_t{sizeof(float)});
        kernels.tiles({.format = format(),
                       .tiles = weights.data(),
                       .tile_bytes = tile_bytes,
                       .num_tiles = tiles,
                       .k = k,
                       .activations = block.data(),
                       .block_rows = block_rows,
                       .out = out.floats()});
        EXPECT_EQ(out.floats()[0], 0.0f);
      }
    }
  }
}

}  // namespace
}  // namespace inferd::cpu_internal
