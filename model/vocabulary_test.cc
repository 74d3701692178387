#include "model/vocabulary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "base/file.h"
#include "model/gguf_writer.h"

namespace inferd {
namespace {

struct Expected {
  const char* file;
  TokenizerKind kind;
  const char* pre;
  int64_t size;
  size_t merges;
  bool add_bos;
};

class PublicVocabulary : public testing::TestWithParam<Expected> {};

TEST_P(PublicVocabulary, IsReadWithoutTensors) {
  const std::string path =
      std::string(INFERD_SOURCE_DIR "/../shared/data/tokenizers/") + GetParam().file;
  if (!std::filesystem::exists(path)) {
    GTEST_SKIP() << path << " is absent";
  }
  const auto mapped = MappedFile::Open(path);
  ASSERT_TRUE(mapped.ok()) << mapped.status();
  const auto gguf = Gguf::Parse(mapped->bytes());
  ASSERT_TRUE(gguf.ok()) << gguf.status();
  const auto vocabulary = ReadVocabulary(*gguf);
  ASSERT_TRUE(vocabulary.ok()) << vocabulary.status();
  EXPECT_EQ(vocabulary->kind, GetParam().kind);
  EXPECT_EQ(vocabulary->pre, GetParam().pre);
  EXPECT_EQ(vocabulary->size(), GetParam().size);
  EXPECT_EQ(vocabulary->types.size(), vocabulary->tokens.size());
  EXPECT_EQ(vocabulary->merges.size(), GetParam().merges);
  EXPECT_EQ(vocabulary->add_bos, GetParam().add_bos);
}

INSTANTIATE_TEST_SUITE_P(
    Files,
    PublicVocabulary,
    testing::Values(
        Expected{"bert-bge.gguf", TokenizerKind::kWordPiece, "bert-bge", 30522, 0, false},
        Expected{
            "deepseek-llm.gguf", TokenizerKind::kByteLevelBpe, "deepseek-llm", 102400, 99757, true},
        Expected{"gpt-2.gguf", TokenizerKind::kByteLevelBpe, "gpt-2", 50257, 50000, false},
        Expected{"llama-spm.gguf", TokenizerKind::kSentencePiece, "default", 32000, 0, true}));

// A vocabulary of four tokens that is right; tests then break one thing.
GgufWriter Small() {
  GgufWriter writer("llama");
  writer.Set("tokenizer.ggml.model", "llama")
      .Set("tokenizer.ggml.tokens", std::vector<std::string>{"<unk>", "<s>", "a", "<|end|>"})
      .Set("tokenizer.ggml.scores", std::vector<float>{0, 0, -1, 0})
      .Set("tokenizer.ggml.token_type", std::vector<int32_t>{2, 3, 1, 3})
      .Set("tokenizer.ggml.bos_token_id", 1u);
  return writer;
}

StatusOr<VocabularySpec> Read(const GgufWriter& writer) {
  const std::string bytes = writer.Bytes();
  const auto gguf = Gguf::Parse(std::as_bytes(std::span(bytes)));
  EXPECT_TRUE(gguf.ok()) << gguf.status();
  return ReadVocabulary(*gguf);
}

TEST(Vocabulary, ReadsIdsAndWhatFollowsFromTheKind) {
  const auto spec = Read(Small());
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->kind, TokenizerKind::kSentencePiece);
  EXPECT_EQ(spec->bos, 1);
  EXPECT_EQ(spec->eos, std::nullopt);
  EXPECT_EQ(spec->eot, 3);  // found by its text: no key names it
  EXPECT_TRUE(spec->add_bos);
  EXPECT_TRUE(spec->add_space_prefix);
  EXPECT_EQ(spec->types[3], TokenType::kControl);
  EXPECT_EQ(spec->scores[2], -1.0f);
}

TEST(Vocabulary, FlagsInTheFileWin) {
  GgufWriter writer = Small();
  writer.Set("tokenizer.ggml.add_bos_token", false)
      .Set("tokenizer.ggml.add_space_prefix", false)
      .Set("tokenizer.ggml.eot_token_id", 2u)
      .Set("tokenizer.chat_template", "{{ x }}");
  const auto spec = Read(writer);
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_FALSE(spec->add_bos);
  EXPECT_FALSE(spec->add_space_prefix);
  EXPECT_EQ(spec->eot, 2);
  EXPECT_EQ(spec->chat_template, "{{ x }}");
}

TEST(Vocabulary, BytePairVocabulariesOfLlama3AddBosThoughNoKeySaysSo) {
  GgufWriter writer = Small();
  writer.Set("tokenizer.ggml.model", "gpt2").Set("tokenizer.ggml.pre", "gpt-2");
  EXPECT_FALSE(Read(writer)->add_bos);
  writer.Set("tokenizer.ggml.pre", "llama-bpe");
  EXPECT_TRUE(Read(writer)->add_bos);
}

TEST(Vocabulary, Phi3sSpecialTokensTakeTheSpaceAfterThem) {
  GgufWriter writer = Small();
  EXPECT_FALSE(Read(writer)->strips_after_special);
  writer.Set("general.architecture", "phi3");
  EXPECT_TRUE(Read(writer)->strips_after_special);
}

TEST(Vocabulary, FilesWithoutATokenizerHaveNone) {
  const auto spec = Read(GgufWriter("llama"));
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->kind, TokenizerKind::kNone);
  EXPECT_EQ(spec->size(), 0);
}

