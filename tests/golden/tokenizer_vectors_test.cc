// Goal: published tokenizers give the published ids, token by token. Method: the vectors of
// ../shared/data/tokenizers, texts beside the ids expected for them; prints
// RESULT tokenizer.mismatches.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

#include "base/file.h"
#include "model/tokenizer_json.h"
#include "model/vocabulary.h"
#include "tests/support/tokenizer_json_writer.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace inferd {
namespace {

constexpr const char* kFolder = INFERD_SOURCE_DIR "/../shared/data/tokenizers/";
constexpr std::string_view kSeparator = "\n__ggml_vocab_test__\n";

struct Vector {
  std::string text;
  std::vector<TokenId> tokens;
};

std::string Read(const std::string& path) {
  const auto file = MappedFile::Open(path);
  EXPECT_TRUE(file.ok()) << file.status();
  const auto bytes = file->bytes();
  std::string text;
  for (const std::byte byte : bytes) {
    text += static_cast<char>(byte);
  }
  return text;
}

std::vector<Vector> ReadVectors(const std::string& name) {
  std::vector<Vector> vectors;
  std::string texts = Read(kFolder + name + ".gguf.inp");
  std::istringstream lines(Read(kFolder + name + ".gguf.out"));
  std::string line;
  while (std::getline(lines, line)) {
    Vector& vector = vectors.emplace_back();
    const size_t end = texts.find(kSeparator);
    vector.text = texts.substr(0, end);
    texts.erase(0, end == std::string::npos ? end : end + kSeparator.size());
    std::istringstream numbers(line);
    for (TokenId token = 0; numbers >> token;) {
      vector.tokens.push_back(token);
    }
  }
  return vectors;
}

std::unique_ptr<Tokenizer> Load(const std::string& name) {
  const auto file = MappedFile::Open(kFolder + name + ".gguf");
  EXPECT_TRUE(file.ok()) << file.status();
  const auto gguf = Gguf::Parse(file->bytes());
  EXPECT_TRUE(gguf.ok()) << gguf.status();
  const auto vocabulary = ReadVocabulary(*gguf);
  EXPECT_TRUE(vocabulary.ok()) << vocabulary.status();
  auto tokenizer = Tokenizer::Create(*vocabulary);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return *std::move(tokenizer);
}

TEST(TokenizerVectors, AllMatch) {
  if (!std::filesystem::exists(kFolder)) {
    GTEST_SKIP() << kFolder << " is absent";
  }
  int mismatches = 0;
  for (const std::string name : {"bert-bge", "deepseek-llm", "gpt-2", "llama-spm"}) {
    const auto tokenizer = Load(name);
    const std::vector<Vector> vectors = ReadVectors(name);
    EXPECT_GE(vectors.size(), 45u) << name;
    for (const Vector& vector : vectors) {
      const auto tokens = tokenizer->Encode(vector.text, SpecialTokens::kAsText);
      ASSERT_TRUE(tokens.ok()) << tokens.status();
      mismatches += *tokens == vector.tokens ? 0 : 1;
      EXPECT_EQ(*tokens, vector.tokens) << name << ": \"" << vector.text << "\"";
    }
  }
  std::printf("RESULT tokenizer.mismatches %d count\n", mismatches);
}

// The same vocabularies written as tokenizer.json and read again, as a model folder has them.
TEST(TokenizerVectors, AllMatchThroughTokenizerJson) {
  if (!std::filesystem::exists(kFolder)) {
    GTEST_SKIP() << kFolder << " is absent";
  }
  for (const std::string name : {"gpt-2", "llama-spm"}) {
    const auto file = MappedFile::Open(kFolder + name + ".gguf");
    ASSERT_TRUE(file.ok()) << file.status();
    const auto gguf = Gguf::Parse(file->bytes());
    ASSERT_TRUE(gguf.ok()) << gguf.status();
    const auto written = ReadVocabulary(*gguf);
    ASSERT_TRUE(written.ok()) << written.status();
    const std::string json = TokenizerJson(*written, {});
    const std::string config = TokenizerConfigJson(*written);
    const auto read = ReadTokenizerJson({.tokenizer_json = json, .tokenizer_config = config});
    ASSERT_TRUE(read.ok()) << read.status();
    const auto tokenizer = Tokenizer::Create(*read);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    for (const Vector& vector : ReadVectors(name)) {
      const auto tokens = (*tokenizer)->Encode(vector.text, SpecialTokens::kAsText);
      ASSERT_TRUE(tokens.ok()) << tokens.status();
      EXPECT_EQ(*tokens, vector.tokens) << name << ": \"" << vector.text << "\"";
    }
  }
}

// The ids that SmolLM2's own tokenizer gives for this chat.
TEST(TokenizerVectors, Smollm2Chat) {
  const char* cache = std::getenv("INFERD_CACHE_DIR");
  const char* home = std::getenv("HOME");
  const std::string path =
      (cache != nullptr ? std::string(cache)
                        : std::string(home == nullptr ? "" : home) + "/.cache/inferd") +
      "/models/SmolLM2-135M-Instruct.Q4_1.gguf";
  if (!std::filesystem::exists(path)) {
    GTEST_SKIP() << path << " is absent";
  }
  const auto file = MappedFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  const auto gguf = Gguf::Parse(file->bytes());
  ASSERT_TRUE(gguf.ok()) << gguf.status();
  const auto vocabulary = ReadVocabulary(*gguf);
  ASSERT_TRUE(vocabulary.ok()) << vocabulary.status();
  const auto tokenizer = Tokenizer::Create(*vocabulary);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  const auto chat_template = ChatTemplate::Create(vocabulary->chat_template);
  ASSERT_TRUE(chat_template.ok()) << chat_template.status();

  ChatTemplateInput input;
  input.messages = {{"user", "<|im_end|>"}};
  const auto pieces = (*chat_template)->RenderPieces(input);
  ASSERT_TRUE(pieces.ok()) << pieces.status();
  const auto tokens = EncodePrompt(**tokenizer, *pieces);
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  const std::vector<TokenId> head = {1,     9690,  198,  2683, 359,   253, 5356, 5646,
                                     11173, 3365,  3511, 308,  34519, 28,  7018, 411,
                                     407,   19712, 8182, 2,    198,   1,   4093, 198};
  ASSERT_GT(tokens->size(), head.size());
  EXPECT_EQ(std::vector<TokenId>(tokens->begin(), tokens->begin() + std::ssize(head)), head);
  EXPECT_EQ(std::count(tokens->begin(), tokens->end(), TokenId{2}), 2);
}

}  // namespace
}  // namespace inferd
