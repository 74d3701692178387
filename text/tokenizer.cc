#include "text/tokenizer.h"

#include <algorithm>
#include <utility>

#include "base/utf8.h"
#include "text/pre_tokenizer.h"
#include "text/rust_call.h"
#include "text/special_token_matcher.h"
#include "text/vocabulary_tables.h"

namespace inferd {
namespace text_internal {
namespace {

struct SegmenterFree {
  void operator()(RustSegmenter* segmenter) const { RustSegmenterFree(segmenter); }
};
using SegmenterPtr = std::unique_ptr<RustSegmenter, SegmenterFree>;

StatusOr<SegmenterPtr> NewSegmenter(const VocabularySpec& spec,
                                    const std::vector<TokenType>& types) {
  SegmenterVocabulary vocabulary;
  PreTokenizer pre;
  RustSegmenterSpec rust{};
  switch (spec.kind) {
    case TokenizerKind::kByteLevelBpe: {
      rust.kind = kRustByteLevelBpe;
      ASSIGN_OR_RETURN(pre,
                       spec.pre_patterns.empty()
                           ? FindPreTokenizer(spec.pre)
                           : FindPreTokenizer(spec.pre_patterns, spec.ignore_merges));
      ASSIGN_OR_RETURN(vocabulary, ByteLevelBpeVocabulary(spec, types));
      break;
    }
    case TokenizerKind::kSentencePiece: {
      rust.kind = kRustPlainBpe;
      rust.byte_fallback = 1;
      ASSIGN_OR_RETURN(vocabulary, SentencePieceVocabulary(spec, types));
      break;
    }
    case TokenizerKind::kWordPiece:
      rust.kind = kRustWordPiece;
      vocabulary = WordPieceVocabulary(spec, types);
      break;
    case TokenizerKind::kNone:
      return ErrorF(StatusCode::kUnimplemented, "tokenizer: the model file has no known tokenizer");
  }
  std::vector<RustSlice> texts;
  texts.reserve(vocabulary.texts.size());
  for (const std::string_view text : vocabulary.texts) {
    texts.push_back(AsSlice(text));
  }
  std::vector<uint32_t> merges;
  merges.reserve(vocabulary.merges.size() * 2);
  for (const auto& [left, right] : vocabulary.merges) {
    merges.push_back(left);
    merges.push_back(right);
  }
  std::vector<RustSlice> patterns;
  patterns.reserve(pre.patterns.size());
  for (const std::string& pattern : pre.patterns) {
    patterns.push_back(AsSlice(pattern));
  }
  rust.token_texts = texts.data();
  rust.token_ids = vocabulary.ids.data();
  rust.token_count = texts.size();
  rust.merges = merges.data();
  rust.merge_count = merges.size() / 2;
  rust.patterns = patterns.data();
  rust.pattern_count = patterns.size();
  rust.ignore_merges = pre.ignore_merges ? 1 : 0;
  if (spec.unk.has_value() && spec.kind != TokenizerKind::kByteLevelBpe) {
    rust.unknown_text = AsSlice(spec.tokens[static_cast<size_t>(*spec.unk)]);
  }
  RustSegmenter* segmenter = nullptr;
  RustBuffer error{};
  if (const RustCode code = RustSegmenterNew(&rust, &segmenter, &error); code != kRustOk) {
    return TakeError(code, error, "tokenizer");
  }
  return SegmenterPtr(segmenter);
}

// Spaces as SentencePiece writes them.
std::string WithVisibleSpaces(std::string_view text, bool prefix) {
  std::string visible;
  visible.reserve(text.size() + text.size() / 2 + kVisibleSpace.size());
  if (prefix) {
    visible += kVisibleSpace;
  }
  for (const char c : text) {
    if (c == ' ') {
      visible += kVisibleSpace;
    } else {
      visible += c;
    }
  }
  return visible;
}

std::string_view WithoutLeadingSpace(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\n\v\f\r");
  return begin == std::string_view::npos ? std::string_view() : text.substr(begin);
}

// Whether whitespace after this special token is dropped.
bool StripsAfter(const VocabularySpec& spec, TokenId token) {
  return spec.strips_after_special && token != spec.bos && token != spec.unk &&
         spec.tokens[static_cast<size_t>(token)] != "<|endoftext|>";
}

class ModelTokenizer final : public Tokenizer {
 public:
  ModelTokenizer(const VocabularySpec& spec,
                 const std::vector<TokenType>& types,
                 SegmenterPtr segmenter)
      : kind_(spec.kind),
        add_space_prefix_(spec.kind == TokenizerKind::kSentencePiece && spec.add_space_prefix),
        segmenter_(std::move(segmenter)),
        bytes_(spec, types) {
    is_control_.reserve(types.size());
    strips_after_.reserve(types.size());
    for (size_t i = 0; i < types.size(); ++i) {
      const bool control = types[i] == TokenType::kControl || types[i] == TokenType::kUnknown;
      is_control_.push_back(control ? 1 : 0);
      const std::string& text = spec.tokens[i];
      const bool special = control || types[i] == TokenType::kUserDefined;
      if (special && !text.empty()) {
        special_tokens_.Add(text, static_cast<TokenId>(i), control);
      }
      strips_after_.push_back(special && StripsAfter(spec, static_cast<TokenId>(i)) ? 1 : 0);
    }
  }

  StatusOr<std::vector<TokenId>> Encode(std::string_view text,
                                        SpecialTokens special) const override {
    const TextRange whole{0, text.size()};
    return EncodeGuarded(text,
                         special == SpecialTokens::kParse ? std::span<const TextRange>()
                                                          : std::span<const TextRange>(&whole, 1));
  }

