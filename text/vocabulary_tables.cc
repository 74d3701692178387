#include "text/vocabulary_tables.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <optional>

#include "base/utf8.h"
#include "text/code_points.h"

namespace inferd::text_internal {
namespace {

bool IsMatchedWhole(TokenType type) {
  return type == TokenType::kControl || type == TokenType::kUserDefined ||
         type == TokenType::kUnknown;
}

// The byte that GPT-2's character `code` stands for: printable Latin-1 for itself, U+0100 and up
// for the others in order.
std::optional<uint8_t> ByteOfCharacter(char32_t code) {
  static const std::array<int16_t, 0x144> table = [] {
    std::array<int16_t, 0x144> bytes{};
    bytes.fill(-1);
    size_t next = 0x100;
    for (int16_t byte = 0; byte < 256; ++byte) {
      const bool itself = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad);
      bytes[itself ? static_cast<size_t>(byte) : next++] = byte;
    }
    return bytes;
  }();
  if (code >= table.size() || table[code] < 0) {
    return std::nullopt;
  }
  return static_cast<uint8_t>(table[code]);
}

void AppendByteLevel(std::string_view text, std::string& bytes) {
  while (!text.empty()) {
    const auto [code, length] = DecodeCodePoint(text);
    const std::optional<uint8_t> byte = length == 0 ? std::nullopt : ByteOfCharacter(code);
    const size_t step = std::max<size_t>(length, 1);
    if (byte.has_value()) {
      bytes += static_cast<char>(*byte);
    } else {
      bytes += text.substr(0, step);
    }
    text.remove_prefix(step);
  }
}

void AppendWithSpaces(std::string_view text, std::string& bytes) {
  for (size_t at = text.find(kVisibleSpace); at != std::string_view::npos;
       at = text.find(kVisibleSpace)) {
    bytes += text.substr(0, at);
    bytes += ' ';
    text.remove_prefix(at + kVisibleSpace.size());
  }
  bytes += text;
}

// "<0x0A>" is the byte 10.
std::optional<uint8_t> ByteOfName(std::string_view text) {
  if (text.size() != 6 || text.substr(0, 3) != "<0x" || text[5] != '>') {
    return std::nullopt;
  }
  int value = 0;
  for (const char c : text.substr(3, 2)) {
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                             : -1;
    if (digit < 0) {
      return std::nullopt;
    }
    value = value * 16 + digit;
  }
  return static_cast<uint8_t>(value);
}

void AppendTokenBytes(const VocabularySpec& spec,
                      TokenType type,
                      std::string_view text,
                      std::string& bytes) {
  if (IsMatchedWhole(type)) {
    bytes += text;
    return;
  }
  if (type == TokenType::kByte) {
    if (const std::optional<uint8_t> byte = ByteOfName(text)) {
      bytes += static_cast<char>(*byte);
      return;
    }
  }
  if (spec.kind == TokenizerKind::kByteLevelBpe) {
    AppendByteLevel(text, bytes);
  } else {
    AppendWithSpaces(text, bytes);
  }
}

// Longer pieces are not merged to: finding their splits takes the square of their length, and no
// model has any.
constexpr size_t kMergedPieceBytesMax = 1024;

// Pieces by text: an open table, since large vocabularies ask it millions of times at load.
class PieceIndex {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;

  // For at most `count_max` pieces, the texts of which are in `texts`, which outlives this.
  PieceIndex(size_t count_max, const std::vector<std::string_view>& texts)
      : texts_(texts), slots_(std::bit_ceil(count_max * 2 + 1)) {}

  // The index of `text`, or kNone.
  uint32_t Find(std::string_view text) const {
    const size_t hash = std::hash<std::string_view>{}(text);
    return slots_[SlotOf(text, hash)].piece;
  }
  // False if `text` is there already. `piece` is its index in the texts.
  bool Insert(std::string_view text, uint32_t piece) {
    const size_t hash = std::hash<std::string_view>{}(text);
    Slot& slot = slots_[SlotOf(text, hash)];
    if (slot.piece != kNone) {
      return false;
    }
    slot = {static_cast<uint32_t>(hash >> 32), piece};
    return true;
  }

 private:
  struct Slot {
    uint32_t tag = 0;
    uint32_t piece = kNone;
  };

