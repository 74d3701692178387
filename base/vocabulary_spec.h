// VocabularySpec: what a model file says about its tokenizer. Filled by `model`, read by `text`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"

namespace inferd {

enum class TokenizerKind : uint8_t { kNone, kByteLevelBpe, kSentencePiece, kWordPiece };

// The numbers are GGUF's.
enum class TokenType : uint8_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

// A plain value. Invariant after `model` filled it: scores and types are empty or as long as
// tokens, every special id is an index into tokens. A SentencePiece vocabulary has scores or
// merges.
struct VocabularySpec {
  TokenizerKind kind = TokenizerKind::kNone;
  std::string pre;  // the pre-tokenizer's name, as `tokenizer.ggml.pre` gives it
  // Where a file gives no name but its patterns (tokenizer.json): the regular expressions that
  // split text one after another, and whether a whole word that is a token is that token. Not
  // empty: `pre` is not used.
  std::vector<std::string> pre_patterns;
  bool ignore_merges = false;
  std::vector<std::string> tokens;
  std::vector<float> scores;
  std::vector<TokenType> types;
  std::vector<std::string> merges;  // "left right", best first

  std::optional<TokenId> bos, eos, eot, eom, unk, sep, pad, cls, mask;
  bool add_bos = false;  // text prompts start with bos
  bool add_eos = false;
  bool add_space_prefix = true;  // SentencePiece: a space before the text
  bool remove_extra_whitespaces = false;
  // Phi-3: whitespace after a special token belongs to the token, but for bos, unk and
  // "<|endoftext|>". No key of the file says so.
  bool strips_after_special = false;

  std::string chat_template;  // Jinja source; empty if the file has none

  int64_t size() const { return static_cast<int64_t>(tokens.size()); }
};

}  // namespace inferd
