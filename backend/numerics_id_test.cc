// Goal: every choice that changes numbers changes the id, and nothing else does.
#include "backend/numerics_id.h"

#include <gtest/gtest.h>

#include <functional>
#include <set>
#include <vector>

namespace inferd {
namespace {

ModelConfig Config() {
  ModelConfig config;
  config.architecture = "llama";
  config.d_model = 8;
  config.vocab_size = 16;
  config.rms_epsilon = 1e-5f;
  config.layers.resize(2);
  for (LayerConfig& layer : config.layers) {
    layer.mixer = Mixer::kAttention;
    layer.attention = {.n_heads = 4,
                       .n_kv_heads = 2,
                       .head_dim = 4,
                       .head_dim_v = 4,
                       .rope = {.kind = RopeKind::kHalves, .rotary_dim = 4, .factors = {1, 2}},
                       .scale = 0.5f};
    layer.ffn = FfnKind::kDense;
    layer.dense = {.d_ff = 12};
  }
  config.geometry.groups.resize(1);
  return config;
}

TEST(NumericsId, EveryChoiceCounts) {
  using Change = std::function<void(ModelConfig&)>;
  const auto attention = [](const std::function<void(AttentionConfig&)>& change) -> Change {
    return [change](ModelConfig& config) { change(config.layers[1].attention); };
  };
  const std::vector<Change> changes = {
      [](ModelConfig&) {},
      [](ModelConfig& c) { c.architecture = "qwen2"; },
      [](ModelConfig& c) { c.d_model = 9; },
      [](ModelConfig& c) { c.vocab_size = 17; },
      [](ModelConfig& c) { c.rms_epsilon = 1e-6f; },
      [](ModelConfig& c) { c.embedding_scale = 2; },
      [](ModelConfig& c) { c.logit_scale = 2; },
      [](ModelConfig& c) { c.logit_cap = 30; },
      [](ModelConfig& c) { c.tied_embeddings = true; },
      [](ModelConfig& c) { c.layers.pop_back(); },
      [](ModelConfig& c) { c.layers[1].mixer = Mixer::kNone; },
      [](ModelConfig& c) { c.layers[1].ffn = FfnKind::kNone; },
      [](ModelConfig& c) { c.layers[0].ffn = FfnKind::kNone; },
      [](ModelConfig& c) { c.layers[1].post_mixer_norm = true; },
      [](ModelConfig& c) { c.layers[1].post_ffn_norm = true; },
      [](ModelConfig& c) { c.layers[1].dense.d_ff = 13; },
      [](ModelConfig& c) { c.layers[1].dense.activation = Activation::kGeluTanh; },
      attention([](AttentionConfig& a) { a.n_heads = 8; }),
      attention([](AttentionConfig& a) { a.n_kv_heads = 4; }),
      attention([](AttentionConfig& a) { a.head_dim = 8; }),
      attention([](AttentionConfig& a) { a.head_dim_v = 8; }),
      attention([](AttentionConfig& a) { a.window = 32; }),
      attention([](AttentionConfig& a) { a.scale = 0.25f; }),
      attention([](AttentionConfig& a) { a.logit_cap = 50; }),
      attention([](AttentionConfig& a) { a.qk_norm = true; }),
      attention([](AttentionConfig& a) { a.source_layer = 1; }),
      attention([](AttentionConfig& a) { a.rope.kind = RopeKind::kInterleaved; }),
      attention([](AttentionConfig& a) { a.rope.rotary_dim = 2; }),
      attention([](AttentionConfig& a) { a.rope.theta = 500000; }),
      attention([](AttentionConfig& a) { a.rope.position_scale = 0.125f; }),
      attention([](AttentionConfig& a) { a.rope.magnitude = 1.19f; }),
      attention([](AttentionConfig& a) { a.rope.factors[1] = 3; }),
      attention([](AttentionConfig& a) { a.rope.factors.clear(); }),
  };
  std::set<Digest> ids;
  for (const Change& change : changes) {
    ModelConfig config = Config();
    change(config);
    ids.insert(NumericsId("cpu.1", config));
  }
  EXPECT_EQ(ids.size(), changes.size());
  ids.insert(NumericsId("cpu.2", Config()));
  EXPECT_EQ(ids.size(), changes.size() + 1);
}

TEST(NumericsId, NamesAndLayoutDoNotCount) {
  ModelConfig config = Config();
  config.name = "another name";
  config.context_tokens_max = 4096;
  config.geometry.groups[0].unit_bytes = 77;
  EXPECT_EQ(NumericsId("cpu.1", config), NumericsId("cpu.1", Config()));
}

// A config is served by others by this id: it must not drift without a version that says so.
TEST(NumericsId, StaysTheSame) {
  EXPECT_EQ(NumericsId("cpu.1", Config()).Hex(),
            "782b54ec00d34567bbc057ec3bd8bff2a8bda8697efc383d4d5d303e554470a7");
}

}  // namespace
}  // namespace inferd
