// The KV cache's memory: sizes, parts that do not overlap, room taken only when written.
#include "cpu/cpu_state.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <limits>
#include <vector>

#include "gtest/gtest.h"

namespace inferd {
namespace {

// Layers 0 and 2 in the full group, 1 in a window group; layer 3 reads layer 2's KV.
ModelConfig FourLayers() {
  ModelConfig config;
  config.layers.resize(4);
  for (size_t i = 0; i < 4; ++i) {
    LayerConfig& layer = config.layers[i];
    layer.mixer = Mixer::kAttention;
    layer.attention.n_heads = 4;
    layer.attention.n_kv_heads = 2;
    layer.attention.head_dim = 24;
    layer.attention.head_dim_v = 20;
    layer.attention.source_layer = static_cast<int32_t>(i == 3 ? 2 : i);
    layer.attention.state_group = i == 1 ? 1 : 0;
  }
  config.geometry.groups.resize(2);
  config.geometry.groups[1].window = 100;
  return config;
}

TEST(CpuState, SizesAndParts) {
  const ModelConfig config = FourLayers();
  const KvLayout layout(config);
  const int64_t layer_bytes = 2 * 64 * (24 + 20) * 2;
  EXPECT_EQ(CpuState::UnitBytes(layout, 0), 2 * layer_bytes);
  EXPECT_EQ(CpuState::UnitBytes(layout, 1), layer_bytes);
  const std::vector<int64_t> units = {3, 5};
  const auto state = CpuState::Allocate(config, units);
  ASSERT_TRUE(state.ok());
  EXPECT_EQ((*state)->size_bytes(), 3 * 2 * layer_bytes + 5 * layer_bytes);
  // Writing every part in full fits and overlaps nothing.
  uint8_t mark = 1;
  for (const int32_t layer : {0, 1, 2}) {
    for (int32_t head = 0; head < 2; ++head) {
      const CpuState::HeadPart part = (*state)->Part(layer, head);
      for (int64_t unit = 0; unit < units[static_cast<size_t>((*state)->GroupOf(layer))]; ++unit) {
        for (const auto& [base, bytes] :
             {std::pair{part.keys, 64 * 24 * 2}, {part.values, 64 * 20 * 2}}) {
          uint8_t* at = base + unit * part.unit_bytes;
          for (int i = 0; i < bytes; ++i) {
            ASSERT_EQ(at[i], 0);
          }
          std::memset(at, mark++, static_cast<size_t>(bytes));
        }
      }
    }
  }
  EXPECT_EQ((*state)->Part(3, 1).keys, (*state)->Part(2, 1).keys);
}

TEST(CpuState, TakesRoomWhenWritten) {
  const ModelConfig config = FourLayers();
  const std::vector<int64_t> units = {100000, 1};  // 2.2 GB of address space
  const auto state = CpuState::Allocate(config, units);
  ASSERT_TRUE(state.ok()) << Message(state.status());
  const CpuState::HeadPart part = (*state)->Part(0, 0);
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const auto resident = [&](uint8_t* at) {
    unsigned char state_of_page = 0;
    auto* start = at - reinterpret_cast<uintptr_t>(at) % page;
    EXPECT_EQ(mincore(start, page, &state_of_page), 0);
    return (state_of_page & 1) != 0;
  };
  uint8_t* far = part.keys + 90000 * part.unit_bytes;
  EXPECT_FALSE(resident(far));
  *far = 1;
  EXPECT_TRUE(resident(far));
  EXPECT_FALSE(resident(part.keys + 40000 * part.unit_bytes));
}

TEST(CpuState, RefusesWhatItCannotHold) {
  ModelConfig config = FourLayers();
  std::vector<int64_t> units = {std::numeric_limits<int64_t>::max() / 2, 1};
  EXPECT_EQ(CpuState::Allocate(config, units).status().code(), StatusCode::kResourceExhausted);
  units = {int64_t{1} << 45, 1};
  EXPECT_EQ(CpuState::Allocate(config, units).status().code(), StatusCode::kResourceExhausted);
  config.geometry.groups[1].kind = StateKind::kSlot;
  units = {1, 1};
  EXPECT_EQ(CpuState::Allocate(config, units).status().code(), StatusCode::kUnimplemented);
}

}  // namespace
}  // namespace inferd
