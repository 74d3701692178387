// What each family's rules become in the config and the weights, on random models that have every
// feature on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>

#include "model/dequantize.h"
#include "model/model_description.h"
#include "tests/support/random_model.h"

namespace inferd {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

// A description with the bytes under it.
struct Opened {
  std::string bytes;
  Gguf gguf;
  ModelDescription model;
};

StatusOr<std::unique_ptr<Opened>> OpenBytes(std::string bytes, const ModelOptions& options = {}) {
  auto opened = std::make_unique<Opened>();
  opened->bytes = std::move(bytes);
  ASSIGN_OR_RETURN(opened->gguf, Gguf::Parse(std::as_bytes(std::span(opened->bytes))));
  ASSIGN_OR_RETURN(opened->model, DescribeModel(opened->gguf, options));
  return opened;
}

StatusOr<std::unique_ptr<Opened>> Open(const RandomModelSpec& spec,
                                       const ModelOptions& options = {}) {
  return OpenBytes(RandomModel(spec).Bytes(), options);
}

RandomModelSpec Tiny(std::string_view family) { return TinyModel(family, 3, QuantFormat::kF32); }

std::unique_ptr<Opened> MustOpen(const RandomModelSpec& spec, const ModelOptions& options = {}) {
  auto opened = Open(spec, options);
  EXPECT_TRUE(opened.ok()) << opened.status();
  return opened.ok() ? *std::move(opened) : nullptr;
}

std::vector<int32_t> Windows(const ModelConfig& config) {
  std::vector<int32_t> windows;
  for (const LayerConfig& layer : config.layers) {
    windows.push_back(layer.attention.window);
  }
  return windows;
}

TEST(Family, LlamaTurnsNeighboursAndDividesFrequencies) {
  const auto opened = MustOpen(Tiny("llama"));
  ASSERT_NE(opened, nullptr);
  const ModelConfig& config = opened->model.config;
  const LayerWeights& weights = opened->model.weights.layers[1];
  const AttentionConfig& attention = config.layers[1].attention;
  EXPECT_EQ(attention.rope.kind, RopeKind::kInterleaved);
  EXPECT_EQ(attention.rope.theta, 500000.0f);
  EXPECT_THAT(attention.rope.factors, SizeIs(12));
  EXPECT_THAT(attention.rope.factors, Each(testing::AllOf(testing::Ge(1.0f), testing::Le(8.0f))));
  EXPECT_EQ(attention.scale, 1.0f / std::sqrt(24.0f));
  EXPECT_FALSE(config.tied_embeddings);
  EXPECT_EQ(opened->model.weights.output.name, "output.weight");
  EXPECT_EQ(weights.q_bias.cols, 72);
  EXPECT_EQ(weights.k_bias.cols, 24);
  EXPECT_EQ(weights.attention_out_bias.cols, 72);
  EXPECT_TRUE(weights.q_norm.empty() && weights.post_mixer_norm.empty());
  EXPECT_EQ(config.embedding_scale, 1.0f);
}

TEST(Family, MistralHeadsNeedNotFillTheWidthAndLinearScalingHolds) {
  const auto opened = MustOpen(Tiny("mistral"));
  ASSERT_NE(opened, nullptr);
  const AttentionConfig& attention = opened->model.config.layers[0].attention;
  EXPECT_EQ(attention.n_heads * attention.head_dim, 96);
  EXPECT_EQ(opened->model.config.d_model, 72);
  EXPECT_EQ(opened->model.weights.layers[0].attention_out.cols, 96);
  EXPECT_EQ(attention.rope.position_scale, 0.5f);
  EXPECT_THAT(attention.rope.factors, ElementsAre());
}

TEST(Family, QwenTwoHasBiasesOnQKVAlone) {
  const auto opened = MustOpen(Tiny("qwen2"));
  ASSERT_NE(opened, nullptr);
  const LayerWeights& weights = opened->model.weights.layers[0];
  EXPECT_FALSE(weights.q_bias.empty() || weights.k_bias.empty() || weights.v_bias.empty());
  EXPECT_TRUE(weights.attention_out_bias.empty());
  EXPECT_EQ(opened->model.config.layers[0].attention.rope.kind, RopeKind::kHalves);
  EXPECT_TRUE(opened->model.config.tied_embeddings);
  EXPECT_EQ(opened->model.weights.output.data.data(),
            opened->model.weights.token_embedding.data.data());
}

TEST(Family, QwenThreeNormsEachHead) {
  const auto opened = MustOpen(Tiny("qwen3"));
  ASSERT_NE(opened, nullptr);
  EXPECT_TRUE(opened->model.config.layers[0].attention.qk_norm);
  EXPECT_EQ(opened->model.weights.layers[0].q_norm.cols, 24);
  EXPECT_EQ(opened->model.weights.layers[0].k_norm.cols, 24);
  EXPECT_TRUE(opened->model.weights.layers[0].q_bias.empty());
}

TEST(Family, GemmaTwoHasWindowsOnEvenLayersAndSoftCaps) {
  const auto opened = MustOpen(Tiny("gemma2"));
  ASSERT_NE(opened, nullptr);
  const ModelConfig& config = opened->model.config;
  EXPECT_THAT(Windows(config), ElementsAre(32, 0, 32));
  ASSERT_THAT(config.geometry.groups, SizeIs(2));
  EXPECT_EQ(config.geometry.groups[0].window, 0);
  EXPECT_EQ(config.geometry.groups[1].window, 32);
  EXPECT_EQ(config.layers[0].attention.state_group, 1);
  EXPECT_EQ(config.layers[1].attention.state_group, 0);
  EXPECT_EQ(config.layers[0].attention.logit_cap, 4.0f);
  EXPECT_EQ(config.logit_cap, 6.0f);
  EXPECT_EQ(config.embedding_scale, std::sqrt(72.0f));
  EXPECT_EQ(config.layers[0].dense.activation, Activation::kGeluTanh);
  EXPECT_TRUE(config.layers[2].post_mixer_norm && config.layers[2].post_ffn_norm);
  EXPECT_EQ(opened->model.weights.layers[2].post_ffn_norm.name, "blk.2.post_ffw_norm.weight");
  EXPECT_TRUE(config.tied_embeddings);
}

TEST(Family, GemmaTwoWithoutKeysHasItsDefaults) {
  RandomModelSpec spec = Tiny("gemma2");
  spec.window = 0;
  spec.context = 8192;
  GgufWriter writer = RandomModel(spec);
  writer.RemoveKey("gemma2.attn_logit_softcapping").RemoveKey("gemma2.final_logit_softcapping");
  const auto opened = OpenBytes(writer.Bytes());
  ASSERT_TRUE(opened.ok()) << opened.status();
  const ModelConfig& config = (*opened)->model.config;
  EXPECT_THAT(Windows(config), ElementsAre(4096, 0, 4096));
  EXPECT_EQ(config.layers[0].attention.logit_cap, 50.0f);
  EXPECT_EQ(config.logit_cap, 30.0f);
}

TEST(Family, TheLargestGemmasScaleScoresByWidth) {
  RandomModelSpec spec = Tiny("gemma2");
  spec.n_layers = 46;
  auto opened = MustOpen(spec);
  ASSERT_NE(opened, nullptr);
  EXPECT_EQ(opened->model.config.layers[45].attention.scale, 1.0f / std::sqrt(72.0f / 4.0f));
  spec = Tiny("gemma3");
  spec.n_layers = 62;
  opened = MustOpen(spec);
  ASSERT_NE(opened, nullptr);
  EXPECT_EQ(opened->model.config.layers[0].attention.scale, 1.0f / std::sqrt(72.0f / 4.0f));
  spec.n_layers = 34;
  opened = MustOpen(spec);
  ASSERT_NE(opened, nullptr);
  EXPECT_EQ(opened->model.config.layers[0].attention.scale, 1.0f / std::sqrt(24.0f));
}

TEST(Family, GemmaThreeLocalLayersAreNeverRopeScaled) {
  const auto opened = MustOpen(Tiny("gemma3"));
  ASSERT_NE(opened, nullptr);
  const ModelConfig& config = opened->model.config;
  EXPECT_THAT(Windows(config), ElementsAre(32, 32, 32, 32, 32, 0, 32));
  const RopeConfig& local = config.layers[4].attention.rope;
  const RopeConfig& global = config.layers[5].attention.rope;
  EXPECT_EQ(local.theta, 10000.0f);
  EXPECT_EQ(local.position_scale, 1.0f);
  EXPECT_EQ(global.theta, 1000000.0f);
  EXPECT_EQ(global.position_scale, 0.125f);
  EXPECT_EQ(config.logit_cap, 0.0f);
  EXPECT_EQ(config.layers[0].attention.logit_cap, 0.0f);
  EXPECT_TRUE(config.layers[0].attention.qk_norm);
}

TEST(Family, LocalLayersKeepTheirRopeWhenTheContextIsWithinTheWindow) {
  const auto opened = MustOpen(Tiny("gemma3"), {.context_tokens_max = 32});
  ASSERT_NE(opened, nullptr);
  const ModelConfig& config = opened->model.config;
  EXPECT_THAT(Windows(config), Each(0));
  EXPECT_THAT(config.geometry.groups, SizeIs(1));
  EXPECT_EQ(config.layers[0].attention.rope.theta, 10000.0f);
  EXPECT_EQ(config.layers[5].attention.rope.theta, 1000000.0f);
}

TEST(Family, GemmaThreeTakesAPatternFromTheFile) {
  for (const bool as_array : {false, true}) {
    GgufWriter writer = RandomModel(Tiny("gemma3"));
    constexpr char kKey[] = "gemma3.attention.sliding_window_pattern";
    if (as_array) {
      writer.Set(kKey, std::vector<bool>{true, false, true, false, true, false, true});
    } else {
      writer.Set(kKey, 2u);
    }
    const auto opened = OpenBytes(writer.Bytes());
    ASSERT_TRUE(opened.ok()) << opened.status();
    EXPECT_THAT(Windows((*opened)->model.config), ElementsAre(32, 0, 32, 0, 32, 0, 32));
  }
}

TEST(Family, PhiThreeFusedTensorsAreTakenApart) {
  const auto opened = MustOpen(Tiny("phi3"));
  ASSERT_NE(opened, nullptr);
  const LayerWeights& weights = opened->model.weights.layers[1];
  const auto fused = [&](const char* name) { return opened->gguf.FindTensor(name)->data; };
  const auto qkv = fused("blk.1.attn_qkv.weight");
  constexpr size_t kRow = 72 * sizeof(float);
  EXPECT_EQ(weights.q.rows, 72);
  EXPECT_EQ(weights.k.rows, 24);
  EXPECT_EQ(weights.v.rows, 24);
  EXPECT_EQ(weights.q.data.data(), qkv.data());
  EXPECT_EQ(weights.k.data.data(), qkv.data() + 72 * kRow);
  EXPECT_EQ(weights.v.data.data(), qkv.data() + 96 * kRow);
  EXPECT_EQ(weights.v.data.size(), 24 * kRow);
  const auto gate_up = fused("blk.1.ffn_up.weight");
  EXPECT_EQ(weights.gate.data.data(), gate_up.data());
  EXPECT_EQ(weights.up.data.data(), gate_up.data() + 136 * kRow);
  EXPECT_EQ(weights.up.rows, 136);
}

TEST(Family, PhiThreeRotatesAPartAndHonoursItsWindow) {
  const auto opened = MustOpen(Tiny("phi3"));
  ASSERT_NE(opened, nullptr);
  const AttentionConfig& attention = opened->model.config.layers[0].attention;
  EXPECT_EQ(attention.rope.rotary_dim, 18);
  EXPECT_EQ(attention.head_dim, 24);
  EXPECT_EQ(attention.rope.magnitude, 1.19f);
  EXPECT_EQ(attention.rope.kind, RopeKind::kHalves);
  EXPECT_EQ(attention.window, 32);
  EXPECT_THAT(opened->model.config.geometry.groups, SizeIs(1));
  RandomModelSpec spec = Tiny("phi3");
  spec.window = 262144;  // as the models with a long context declare it: never reached
  const auto unlimited = MustOpen(spec);
  ASSERT_NE(unlimited, nullptr);
  EXPECT_EQ(unlimited->model.config.layers[0].attention.window, 0);
}

TEST(Family, LongRopeFactorsAreFixedByTheServedContext) {
  const auto factors_of = [](int64_t context, const char* tensor) {
    const auto opened = MustOpen(Tiny("phi3"), {.context_tokens_max = context});
    const TensorView view = {
        tensor, QuantFormat::kF32, 1, 9, opened->gguf.FindTensor(tensor)->data};
    return std::pair(opened->model.config.layers[0].attention.rope.factors, Dequantize(view));
  };
  const auto [at_original, short_factors] = factors_of(128, "rope_factors_short.weight");
  EXPECT_EQ(at_original, short_factors);
  const auto [above, long_factors] = factors_of(129, "rope_factors_long.weight");
  EXPECT_EQ(above, long_factors);
  const auto [declared, same] = factors_of(0, "rope_factors_long.weight");
  EXPECT_EQ(declared, same);
}

TEST(Family, ContextIsTheFilesOrLess) {
  EXPECT_EQ(MustOpen(Tiny("llama"))->model.config.context_tokens_max, 512);
  EXPECT_EQ(MustOpen(Tiny("llama"), {.context_tokens_max = 100})->model.config.context_tokens_max,
            100);
  EXPECT_EQ(Open(Tiny("llama"), {.context_tokens_max = 513}).status().code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(Open(Tiny("llama"), {.context_tokens_max = -1}).status().code(),
            StatusCode::kInvalidArgument);
}

TEST(Family, SizesMayDifferByLayer) {
  GgufWriter writer = RandomModel(Tiny("qwen3"));
  writer.Set("qwen3.feed_forward_length", std::vector<int32_t>{136, 136})
      .Set("qwen3.attention.head_count_kv", std::vector<int32_t>{2, 1});
  const auto opened = OpenBytes(writer.Bytes());
  EXPECT_THAT(std::string(Message(opened.status())),
              HasSubstr("\"blk.1.attn_k.weight\": shape [48, 72], but the metadata asks for [24"));
  writer.Set("qwen3.attention.head_count_kv", std::vector<int32_t>{2, 2});
  EXPECT_TRUE(OpenBytes(writer.Bytes()).ok());
  writer.Set("qwen3.attention.head_count_kv", std::vector<int32_t>{2, 2, 2});
  EXPECT_THAT(std::string(Message(OpenBytes(writer.Bytes()).status())),
              HasSubstr("nor an array of 2 integers"));
}

struct Refused {
  const char* name;
  const char* family;
  void (*change)(GgufWriter&);
  const char* message;
  StatusCode code = StatusCode::kUnimplemented;
};

class FamilyRefuses : public testing::TestWithParam<Refused> {};

TEST_P(FamilyRefuses, ByName) {
  GgufWriter writer = RandomModel(Tiny(GetParam().family));
  GetParam().change(writer);
  const auto opened = OpenBytes(writer.Bytes());
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.status().code(), GetParam().code) << opened.status();
  EXPECT_THAT(std::string(Message(opened.status())), HasSubstr(GetParam().message));
}

void AddRow(GgufWriter& writer, std::string_view name, int64_t cols) {
  writer.AddF32(name, 1, cols, std::vector<float>(static_cast<size_t>(cols), 1.0f));
}

INSTANTIATE_TEST_SUITE_P(
    Files,
    FamilyRefuses,
    testing::Values(Refused{"Yarn",
                            "qwen2",
                            [](GgufWriter& w) { w.Set("qwen2.rope.scaling.type", "yarn"); },
                            "rope scaling \"yarn\" is not served"},
                    Refused{"LongRopeElsewhere",
                            "llama",
                            [](GgufWriter& w) { w.Set("llama.rope.scaling.type", "longrope"); },
                            "rope scaling \"longrope\" is not served"},
                    Refused{"Experts",
                            "llama",
                            [](GgufWriter& w) { w.Set("llama.expert_count", 8u); },
                            "a mixture of experts is not served"},
                    Refused{"UnknownKey",
                            "qwen3",
                            [](GgufWriter& w) { w.Set("qwen3.attention.new_mechanism", 1u); },
                            "\"qwen3.attention.new_mechanism\" is not understood"},
                    Refused{"UnknownTensor",
                            "qwen3",
                            [](GgufWriter& w) { AddRow(w, "blk.0.attn_sinks.weight", 4); },
                            "\"blk.0.attn_sinks.weight\" is not understood"},
                    Refused{"BiasWhereTheFamilyHasNone",
                            "qwen3",
                            [](GgufWriter& w) { AddRow(w, "blk.1.attn_q.bias", 96); },
                            "\"blk.1.attn_q.bias\" is not understood"},
                    Refused{"LayerBeyondTheLast",
                            "llama",
                            [](GgufWriter& w) { AddRow(w, "blk.2.attn_norm.weight", 72); },
                            "\"blk.2.attn_norm.weight\" is not understood"},
                    Refused{"FrequencyFactorsInQwen",
                            "qwen2",
                            [](GgufWriter& w) { AddRow(w, "rope_freqs.weight", 12); },
                            "\"rope_freqs.weight\" is not understood"},
                    Refused{"WindowInQwen",
                            "qwen2",
                            [](GgufWriter& w) { w.Set("qwen2.attention.sliding_window", 64u); },
                            "a window in this family is not served"},
                    Refused{"Split",
                            "llama",
                            [](GgufWriter& w) { w.Set("split.count", 2u); },
                            "models in several files"},
                    Refused{"Adapter",
                            "llama",
                            [](GgufWriter& w) { w.Set("general.type", "adapter"); },
                            "\"adapter\", not a model"},
                    Refused{"OtherVocabularySize",
                            "llama",
                            [](GgufWriter& w) { w.Set("llama.vocab_size", 330u); },
                            "a vocabulary of another size"},
                    Refused{"NotCausal",
                            "llama",
                            [](GgufWriter& w) { w.Set("llama.attention.causal", false); },
                            "not causal"}),
    [](const testing::TestParamInfo<Refused>& refused) { return std::string(refused.param.name); });

TEST(Family, OtherArchitecturesAreNamed) {
  GgufWriter writer("mamba");
  AddRow(writer, "token_embd.weight", 4);
  const auto opened = OpenBytes(writer.Bytes());
  EXPECT_EQ(opened.status().code(), StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(Message(opened.status())),
              HasSubstr("architecture \"mamba\" is not served; llama, qwen2"));
}

TEST(Family, TensorsThatDisagreeWithTheMetadataAreRefused) {
  GgufWriter writer = RandomModel(Tiny("llama"));
  writer.Set("llama.feed_forward_length", 100u);
  const auto opened = OpenBytes(writer.Bytes());
  EXPECT_EQ(opened.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(Message(opened.status())),
              HasSubstr("\"blk.0.ffn_gate.weight\": shape [136, 72], but the metadata asks for "
                        "[100, 72]"));
}

}  // namespace
}  // namespace inferd
