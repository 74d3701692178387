// Small vocabularies for tests.
#pragma once

#include <string>
#include <vector>

#include "base/vocabulary_spec.h"

namespace inferd {

// UTF-8 of a code point below U+0800.
inline std::string ShortUtf8(char32_t code) {
  if (code < 0x80) {
    return {static_cast<char>(code)};
  }
  return {static_cast<char>(0xc0 | (code >> 6)), static_cast<char>(0x80 | (code & 0x3f))};
}

inline TokenId AddToken(VocabularySpec& spec, std::string text, TokenType type, float score = 0) {
  spec.tokens.push_back(std::move(text));
  spec.types.push_back(type);
  spec.scores.push_back(score);
  return static_cast<TokenId>(spec.tokens.size()) - 1;
}

// Byte-level BPE: token b is the byte b; then pieces for a few words, then
// "<|im_start|>", "<|im_end|>" (control) and "<tool>" (user-defined).
inline VocabularySpec ByteLevelSpec() {
  VocabularySpec spec;
  spec.kind = TokenizerKind::kByteLevelBpe;
  spec.pre = "gpt-2";
  char32_t next = 0x100;
  for (char32_t byte = 0; byte < 256; ++byte) {
    const bool itself = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad);
    AddToken(spec, ShortUtf8(itself ? byte : next++), TokenType::kNormal);
  }
  for (const char* merge : {"h e", "l l", "he ll", "hell o", "Ġ w", "o r", "Ġw or", "l d", "Ġ Ġ"}) {
    spec.merges.emplace_back(merge);
    std::string joined = merge;
    joined.erase(joined.find(' ', 1), 1);
    AddToken(spec, joined, TokenType::kNormal);
  }
  spec.bos = AddToken(spec, "<|im_start|>", TokenType::kControl);
  spec.eos = AddToken(spec, "<|im_end|>", TokenType::kControl);
  AddToken(spec, "<tool>", TokenType::kUserDefined);
  return spec;
}

// SentencePiece: "<unk>", "<s>", "</s>", the 256 bytes, then pieces, then "<user>" (user-defined).
inline VocabularySpec SentencePieceSpec() {
  VocabularySpec spec;
  spec.kind = TokenizerKind::kSentencePiece;
  spec.unk = AddToken(spec, "<unk>", TokenType::kUnknown);
  spec.bos = AddToken(spec, "<s>", TokenType::kControl);
  spec.eos = AddToken(spec, "</s>", TokenType::kControl);
  for (int byte = 0; byte < 256; ++byte) {
    const char* digits = "0123456789ABCDEF";
    AddToken(
        spec, std::string("<0x") + digits[byte / 16] + digits[byte % 16] + ">", TokenType::kByte);
  }
  float score = 0;
  for (const char* piece :
       {"▁h", "el", "lo", "▁hel", "▁hello", "▁w", "or", "▁wor", "ld", "▁▁", "▁",
        "h",  "e",  "l",  "o",    "w",      "r",  "d",  "<",    "s",  ">",  "é"}) {
    AddToken(spec, piece, TokenType::kNormal, score);
    score -= 1;
  }
  AddToken(spec, "<user>", TokenType::kUserDefined);
  return spec;
}

}  // namespace inferd
