// Goal: text comes out whole, whatever the tokens. Method: random token lists over byte tokens, the
// concatenation compared with Decode.
#include "text/incremental_detokenizer.h"

#include <gtest/gtest.h>

#include "base/random.h"
#include "base/utf8.h"
#include "text/vocabulary_for_test.h"

namespace inferd {
namespace {

std::string Stream(const Tokenizer& tokenizer,
                   const std::vector<TokenId>& tokens,
                   bool show_control,
                   bool at_text_start) {
  IncrementalDetokenizer detokenizer(tokenizer, show_control, at_text_start);
  std::string text;
  for (const TokenId token : tokens) {
    const std::string part = detokenizer.Add(token);
    EXPECT_TRUE(IsValidUtf8(part));
    text += part;
  }
  return text + detokenizer.Finish();
}

TEST(IncrementalDetokenizer, ConcatenationIsDecode) {
  for (const VocabularySpec& spec : {ByteLevelSpec(), SentencePieceSpec()}) {
    const auto tokenizer = Tokenizer::Create(spec).value();
    SplitMix64 random(3);
    for (int round = 0; round < 2000; ++round) {
      std::vector<TokenId> tokens;
      for (uint64_t n = random.Below(10); n > 0; --n) {
        tokens.push_back(
            static_cast<TokenId>(random.Below(static_cast<uint64_t>(tokenizer->vocab_size()))));
      }
      for (const bool show_control : {false, true}) {
        EXPECT_EQ(Stream(*tokenizer, tokens, show_control, true),
                  tokenizer->Decode(tokens, show_control).value());
      }
    }
  }
}

TEST(IncrementalDetokenizer, ConcatenationIsDecodeNearCodePointBorders) {
  // Random bytes hardly ever make long code points; these do, whole and cut short.
  const auto tokenizer = Tokenizer::Create(ByteLevelSpec()).value();
  const std::vector<std::string> parts = {"é",
                                          "語",
                                          "🦙",
                                          "a",
                                          "\xe8\xaa",
                                          "\xf0\x9f",
                                          "\xf0\x9f\xa6",
                                          "\xc3",
                                          "\x80",
                                          "\xed\xa0",
                                          "\xf4\x90",
                                          "\xe0\x80"};
  SplitMix64 random(4);
  for (int round = 0; round < 5000; ++round) {
    std::vector<TokenId> tokens;
    for (uint64_t n = random.Below(6); n > 0; --n) {
      for (const char c : parts[random.Below(parts.size())]) {
        tokens.push_back(static_cast<uint8_t>(c));
      }
    }
    EXPECT_EQ(Stream(*tokenizer, tokens, true, true), tokenizer->Decode(tokens, true).value());
  }
}

TEST(IncrementalDetokenizer, HoldsBackHalfACodePoint) {
  const auto tokenizer = Tokenizer::Create(ByteLevelSpec()).value();
  IncrementalDetokenizer detokenizer(*tokenizer, false, false);
  EXPECT_EQ(detokenizer.Add(0xf0), "");
  EXPECT_EQ(detokenizer.Add(0x9f), "");
  EXPECT_EQ(detokenizer.Add(0xa6), "");
  EXPECT_EQ(detokenizer.Add(0x99), "🦙");
  EXPECT_EQ(detokenizer.Add(0xe8), "");
  EXPECT_EQ(detokenizer.Finish(), "\xef\xbf\xbd");
}

TEST(IncrementalDetokenizer, DropsTheLeadingSpaceAtTheTextsStartAlone) {
  const VocabularySpec spec = SentencePieceSpec();
  const auto tokenizer = Tokenizer::Create(spec).value();
  const std::vector<TokenId> tokens =
      tokenizer->Encode("hello world", SpecialTokens::kAsText).value();
  EXPECT_EQ(Stream(*tokenizer, tokens, false, true), "hello world");
  EXPECT_EQ(Stream(*tokenizer, tokens, false, false), " hello world");
}

TEST(IncrementalDetokenizer, ControlTokensShowOnlyWhenAsked) {
  const VocabularySpec spec = ByteLevelSpec();
  const auto tokenizer = Tokenizer::Create(spec).value();
  EXPECT_EQ(Stream(*tokenizer, {'a', *spec.eos}, false, false), "a");
  EXPECT_EQ(Stream(*tokenizer, {'a', *spec.eos}, true, false), "a<|im_end|>");
}

}  // namespace
}  // namespace inferd
