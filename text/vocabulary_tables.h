// What a tokenizer reads off its VocabularySpec once, at load.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "base/vocabulary_spec.h"

namespace inferd::text_internal {

// SentencePiece's visible space, U+2581.
inline constexpr std::string_view kVisibleSpace = "\xe2\x96\x81";

// kInvalidArgument names what in `spec` is inconsistent.
Status CheckVocabulary(const VocabularySpec& spec);

// The type of each token. A file without types has normal tokens, and control tokens where it
// names a special id.
std::vector<TokenType> TokenTypes(const VocabularySpec& spec);

// The bytes of each token as they appear in text, in one string.
class TokenBytesTable {
 public:
  TokenBytesTable(const VocabularySpec& spec, const std::vector<TokenType>& types);

  std::string_view operator[](TokenId token) const {
    const auto i = static_cast<size_t>(token);
    return std::string_view(bytes_).substr(ends_[i], ends_[i + 1] - ends_[i]);
  }
  int64_t size() const { return static_cast<int64_t>(ends_.size()) - 1; }

 private:
  std::string bytes_;
  std::vector<size_t> ends_;  // ends_[i] is where token i begins, ends_[i + 1] where it ends
};

// What a segmenter is made of: texts, their ids, and merges as indices into them, best first. The
// views are into the spec or into `owned`.
struct SegmenterVocabulary {
  std::vector<std::string_view> texts;
  std::vector<uint32_t> ids;
  std::vector<std::pair<uint32_t, uint32_t>> merges;
  std::vector<std::string> owned;
};

// Merges are read from the spec; those of special tokens are left out.
StatusOr<SegmenterVocabulary> ByteLevelBpeVocabulary(const VocabularySpec& spec,
                                                     const std::vector<TokenType>& types);
// SentencePiece keeps scores instead of merges: every split of a normal piece into two known
// pieces is a merge, in the order of the pieces' scores. A spec that has merges says them itself.
StatusOr<SegmenterVocabulary> SentencePieceVocabulary(const VocabularySpec& spec,
                                                      const std::vector<TokenType>& types);
// WordPiece files carry a visible space before each first piece; the segmenter wants "##" before
// each other piece.
SegmenterVocabulary WordPieceVocabulary(const VocabularySpec& spec,
                                        const std::vector<TokenType>& types);

}  // namespace inferd::text_internal
