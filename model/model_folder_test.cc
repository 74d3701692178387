// Goal: a folder is read whole or refused by name: one change at a time to a good folder's files.
#include "model/model_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "model/model_file.h"
#include "model/tokenizer_json.h"
#include "tests/support/random_folder.h"
#include "tests/support/temp_folder.h"

namespace inferd {
namespace {

using nlohmann::json;
using testing::HasSubstr;

class ModelFolderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(
        WriteRandomFolder({.model_type = "llama", .llama3_rope = true}, folder_.path()).ok());
  }

  json Read(const std::string& name) const {
    std::ifstream file(folder_ / name);
    return json::parse(file);
  }
  void Write(const std::string& name, const json& value) const {
    std::ofstream(folder_ / name) << value.dump();
  }
  std::string Problem() const {
    const auto file = ModelFile::Open(folder_.path());
    return file.ok() ? "" : std::string(Message(file.status()));
  }
  // What is said of the folder with this change of config.json.
  std::string ProblemOf(const char* key, const json& value) const {
    const json config = Read("config.json");
    json changed = config;
    changed[key] = value;
    Write("config.json", changed);
    std::string problem = Problem();
    Write("config.json", config);
    return problem;
  }

  TempFolder folder_;
};

TEST_F(ModelFolderTest, SaysWhatItIsMadeOf) {
  const auto file = ModelFile::Open(folder_.path());
  ASSERT_TRUE(file.ok()) << file.status();
  const ModelConfig& config = (*file)->config();
  EXPECT_EQ(config.architecture, "llama");
  EXPECT_EQ(config.layers[0].attention.rope.kind, RopeKind::kHalves);
  EXPECT_EQ(config.layers[0].attention.rope.factors.size(), 16u);
  EXPECT_FALSE(config.tied_embeddings);
  const auto folder = ModelFolder::Open(folder_.path());
  ASSERT_TRUE(folder.ok());
  EXPECT_EQ((*folder)->size_bytes(), (*file)->size_bytes());
}

// Bytes that were read before the folder changed say what the folder said then.
TEST_F(ModelFolderTest, IsTheSameOfBytesThatWereRead) {
  std::vector<ModelBytes> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder_.path())) {
    auto input = InputFile::Open(entry.path().string());
    auto bytes = PrivateMemory::Allocate(input->size_bytes());
    ASSERT_TRUE(input->Read(0, bytes->writable()).ok());
    files.push_back({entry.path().filename().string(), *std::move(bytes)});
  }
  files.push_back({"README.md", MemoryPages()});
  const auto mapped = ModelFile::Open(folder_.path());
  ASSERT_TRUE(mapped.ok()) << mapped.status();
  for (const auto& entry : std::filesystem::directory_iterator(folder_.path())) {
    std::filesystem::resize_file(entry.path(), 3);
  }
  const auto file = ModelFile::FromBytes(folder_.path(), std::move(files));
  ASSERT_TRUE(file.ok()) << file.status();
  const ModelWeights& weights = (*file)->weights();
  EXPECT_EQ((*file)->config().vocab_size, (*mapped)->config().vocab_size);
  EXPECT_EQ((*file)->size_bytes(), (*mapped)->size_bytes());
  EXPECT_EQ(weights.layers[1].up.name, (*mapped)->weights().layers[1].up.name);
  EXPECT_NE(weights.layers[1].up.data.back(), std::byte{0xee});
  std::vector<ModelBytes> config_alone;
  config_alone.push_back({"config.json", MemoryPages()});
  EXPECT_FALSE(ModelFile::FromBytes(folder_.path(), std::move(config_alone)).ok());
}

