#include "model/model_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>

namespace inferd {
namespace {

using testing::HasSubstr;

// Where the real models are kept, or an empty path if this one is not there.
std::string CachedModel(const std::string& name) {
  const char* cache = std::getenv("INFERD_CACHE_DIR");
  const char* home = std::getenv("HOME");
  const std::string root = cache != nullptr  ? std::string(cache)
                           : home != nullptr ? std::string(home) + "/.cache/inferd"
                                             : std::string();
  const std::string path = root + "/models/" + name;
  return std::filesystem::exists(path) ? path : "";
}

std::map<std::string_view, int> FormatsOf(const Gguf& gguf) {
  std::map<std::string_view, int> counts;
  for (const GgufTensor& tensor : gguf.tensors()) {
    ++counts[GgmlTypeName(tensor.ggml_type)];
  }
  return counts;
}

TEST(ModelFile, OpensSmolLm2) {
  const std::string path = CachedModel("SmolLM2-135M-Instruct.Q4_1.gguf");
  if (path.empty()) {
    GTEST_SKIP() << "SmolLM2-135M-Instruct.Q4_1.gguf is not in the cache";
  }
  const auto file = ModelFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  const ModelConfig& config = (*file)->config();
  EXPECT_EQ(config.architecture, "llama");
  EXPECT_EQ(config.d_model, 576);
  EXPECT_EQ(config.vocab_size, 49152);
  EXPECT_EQ(config.context_tokens_max, 8192);
  EXPECT_TRUE(config.tied_embeddings);
  ASSERT_EQ(config.layers.size(), 30u);
  const AttentionConfig& attention = config.layers[29].attention;
  EXPECT_EQ(attention.n_heads, 9);
  EXPECT_EQ(attention.n_kv_heads, 3);
  EXPECT_EQ(attention.head_dim, 64);
  EXPECT_EQ(attention.window, 0);
  EXPECT_EQ(attention.scale, 0.125f);
  EXPECT_EQ(attention.rope.kind, RopeKind::kInterleaved);
  EXPECT_EQ(attention.rope.theta, 100000.0f);
  EXPECT_EQ(config.layers[29].dense.d_ff, 1536);
  ASSERT_EQ(config.geometry.groups.size(), 1u);
  EXPECT_THAT(FormatsOf((*file)->gguf()),
              testing::ElementsAre(
                  testing::Pair("F32", 61), testing::Pair("Q4_1", 210), testing::Pair("Q8_0", 1)));
  const VocabularySpec& vocabulary = (*file)->vocabulary();
  EXPECT_EQ(vocabulary.kind, TokenizerKind::kByteLevelBpe);
  EXPECT_EQ(vocabulary.pre, "smollm");
  EXPECT_EQ(vocabulary.bos, 1);
  EXPECT_EQ(vocabulary.eos, 2);
  EXPECT_FALSE(vocabulary.add_bos);
  EXPECT_THAT(vocabulary.chat_template, HasSubstr("<|im_start|>"));
}

TEST(ModelFile, OpensGemma3) {
  const std::string path = CachedModel("gemma-3-270m.Q4_K_M.gguf");
  if (path.empty()) {
    GTEST_SKIP() << "gemma-3-270m.Q4_K_M.gguf is not in the cache";
  }
  const auto file = ModelFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  const ModelConfig& config = (*file)->config();
  EXPECT_EQ(config.architecture, "gemma3");
  EXPECT_EQ(config.d_model, 640);
  EXPECT_EQ(config.embedding_scale, std::sqrt(640.0f));
  EXPECT_EQ(config.logit_cap, 0.0f);
  EXPECT_TRUE(config.tied_embeddings);
  ASSERT_EQ(config.layers.size(), 18u);
  for (size_t i = 0; i < config.layers.size(); ++i) {
    const bool local = i % 6 < 5;
    const AttentionConfig& attention = config.layers[i].attention;
    EXPECT_EQ(attention.window, local ? 512 : 0) << i;
    EXPECT_EQ(attention.rope.theta, local ? 10000.0f : 1000000.0f) << i;
    EXPECT_EQ(attention.state_group, local ? 1 : 0) << i;
    EXPECT_EQ(attention.rope.kind, RopeKind::kHalves);
    EXPECT_EQ(attention.scale, 0.0625f);
    EXPECT_EQ(attention.n_heads, 4);
    EXPECT_EQ(attention.n_kv_heads, 1);
    EXPECT_TRUE(attention.qk_norm);
    EXPECT_TRUE(config.layers[i].post_mixer_norm && config.layers[i].post_ffn_norm);
    EXPECT_EQ(config.layers[i].dense.activation, Activation::kGeluTanh);
  }
  ASSERT_EQ(config.geometry.groups.size(), 2u);
  EXPECT_EQ(config.geometry.groups[0].window, 0);
  EXPECT_EQ(config.geometry.groups[1].window, 512);
  const VocabularySpec& vocabulary = (*file)->vocabulary();
  EXPECT_EQ(vocabulary.kind, TokenizerKind::kSentencePiece);
  EXPECT_EQ(vocabulary.size(), 262144);
  EXPECT_TRUE(vocabulary.add_bos);
  EXPECT_FALSE(vocabulary.add_space_prefix);
}

TEST(ModelFile, NamesThePathInErrors) {
  const auto absent = ModelFile::Open("/nonexistent/model.gguf");
  EXPECT_EQ(absent.status().code(), StatusCode::kNotFound);
  EXPECT_THAT(std::string(Message(absent.status())), HasSubstr("/nonexistent/model.gguf"));
}

}  // namespace
}  // namespace inferd