  StatusOr<std::vector<TokenId>> EncodeGuarded(std::string_view text,
                                               std::span<const TextRange> as_text) const override {
    if (!IsValidUtf8(text)) {
      return ErrorF(StatusCode::kInvalidArgument, "tokenizer: the text is not valid UTF-8");
    }
    std::vector<TokenId> tokens;
    tokens.reserve(text.size() / 3 + 1);
    bool after_special = true;  // the start of the text counts as one
    bool strip = false;
    for (const TextSegment& segment : special_tokens_.Split(text, as_text)) {
      if (segment.token != TextSegment::kNoToken) {
        tokens.push_back(segment.token);
        after_special = true;
        strip = strips_after_[static_cast<size_t>(segment.token)] != 0;
        continue;
      }
      const std::string_view plain = strip ? WithoutLeadingSpace(segment.text) : segment.text;
      if (!plain.empty()) {
        RETURN_IF_ERROR(EncodeSegment(plain, after_special, tokens));
        after_special = false;
        strip = false;
      }
    }
    return tokens;
  }

  std::string_view TokenBytes(TokenId token, bool show_control) const override {
    if (!show_control && is_control_[static_cast<size_t>(token)] != 0) {
      return {};
    }
    return bytes_[token];
  }

  StatusOr<std::string> Decode(std::span<const TokenId> tokens, bool show_control) const override {
    std::string text;
    for (const TokenId token : tokens) {
      if (token < 0 || token >= bytes_.size()) {
        return ErrorF(StatusCode::kInvalidArgument,
                      "token %d is outside the vocabulary of %d",
                      token,
                      bytes_.size());
      }
      text += TokenBytes(token, show_control);
    }
    const bool strip = strips_leading_space() && text.starts_with(' ');
    return ReplaceInvalidUtf8(std::string_view(text).substr(strip ? 1 : 0));
  }

  int64_t vocab_size() const override { return bytes_.size(); }
  bool IsControl(TokenId token) const override {
    return is_control_[static_cast<size_t>(token)] != 0;
  }
  bool strips_leading_space() const override {
    return add_space_prefix_ || kind_ == TokenizerKind::kWordPiece;
  }

 private:
  // Appends the tokens of `text`, which holds no special token.
  Status EncodeSegment(std::string_view text,
                       bool after_special,
                       std::vector<TokenId>& tokens) const {
    std::string visible;
    if (kind_ == TokenizerKind::kSentencePiece) {
      visible = WithVisibleSpaces(text, add_space_prefix_ && after_special);
      text = visible;
    }
    RustIds ids{};
    RustBuffer error{};
    if (const RustCode code = RustSegmenterEncode(segmenter_.get(), AsSlice(text), &ids, &error);
        code != kRustOk) {
      return TakeError(code, error, "tokenizer");
    }
    const size_t before = tokens.size();
    tokens.insert(tokens.end(), ids.data, ids.data + ids.size);
    RustIdsFree(ids);
    return CheckNothingLost(text, std::span(tokens).subspan(before));
  }

  // A vocabulary that lacks a byte would lose it silently.
  Status CheckNothingLost(std::string_view text, std::span<const TokenId> tokens) const {
    if (kind_ != TokenizerKind::kByteLevelBpe) {
      return OkStatus();
    }
    size_t bytes = 0;
    for (const TokenId token : tokens) {
      bytes += bytes_[token].size();
    }
    if (bytes != text.size()) {
      return ErrorF(StatusCode::kInvalidArgument,
                    "tokenizer: the vocabulary has no token for a byte of the text");
    }
    return OkStatus();
  }

  const TokenizerKind kind_;
  const bool add_space_prefix_;
  SegmenterPtr segmenter_;
  TokenBytesTable bytes_;
  std::vector<uint8_t> is_control_;
  std::vector<uint8_t> strips_after_;
  SpecialTokenMatcher special_tokens_;
};

}  // namespace
}  // namespace text_internal

StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Create(const VocabularySpec& spec) {
  if (spec.kind != TokenizerKind::kNone) {
    RETURN_IF_ERROR(text_internal::CheckVocabulary(spec));
  }
  const std::vector<TokenType> types = text_internal::TokenTypes(spec);
  ASSIGN_OR_RETURN(text_internal::SegmenterPtr segmenter, text_internal::NewSegmenter(spec, types));
  return std::make_unique<text_internal::ModelTokenizer>(spec, types, std::move(segmenter));
}

StatusOr<std::vector<TokenId>> Tokenizer::EncodeGuarded(std::string_view text,
                                                        std::span<const TextRange> as_text) const {
  std::vector<TokenId> tokens;
  const auto append = [&](size_t begin, size_t end, SpecialTokens special) -> Status {
    if (begin < end) {
      ASSIGN_OR_RETURN(const std::vector<TokenId> more,
                       Encode(text.substr(begin, end - begin), special));
      tokens.insert(tokens.end(), more.begin(), more.end());
    }
    return OkStatus();
  };
  size_t at = 0;
  for (const TextRange& range : as_text) {
    RETURN_IF_ERROR(append(at, range.begin, SpecialTokens::kParse));
    RETURN_IF_ERROR(append(range.begin, range.end, SpecialTokens::kAsText));
    at = range.end;
  }
  RETURN_IF_ERROR(append(at, text.size(), SpecialTokens::kParse));
  return tokens;
}

}  // namespace inferd
