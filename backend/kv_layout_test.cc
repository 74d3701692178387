// Goal: units of a state group hold every layer's keys and values once, without overlap.
#include "backend/kv_layout.h"

#include <gtest/gtest.h>

namespace inferd {
namespace {

LayerConfig Attention(int32_t layer, int32_t group, int32_t kv, int32_t dk, int32_t dv) {
  LayerConfig config;
  config.mixer = Mixer::kAttention;
  config.attention.n_heads = 2 * kv;
  config.attention.n_kv_heads = kv;
  config.attention.head_dim = dk;
  config.attention.head_dim_v = dv;
  config.attention.source_layer = layer;
  config.attention.state_group = group;
  return config;
}

TEST(KvLayout, LayersOfAGroupFollowOneAnother) {
  ModelConfig config;
  config.geometry.groups.resize(2);
  config.layers = {Attention(0, 0, 2, 8, 6),
                   Attention(1, 1, 1, 16, 16),
                   LayerConfig{},  // no mixer
                   Attention(3, 0, 1, 4, 4)};
  const KvLayout layout(config);
  EXPECT_EQ(layout.num_groups(), 2);
  EXPECT_EQ(layout.unit_values(0), 64 * (2 * 14 + 8));
  EXPECT_EQ(layout.unit_values(1), 64 * 32);
  EXPECT_EQ(layout.part(0).k_offset, 0);
  EXPECT_EQ(layout.part(0).v_offset, 64 * 2 * 8);
  EXPECT_EQ(layout.part(3).k_offset, 64 * 2 * 14);
  EXPECT_EQ(layout.part(3).v_offset, 64 * 2 * 14 + 64 * 4);
  EXPECT_EQ(layout.part(1).group, 1);
  EXPECT_EQ(layout.part(1).k_offset, 0);
}

TEST(KvLayout, SharedLayersTakeNoRoom) {
  ModelConfig config;
  config.geometry.groups.resize(1);
  config.layers = {Attention(0, 0, 1, 8, 8), Attention(1, 0, 1, 8, 8)};
  config.layers[1].attention.source_layer = 0;
  const KvLayout layout(config);
  EXPECT_EQ(layout.unit_values(0), 64 * 16);
  EXPECT_EQ(layout.part(1).v_offset, layout.part(0).v_offset);
  EXPECT_TRUE(OwnsKv(config, 0));
  EXPECT_FALSE(OwnsKv(config, 1));
}

TEST(KvLayoutDeathTest, ASourceMustOwnKvOfTheSameShape) {
  ModelConfig config;
  config.geometry.groups.resize(1);
  config.layers = {Attention(0, 0, 1, 8, 8), Attention(1, 0, 2, 8, 8)};
  config.layers[1].attention.source_layer = 0;
  EXPECT_DEATH(KvLayout{config}, "n_kv_heads");
}

}  // namespace
}  // namespace inferd
