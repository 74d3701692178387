// Goal: published tokenizers give the published ids, token by token. Method: the vectors of
// ../shared/data/tokenizers, texts beside the ids expected for them; prints
// RESULT tokenizer.mismatches.
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

#include "base/file.h"
#include "model/vocabulary.h"
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

}  // namespace
}  // namespace inferd