  // Where `text` is, or belongs. Fewer than half the slots are taken, so a free one ends the
  // search.
  size_t SlotOf(std::string_view text, size_t hash) const {
    const auto tag = static_cast<uint32_t>(hash >> 32);
    size_t at = hash & (slots_.size() - 1);
    while (slots_[at].piece != kNone &&
           (slots_[at].tag != tag || texts_[slots_[at].piece] != text)) {
      at = (at + 1) & (slots_.size() - 1);
    }
    return at;
  }

  const std::vector<std::string_view>& texts_;
  std::vector<Slot> slots_;
};

// The texts that a segmenter may produce: no special tokens, nothing that text cannot hold.
PieceIndex AddPieces(const VocabularySpec& spec,
                     const std::vector<TokenType>& types,
                     SegmenterVocabulary& vocabulary) {
  PieceIndex index(spec.tokens.size(), vocabulary.texts);
  for (size_t i = 0; i < spec.tokens.size(); ++i) {
    const bool ordinary = types[i] == TokenType::kNormal || types[i] == TokenType::kByte;
    const std::string& text = spec.tokens[i];
    if (!ordinary || text.empty() || !IsValidUtf8(text) ||
        !index.Insert(text, static_cast<uint32_t>(vocabulary.texts.size()))) {
      continue;
    }
    vocabulary.texts.push_back(text);
    vocabulary.ids.push_back(static_cast<uint32_t>(i));
  }
  return index;
}

// The token for what has none, if the file names one that is not a piece already.
void AddUnknown(const VocabularySpec& spec,
                const PieceIndex& index,
                SegmenterVocabulary& vocabulary) {
  if (!spec.unk.has_value()) {
    return;
  }
  const std::string& text = spec.tokens[static_cast<size_t>(*spec.unk)];
  if (!text.empty() && IsValidUtf8(text) && index.Find(text) == PieceIndex::kNone) {
    vocabulary.texts.push_back(text);
    vocabulary.ids.push_back(static_cast<uint32_t>(*spec.unk));
  }
}

// The merges that the spec lists, best first.
Status ReadMerges(const VocabularySpec& spec,
                  const PieceIndex& index,
                  SegmenterVocabulary& vocabulary) {
  vocabulary.merges.reserve(spec.merges.size());
  std::string joined;
  for (size_t i = 0; i < spec.merges.size(); ++i) {
    const std::string_view merge = spec.merges[i];
    // A piece may be a space itself: the separator follows the first character.
    const size_t space = merge.find(' ', 1);
    if (space == std::string_view::npos || space + 1 == merge.size()) {
      return ErrorF(StatusCode::kInvalidArgument, "tokenizer: merge %d has no two parts", i);
    }
    joined = merge.substr(0, space);
    joined += merge.substr(space + 1);
    const uint32_t left = index.Find(merge.substr(0, space));
    const uint32_t right = index.Find(merge.substr(space + 1));
    if (left != PieceIndex::kNone && right != PieceIndex::kNone &&
        index.Find(joined) != PieceIndex::kNone) {
      vocabulary.merges.emplace_back(left, right);
    }
  }
  return OkStatus();
}

}  // namespace

Status CheckVocabulary(const VocabularySpec& spec) {
  const size_t n = spec.tokens.size();
  if (n == 0) {
    return ErrorF(StatusCode::kInvalidArgument, "tokenizer: the vocabulary is empty");
  }
  if (!spec.types.empty() && spec.types.size() != n) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "tokenizer: %d token types for %d tokens",
                  spec.types.size(),
                  n);
  }
  if (!spec.scores.empty() && spec.scores.size() != n) {
    return ErrorF(
        StatusCode::kInvalidArgument, "tokenizer: %d scores for %d tokens", spec.scores.size(), n);
  }
  if (spec.kind == TokenizerKind::kSentencePiece && spec.scores.empty() && spec.merges.empty()) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "tokenizer: a SentencePiece vocabulary has scores or merges");
  }
  if (std::any_of(spec.scores.begin(), spec.scores.end(), [](float s) { return std::isnan(s); })) {
    return ErrorF(StatusCode::kInvalidArgument, "tokenizer: a score is not a number");
  }
  for (const auto& id : {spec.bos,
                         spec.eos,
                         spec.eot,
                         spec.eom,
                         spec.unk,
                         spec.sep,
                         spec.pad,
                         spec.cls,
                         spec.mask}) {
    if (id.has_value() && (*id < 0 || static_cast<size_t>(*id) >= n)) {
      return ErrorF(StatusCode::kInvalidArgument,
                    "tokenizer: special token %d is outside the vocabulary of %d",
                    *id,
                    n);
    }
  }
  return OkStatus();
}