TEST_F(ModelFolderTest, RefusesWhatConfigJsonAsksForAndIsNotServed) {
  EXPECT_THAT(ProblemOf("model_type", "mamba"), HasSubstr("\"mamba\" is not served"));
  EXPECT_THAT(ProblemOf("hidden_act", "gelu"), HasSubstr("hidden_act"));
  EXPECT_THAT(ProblemOf("rope_scaling", {{"rope_type", "yarn"}}), HasSubstr("\"yarn\""));
  EXPECT_THAT(ProblemOf("num_experts", 8), HasSubstr("\"num_experts\" is not understood"));
  EXPECT_THAT(ProblemOf("mlp_bias", true), HasSubstr("\"mlp_bias\" is not understood"));
  EXPECT_EQ(ProblemOf("mlp_bias", false), "");
  EXPECT_THAT(ProblemOf("hidden_size", "wide"), HasSubstr("no integer"));
  EXPECT_THAT(ProblemOf("hidden_size", 256), HasSubstr("shape"));
  EXPECT_THAT(ProblemOf("vocab_size", 20), HasSubstr("tokens, config.json 20"));
  EXPECT_THAT(ProblemOf("use_sliding_window", true), HasSubstr("use_sliding_window"));
  EXPECT_THAT(ProblemOf("quantization_config", {{"quant_method", "bitsandbytes"}}),
              HasSubstr("bitsandbytes"));
  EXPECT_THAT(ProblemOf("quantization_config",
                        {{"quant_method", "gptq"}, {"bits", 3}, {"group_size", 128}}),
              HasSubstr("bits"));
  EXPECT_THAT(ProblemOf("quantization_config", nullptr), HasSubstr("does not say how"));
  EXPECT_EQ(Problem(), "");
}

TEST_F(ModelFolderTest, RefusesWhatTokenizerJsonAsksForAndIsNotServed) {
  const json good = Read("tokenizer.json");
  const auto says = [&](const char* pointer, const json& value, const char* text) {
    json changed = good;
    changed[json::json_pointer(pointer)] = value;
    Write("tokenizer.json", changed);
    EXPECT_THAT(Problem(), HasSubstr(text)) << pointer;
  };
  says("/model/type", "Unigram", "\"Unigram\"");
  says("/model/merges", json::array(), "no merges");
  says("/model/merges/0", 7, "a merge that is not two parts");
  says("/model/vocab", json::object(), "no vocabulary");
  says("/model/vocab/zzz", 1 << 23, "out of bounds");
  says("/model/vocab/zzz", 5, "has two tokens");
  says("/model/vocab/zzz", 1 << 21, "more gaps than tokens");
  says("/normalizer", {{"type", "Lowercase"}}, "\"Lowercase\"");
  says("/pre_tokenizer", {{"type", "BertPreTokenizer"}}, "\"BertPreTokenizer\"");
  says("/pre_tokenizer", nullptr, "BPE without bytes");
  says("/post_processor", {{"type", "RobertaProcessing"}}, "\"RobertaProcessing\"");
  Write("tokenizer.json", good);
  EXPECT_EQ(Problem(), "");
  json config = Read("tokenizer_config.json");
  config["eos_token"] = "nowhere";
  Write("tokenizer_config.json", config);
  EXPECT_THAT(Problem(), HasSubstr("eos_token \"nowhere\" is no token"));
}

TEST_F(ModelFolderTest, RefusesAnIndexThatLeadsOut) {
  Write("model.safetensors.index.json", {{"weight_map", {{"x", "../model.safetensors"}}}});
  EXPECT_THAT(Problem(), HasSubstr("lies in no file of the folder"));
  Write("model.safetensors.index.json", {{"weight_map", {{"x", "absent.safetensors"}}}});
  EXPECT_THAT(Problem(), HasSubstr("absent.safetensors"));
}

TEST_F(ModelFolderTest, NamesWhatIsAbsent) {
  std::filesystem::remove(folder_ / "tokenizer.json");
  EXPECT_THAT(Problem(), HasSubstr("tokenizer.json"));
  std::filesystem::remove(folder_ / "config.json");
  EXPECT_THAT(Problem(), HasSubstr("config.json"));
}

TEST(TokenizerJson, TakesBosFromTheTemplateAndPiecesWithSpaces) {
  const auto spec = ReadTokenizerJson({.tokenizer_json = R"({
    "added_tokens": [{"id": 3, "content": "<s>", "special": true}],
    "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always",
                      "split": false},
    "post_processor": {"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}]},
    "model": {"byte_fallback": true, "vocab": {"a": 0, "b": 1, "ab": 2},
              "merges": [["a", "b"]]}})",
                                       .tokenizer_config = {},
                                       .chat_template = "{{ messages }}"});
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->kind, TokenizerKind::kSentencePiece);
  EXPECT_TRUE(spec->add_bos && spec->add_space_prefix);
  EXPECT_EQ(spec->bos, 3);
  EXPECT_EQ(spec->merges, std::vector<std::string>{"a b"});
  EXPECT_EQ(spec->chat_template, "{{ messages }}");
}

}  // namespace
}  // namespace inferd