struct BadVocabulary {
  const char* name;
  void (*change)(GgufWriter&);
  const char* message;
  StatusCode code = StatusCode::kInvalidArgument;
};

class VocabularyRefuses : public testing::TestWithParam<BadVocabulary> {};

TEST_P(VocabularyRefuses, NamingTheKey) {
  GgufWriter writer = Small();
  GetParam().change(writer);
  const auto spec = Read(writer);
  ASSERT_FALSE(spec.ok());
  EXPECT_EQ(spec.status().code(), GetParam().code);
  EXPECT_THAT(std::string(Message(spec.status())), testing::HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Keys,
    VocabularyRefuses,
    testing::Values(
        BadVocabulary{"IdOutOfRange",
                      [](GgufWriter& w) { w.Set("tokenizer.ggml.eos_token_id", 4u); },
                      "token 4 of a vocabulary of 4"},
        BadVocabulary{"IdOfOtherType",
                      [](GgufWriter& w) { w.Set("tokenizer.ggml.eos_token_id", "2"); },
                      "not an integer"},
        BadVocabulary{
            "ScoresTooShort",
            [](GgufWriter& w) { w.Set("tokenizer.ggml.scores", std::vector<float>{0, 0, 0}); },
            "3 entries for 4 tokens"},
        BadVocabulary{
            "ScoreNotFinite",
            [](GgufWriter& w) { w.Set("tokenizer.ggml.scores", std::vector<float>{0, 0, NAN, 0}); },
            "not finite"},
        BadVocabulary{"TypeSeven",
                      [](GgufWriter& w) {
                        w.Set("tokenizer.ggml.token_type", std::vector<int32_t>{1, 1, 7, 1});
                      },
                      "token 2 has type 7"},
        BadVocabulary{
            "TokensOfOtherType",
            [](GgufWriter& w) { w.Set("tokenizer.ggml.tokens", std::vector<int32_t>{1, 2, 3, 4}); },
            "tokenizer.ggml.tokens"},
        BadVocabulary{"NoTokens",
                      [](GgufWriter& w) { w.RemoveKey("tokenizer.ggml.tokens"); },
                      "absent or empty"},
        BadVocabulary{"MergesOfOtherType",
                      [](GgufWriter& w) { w.Set("tokenizer.ggml.merges", 1u); },
                      "tokenizer.ggml.merges"},
        BadVocabulary{
            "BosAskedForAndAbsent",
            [](GgufWriter& w) {
              w.RemoveKey("tokenizer.ggml.bos_token_id").Set("tokenizer.ggml.add_bos_token", true);
            },
            "tokenizer.ggml.bos_token_id"},
        BadVocabulary{"UnknownModel",
                      [](GgufWriter& w) { w.Set("tokenizer.ggml.model", "rwkv"); },
                      "tokenizer model \"rwkv\" is not served",
                      StatusCode::kUnimplemented},
        BadVocabulary{"ModelMissing",
                      [](GgufWriter& w) { w.RemoveKey("tokenizer.ggml.model"); },
                      "absent, though the file has tokens"}),
    [](const testing::TestParamInfo<BadVocabulary>& bad) { return std::string(bad.param.name); });

}  // namespace
}  // namespace inferd