std::vector<TokenType> TokenTypes(const VocabularySpec& spec) {
  if (!spec.types.empty()) {
    return spec.types;
  }
  std::vector<TokenType> types(spec.tokens.size(), TokenType::kNormal);
  for (const auto& id :
       {spec.bos, spec.eos, spec.eot, spec.eom, spec.sep, spec.pad, spec.cls, spec.mask}) {
    if (id.has_value()) {
      types[static_cast<size_t>(*id)] = TokenType::kControl;
    }
  }
  if (spec.unk.has_value()) {
    types[static_cast<size_t>(*spec.unk)] = TokenType::kUnknown;
  }
  return types;
}

TokenBytesTable::TokenBytesTable(const VocabularySpec& spec, const std::vector<TokenType>& types) {
  ends_.reserve(spec.tokens.size() + 1);
  ends_.push_back(0);
  for (size_t i = 0; i < spec.tokens.size(); ++i) {
    AppendTokenBytes(spec, types[i], spec.tokens[i], bytes_);
    ends_.push_back(bytes_.size());
  }
}

StatusOr<SegmenterVocabulary> ByteLevelBpeVocabulary(const VocabularySpec& spec,
                                                     const std::vector<TokenType>& types) {
  SegmenterVocabulary vocabulary;
  const PieceIndex index = AddPieces(spec, types, vocabulary);
  RETURN_IF_ERROR(ReadMerges(spec, index, vocabulary));
  return vocabulary;
}

StatusOr<SegmenterVocabulary> SentencePieceVocabulary(const VocabularySpec& spec,
                                                      const std::vector<TokenType>& types) {
  SegmenterVocabulary vocabulary;
  const PieceIndex index = AddPieces(spec, types, vocabulary);
  if (!spec.merges.empty()) {
    RETURN_IF_ERROR(ReadMerges(spec, index, vocabulary));
    AddUnknown(spec, index, vocabulary);
    return vocabulary;
  }
  const size_t piece_count = vocabulary.texts.size();
  struct Merge {
    float score;
    uint32_t piece;
    uint32_t left;
    uint32_t right;
  };
  std::vector<Merge> merges;
  merges.reserve(piece_count * 2);
  for (uint32_t piece = 0; piece < piece_count; ++piece) {
    const uint32_t id = vocabulary.ids[piece];
    if (types[id] != TokenType::kNormal) {
      continue;
    }
    const std::string_view text = vocabulary.texts[piece];
    if (text.size() > kMergedPieceBytesMax) {
      continue;
    }
    for (size_t at = Utf8CodePointLength(text); at < text.size();
         at += Utf8CodePointLength(text.substr(at))) {
      const uint32_t left = index.Find(text.substr(0, at));
      const uint32_t right =
          left == PieceIndex::kNone ? PieceIndex::kNone : index.Find(text.substr(at));
      if (right != PieceIndex::kNone) {
        merges.push_back({spec.scores[id], piece, left, right});
      }
    }
  }
  std::stable_sort(merges.begin(), merges.end(), [](const Merge& a, const Merge& b) {
    return a.score != b.score ? a.score > b.score : a.piece < b.piece;
  });
  vocabulary.merges.reserve(merges.size());
  for (const Merge& merge : merges) {
    vocabulary.merges.emplace_back(merge.left, merge.right);
  }
  AddUnknown(spec, index, vocabulary);
  return vocabulary;
}

SegmenterVocabulary WordPieceVocabulary(const VocabularySpec& spec,
                                        const std::vector<TokenType>& types) {
  SegmenterVocabulary vocabulary;
  const PieceIndex index = AddPieces(spec, types, vocabulary);
  vocabulary.owned.reserve(vocabulary.texts.size());
  for (std::string_view& text : vocabulary.texts) {
    if (text.starts_with(kVisibleSpace) && text.size() > kVisibleSpace.size()) {
      text.remove_prefix(kVisibleSpace.size());
    } else {
      text = vocabulary.owned.emplace_back("##" + std::string(text));
    }
  }
  AddUnknown(spec, index, vocabulary);
  return vocabulary;
}

}  // namespace inferd::text_internal
