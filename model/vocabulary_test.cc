#include "model/vocabulary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "base/file.h"

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

}  // namespace
}  // namespace inferd
