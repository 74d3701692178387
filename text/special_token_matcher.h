// Finds the tokens that are matched in the text as they are, before it is split into words.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "text/tokenizer.h"

namespace inferd::text_internal {

// A stretch of text: one special token, or text between two of them.
struct TextSegment {
  std::string_view text;
  TokenId token = kNoToken;  // kNoToken: ordinary text, never empty

  static constexpr TokenId kNoToken = -1;
};

// User-defined tokens match everywhere, control tokens only where the caller allows it. The first
// match wins, of several at one place the longest. Immutable once filled; thread-safe then.
class SpecialTokenMatcher {
 public:
  // `text` is not empty. Of two tokens with one text the first added wins.
  void Add(std::string_view text, TokenId token, bool is_control);

  // The segments of `text`, in order and without gaps. A control token matches only if it lies
  // wholly outside `as_text`, which is sorted and disjoint.
  std::vector<TextSegment> Split(std::string_view text, std::span<const TextRange> as_text) const;

 private:
  static constexpr uint32_t kNone = 0;  // the root is nobody's child

  struct Node {
    std::vector<std::pair<uint8_t, uint32_t>> children;  // sorted by byte
    TokenId token = TextSegment::kNoToken;
    bool is_control = false;
  };

  uint32_t Child(uint32_t node, uint8_t byte) const;
  // The longest match at the start of `text`; control tokens of at most `control_bytes_max`.
  TextSegment LongestMatch(std::string_view text, size_t control_bytes_max) const;

  std::vector<Node> nodes_ = std::vector<Node>(1);
};

}  // namespace inferd::text_internal
