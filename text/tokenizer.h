// Tokenizer: text to token ids and back, as one model file defines it.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "base/vocabulary_spec.h"

namespace inferd {

enum class SpecialTokens : uint8_t {
  kAsText,  // "<|im_end|>" in the text is text
  kParse,   // control and user-defined tokens in the text become their ids
};

// A byte range [begin, end) of a text.
struct TextRange {
  size_t begin = 0;
  size_t end = 0;
  friend bool operator==(const TextRange&, const TextRange&) = default;
};

// Immutable after Create; safe to use from any number of threads at once.
class Tokenizer {
 public:
  // kUnimplemented names a tokenizer model or a pre-tokenizer that is not known; kInvalidArgument
  // names what in the vocabulary is inconsistent.
  static StatusOr<std::unique_ptr<Tokenizer>> Create(const VocabularySpec& spec);
  virtual ~Tokenizer() = default;

  // Token ids of `text`, which must be valid UTF-8 (else kInvalidArgument). Never adds bos or eos:
  // the caller decides (VocabularySpec::add_bos).
  virtual StatusOr<std::vector<TokenId>> Encode(std::string_view text,
                                                SpecialTokens special) const = 0;

  // As Encode with kParse, but a control token that touches one of `as_text` (sorted, disjoint, on
  // code point borders) is text. The default encodes each stretch alone, so merges stop at its
  // borders; tokenizers made by Create merge across them.
  virtual StatusOr<std::vector<TokenId>> EncodeGuarded(std::string_view text,
                                                       std::span<const TextRange> as_text) const;

  // The bytes of one token as they appear in text; may be a part of a code point. Control tokens
  // give their text if `show_control`, else nothing. The leading space that SentencePiece puts
  // before the first word is the detokenizer's to drop. The id must be in the vocabulary.
  virtual std::string_view TokenBytes(TokenId token, bool show_control) const = 0;

  // The whole text of the ids; ill-formed UTF-8 becomes U+FFFD. kInvalidArgument for an id outside
  // the vocabulary.
  virtual StatusOr<std::string> Decode(std::span<const TokenId> tokens,
                                       bool show_control) const = 0;

  virtual int64_t vocab_size() const = 0;
  virtual bool IsControl(TokenId token) const = 0;
  // True if a text's first token carries a space that the text did not have (SentencePiece with
  // add_space_prefix): a decoder drops one leading space at the very start of a text.
  virtual bool strips_leading_space() const = 0;
};

}  // namespace inferd
