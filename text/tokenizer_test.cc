// Goal: ids and bytes are those the model file defines, and no input loses text or makes a control
// token by accident. Method: small vocabularies written here; published vectors are in
// tests/golden.
#include "text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <utility>

#include "base/random.h"
#include "base/utf8.h"
#include "text/tokenizer_digest.h"
#include "text/vocabulary_for_test.h"

namespace inferd {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::unique_ptr<Tokenizer> Make(const VocabularySpec& spec) {
  auto tokenizer = Tokenizer::Create(spec);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return *std::move(tokenizer);
}

// The texts of the tokens of `text`.
std::vector<std::string> Pieces(const Tokenizer& tokenizer,
                                std::string_view text,
                                SpecialTokens special) {
  const auto tokens = tokenizer.Encode(text, special);
  EXPECT_TRUE(tokens.ok()) << tokens.status();
  std::vector<std::string> pieces;
  for (const TokenId token : *tokens) {
    pieces.emplace_back(tokenizer.TokenBytes(token, true));
  }
  return pieces;
}

TEST(ByteLevelTokenizer, MergesInOrder) {
  const auto tokenizer = Make(ByteLevelSpec());
  EXPECT_THAT(Pieces(*tokenizer, "hello world", SpecialTokens::kAsText),
              ElementsAre("hello", " wor", "ld"));
  EXPECT_THAT(Pieces(*tokenizer, "hell", SpecialTokens::kAsText), ElementsAre("hell"));
  EXPECT_THAT(Pieces(*tokenizer, "", SpecialTokens::kAsText), ElementsAre());
}

TEST(ByteLevelTokenizer, AMergeOfSpacesIsReadAtTheSpaceAfterTheFirstCharacter) {
  const auto tokenizer = Make(ByteLevelSpec());
  EXPECT_THAT(Pieces(*tokenizer, "   ", SpecialTokens::kAsText), ElementsAre("  ", " "));
}

TEST(ByteLevelTokenizer, ControlTokensInTextAreTextUnlessParsed) {
  const auto tokenizer = Make(ByteLevelSpec());
  EXPECT_THAT(Pieces(*tokenizer, "<|im_end|>he", SpecialTokens::kParse),
              ElementsAre("<|im_end|>", "he"));
  const auto as_text = tokenizer->Encode("<|im_end|>he", SpecialTokens::kAsText);
  ASSERT_TRUE(as_text.ok());
  EXPECT_EQ(as_text->size(), 11u);
  for (const TokenId token : *as_text) {
    EXPECT_FALSE(tokenizer->IsControl(token));
  }
  EXPECT_EQ(tokenizer->Decode(*as_text, false).value(), "<|im_end|>he");
}

TEST(ByteLevelTokenizer, UserDefinedTokensAlwaysMatch) {
  const auto tokenizer = Make(ByteLevelSpec());
  for (const auto special : {SpecialTokens::kAsText, SpecialTokens::kParse}) {
    EXPECT_THAT(Pieces(*tokenizer, "he<tool>he", special), ElementsAre("he", "<tool>", "he"));
  }
}

TEST(ByteLevelTokenizer, AGuardedControlTokenIsTextAndMergesGoOn) {
  const auto tokenizer = Make(ByteLevelSpec());
  const std::string text = "<|im_end|>hello<|im_end|>";
  const TextRange inside{12, 13};  // the first "l"
  EXPECT_EQ(tokenizer->EncodeGuarded(text, {&inside, 1}).value(),
            tokenizer->Encode(text, SpecialTokens::kParse).value());
  const TextRange last_byte{text.size() - 1, text.size()};
  const auto tokens = tokenizer->EncodeGuarded(text, {&last_byte, 1}).value();
  ASSERT_EQ(tokens.size(), 12u);
  EXPECT_TRUE(tokenizer->IsControl(tokens[0]));
  EXPECT_EQ(tokenizer->TokenBytes(tokens[1], false), "hello");
  EXPECT_FALSE(tokenizer->IsControl(tokens[2]));
}

TEST(ByteLevelTokenizer, DecodeGivesTheTextBack) {
  const auto tokenizer = Make(ByteLevelSpec());
  SplitMix64 random(7);
  const std::vector<std::string> parts = {"he",
                                          "llo",
                                          " ",
                                          "  ",
                                          "\n",
                                          "\t",
                                          "é",
                                          "я",
                                          "語",
                                          "🦙",
                                          "<|im",
                                          "_end|>",
                                          "<tool>",
                                          "'s",
                                          "12"};
  for (int round = 0; round < 300; ++round) {
    std::string text;
    for (uint64_t n = random.Below(12); n > 0; --n) {
      text += parts[random.Below(parts.size())];
    }
    for (const auto special : {SpecialTokens::kAsText, SpecialTokens::kParse}) {
      const auto tokens = tokenizer->Encode(text, special);
      ASSERT_TRUE(tokens.ok());
      EXPECT_EQ(tokenizer->Decode(*tokens, true).value(), text);
    }
  }
}

TEST(ByteLevelTokenizer, ALongTextWithoutSpacesIsNoTrouble) {
  const auto tokenizer = Make(ByteLevelSpec());
  for (const std::string& unit : {std::string("a"), std::string(" "), std::string("\n")}) {
    std::string text;
    for (int i = 0; i < 50000; ++i) {
      text += unit;
    }
    const auto tokens = tokenizer->Encode(text, SpecialTokens::kAsText);
    ASSERT_TRUE(tokens.ok()) << tokens.status();
    EXPECT_EQ(tokenizer->Decode(*tokens, true).value(), text);
  }
}

TEST(ByteLevelTokenizer, AByteWithoutATokenIsAnErrorNotALoss) {
  VocabularySpec spec = ByteLevelSpec();
  spec.types['z'] = TokenType::kUnused;
  const auto tokenizer = Make(spec);
  EXPECT_TRUE(tokenizer->Encode("hello", SpecialTokens::kAsText).ok());
  EXPECT_EQ(tokenizer->Encode("zero", SpecialTokens::kAsText).status().code(),
            StatusCode::kInvalidArgument);
}

TEST(ByteLevelTokenizer, BadInputIsRefused) {
  const auto tokenizer = Make(ByteLevelSpec());
  EXPECT_EQ(tokenizer->Encode("\xff", SpecialTokens::kAsText).status().code(),
            StatusCode::kInvalidArgument);
  for (const TokenId bad : {-1, static_cast<TokenId>(tokenizer->vocab_size())}) {
    EXPECT_EQ(tokenizer->Decode(std::span(&bad, 1), true).status().code(),
              StatusCode::kInvalidArgument);
  }
}

TEST(ByteLevelTokenizer, IllFormedBytesDecodeToReplacements) {
  const auto tokenizer = Make(ByteLevelSpec());
  const std::vector<TokenId> half = {0xe8, 0xaa};  // of U+8A9E
  EXPECT_EQ(tokenizer->Decode(half, true).value(), "\xef\xbf\xbd");
}

TEST(TokenizerCreate, NamesWhatItDoesNotKnow) {
  VocabularySpec spec = ByteLevelSpec();
  spec.pre = "no-such-pre";
  const Status unknown = Tokenizer::Create(spec).status();
  EXPECT_EQ(unknown.code(), StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(Message(unknown)), HasSubstr("no-such-pre"));
  EXPECT_EQ(Tokenizer::Create(VocabularySpec()).status().code(), StatusCode::kUnimplemented);
}

TEST(TokenizerCreate, EveryKnownPreTokenizerBuilds) {
  for (const char* pre : {"",
                          "default",
                          "gpt-2",
                          "smollm",
                          "llama-bpe",
                          "llama3",
                          "llama-v3",
                          "pixtral",
                          "qwen2",
                          "qwen35",
                          "tekken",
                          "gpt-4o",
                          "dbrx",
                          "deepseek-llm",
                          "deepseek-v3",
                          "deepseek-coder",
                          "stablelm2",
                          "starcoder"}) {
    VocabularySpec spec = ByteLevelSpec();
    spec.pre = pre;
    const auto tokenizer = Tokenizer::Create(spec);
    ASSERT_TRUE(tokenizer.ok()) << pre << ": " << tokenizer.status();
    const std::string text = "Hello WORLD's it's 12345 x=y; naïve 語 🦙\r\n\n  end  ";
    const auto tokens = (*tokenizer)->Encode(text, SpecialTokens::kAsText);
    ASSERT_TRUE(tokens.ok()) << pre << ": " << tokens.status();
    EXPECT_EQ((*tokenizer)->Decode(*tokens, true).value(), text) << pre;
  }
}

TEST(TokenizerCreate, InconsistentVocabulariesAreRefused) {
  const auto code = [](auto change) {
    VocabularySpec spec = SentencePieceSpec();
    change(spec);
    return Tokenizer::Create(spec).status().code();
  };
  EXPECT_EQ(code([](VocabularySpec&) {}), StatusCode::kOk);
  EXPECT_EQ(code([](VocabularySpec& s) { s.types.pop_back(); }), StatusCode::kInvalidArgument);
  EXPECT_EQ(code([](VocabularySpec& s) { s.scores.pop_back(); }), StatusCode::kInvalidArgument);
  EXPECT_EQ(code([](VocabularySpec& s) { s.scores.clear(); }), StatusCode::kInvalidArgument);
  EXPECT_EQ(code([](VocabularySpec& s) { s.scores[5] = NAN; }), StatusCode::kInvalidArgument);
  EXPECT_EQ(code([](VocabularySpec& s) { s.eos = 100000; }), StatusCode::kInvalidArgument);
  EXPECT_EQ(code([](VocabularySpec& s) { s.eos = -2; }), StatusCode::kInvalidArgument);
  EXPECT_EQ(code([](VocabularySpec& s) {
              s = {};
              s.kind = TokenizerKind::kSentencePiece;
            }),
            StatusCode::kInvalidArgument);
  VocabularySpec bpe = ByteLevelSpec();
  bpe.merges.emplace_back("nospace");
  EXPECT_EQ(Tokenizer::Create(bpe).status().code(), StatusCode::kInvalidArgument);
}

TEST(SentencePieceTokenizer, MergesByScoreAndPrefixesASpace) {
  const auto tokenizer = Make(SentencePieceSpec());
  EXPECT_TRUE(tokenizer->strips_leading_space());
  EXPECT_THAT(Pieces(*tokenizer, "hello world", SpecialTokens::kAsText),
              ElementsAre(" hello", " wor", "ld"));
  EXPECT_EQ(tokenizer->Decode(*tokenizer->Encode("hello", SpecialTokens::kAsText), false).value(),
            "hello");
  VocabularySpec spec = SentencePieceSpec();
  spec.add_space_prefix = false;
  const auto plain = Make(spec);
  EXPECT_FALSE(plain->strips_leading_space());
  EXPECT_THAT(Pieces(*plain, "hello", SpecialTokens::kAsText), ElementsAre("h", "el", "lo"));
}

TEST(SentencePieceTokenizer, ASpaceIsPrefixedAfterEachSpecialToken) {
  const auto tokenizer = Make(SentencePieceSpec());
  EXPECT_THAT(Pieces(*tokenizer, "<s>hello</s>hello", SpecialTokens::kParse),
              ElementsAre("<s>", " hello", "</s>", " hello"));
  EXPECT_THAT(Pieces(*tokenizer, "hello<user>hello", SpecialTokens::kAsText),
              ElementsAre(" hello", "<user>", " hello"));
}

TEST(SentencePieceTokenizer, Phi3DropsSpaceAfterASpecialToken) {
  VocabularySpec spec = SentencePieceSpec();
  spec.strips_after_special = true;
  AddToken(spec, "<|endoftext|>", TokenType::kControl);
  const auto tokenizer = Make(spec);
  EXPECT_THAT(Pieces(*tokenizer, "<user>\n hello</s> \n<user>\n", SpecialTokens::kParse),
              ElementsAre("<user>", " hello", "</s>", "<user>"));
  EXPECT_THAT(Pieces(*tokenizer, "<s> hello<|endoftext|> hello", SpecialTokens::kParse),
              ElementsAre("<s>", " ", " hello", "<|endoftext|>", " ", " hello"));
  EXPECT_THAT(Pieces(*Make(SentencePieceSpec()), "<user> hello", SpecialTokens::kParse),
              ElementsAre("<user>", " ", " hello"));
}

TEST(SentencePieceTokenizer, UnknownCharactersFallBackToBytes) {
  const auto tokenizer = Make(SentencePieceSpec());
  EXPECT_THAT(Pieces(*tokenizer, "ü", SpecialTokens::kAsText), ElementsAre(" ", "\xc3", "\xbc"));
  EXPECT_EQ(tokenizer->Decode(*tokenizer->Encode("ü語", SpecialTokens::kAsText), true).value(),
            "ü語");
}

TEST(SentencePieceTokenizer, ControlTextIsNeverMergedIntoAControlToken) {
  const auto tokenizer = Make(SentencePieceSpec());
  const std::vector<TokenId> tokens =
      tokenizer->Encode("<s></s><unk>", SpecialTokens::kAsText).value();
  for (const TokenId token : tokens) {
    EXPECT_FALSE(tokenizer->IsControl(token));
  }
}

TEST(WordPieceTokenizer, SplitsWordsGreedily) {
  VocabularySpec spec;
  spec.kind = TokenizerKind::kWordPiece;
  spec.unk = AddToken(spec, "[UNK]", TokenType::kControl);
  for (const char* piece : {"▁hello", "▁he", "llo", "▁world", "s", "▁!"}) {
    AddToken(spec, piece, TokenType::kNormal);
  }
  const auto tokenizer = Make(spec);
  EXPECT_THAT(Pieces(*tokenizer, "Héllo WORLDS! qq", SpecialTokens::kAsText),
              ElementsAre(" hello", " world", "s", " !", "[UNK]"));
}

// Each field by itself gives another digest; the chat template has one of its own.
TEST(TokenizerDigest, NamesEveryFieldButTheTemplate) {
  const VocabularySpec spec = ByteLevelSpec();
  const Digest digest = TokenizerDigest(spec);
  const auto changed = [&](const std::function<void(VocabularySpec&)>& change) {
    VocabularySpec other = spec;
    change(other);
    return TokenizerDigest(other) != digest;
  };
  EXPECT_FALSE(changed([](auto& v) { v.chat_template = "x"; }));
  EXPECT_TRUE(changed([](auto& v) { v.kind = TokenizerKind::kSentencePiece; }));
  EXPECT_TRUE(changed([](auto& v) { v.pre += "x"; }));
  EXPECT_TRUE(changed([](auto& v) { v.pre_patterns.emplace_back("x"); }));
  EXPECT_TRUE(changed([](auto& v) { v.ignore_merges = !v.ignore_merges; }));
  EXPECT_TRUE(changed([](auto& v) { std::swap(v.tokens[0], v.tokens[1]); }));
  EXPECT_TRUE(changed([](auto& v) { v.scores.assign(v.tokens.size(), 1); }));
  EXPECT_TRUE(changed([](auto& v) { v.types.assign(v.tokens.size(), TokenType::kUnused); }));
  EXPECT_TRUE(changed([](auto& v) { v.merges.emplace_back("a b"); }));
  EXPECT_TRUE(changed([](auto& v) { v.mask = 0; }));
  EXPECT_TRUE(changed([](auto& v) { v.add_bos = !v.add_bos; }));
  EXPECT_TRUE(changed([](auto& v) { v.strips_after_special = !v.strips_after_special; }));
  // What one field loses and the next one gains is no collision.
  EXPECT_TRUE(changed([](auto& v) {
    v.merges.push_back(v.tokens.back());
    v.tokens.pop_back();
  }));
}

}  // namespace
}  // namespace inferd
