#include "text/special_token_matcher.h"

#include <algorithm>

namespace inferd::text_internal {

void SpecialTokenMatcher::Add(std::string_view text, TokenId token, bool is_control) {
  uint32_t node = 0;
  for (const char c : text) {
    const auto byte = static_cast<uint8_t>(c);
    uint32_t child = Child(node, byte);
    if (child == kNone) {
      child = static_cast<uint32_t>(nodes_.size());
      nodes_.emplace_back();
      auto& children = nodes_[node].children;
      const std::pair<uint8_t, uint32_t> edge(byte, child);
      children.insert(std::lower_bound(children.begin(), children.end(), edge), edge);
    }
    node = child;
  }
  if (nodes_[node].token == TextSegment::kNoToken) {
    nodes_[node].token = token;
    nodes_[node].is_control = is_control;
  }
}

uint32_t SpecialTokenMatcher::Child(uint32_t node, uint8_t byte) const {
  const auto& children = nodes_[node].children;
  const auto edge = std::lower_bound(
      children.begin(), children.end(), std::pair<uint8_t, uint32_t>(byte, uint32_t{0}));
  return edge != children.end() && edge->first == byte ? edge->second : kNone;
}

TextSegment SpecialTokenMatcher::LongestMatch(std::string_view text,
                                              size_t control_bytes_max) const {
  TextSegment match;
  uint32_t node = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    node = Child(node, static_cast<uint8_t>(text[i]));
    if (node == kNone) {
      break;
    }
    const Node& here = nodes_[node];
    if (here.token != TextSegment::kNoToken && (!here.is_control || i + 1 <= control_bytes_max)) {
      match = {text.substr(0, i + 1), here.token};
    }
  }
  return match;
}

std::vector<TextSegment> SpecialTokenMatcher::Split(std::string_view text,
                                                    std::span<const TextRange> as_text) const {
  std::vector<TextSegment> segments;
  size_t plain_begin = 0;
  const auto add_plain = [&](size_t end) {
    if (end > plain_begin) {
      segments.push_back({text.substr(plain_begin, end - plain_begin), TextSegment::kNoToken});
    }
  };
  auto range = as_text.begin();
  for (size_t at = 0; at < text.size();) {
    while (range != as_text.end() && range->end <= at) {
      ++range;
    }
    const size_t control_end = range == as_text.end() ? text.size() : std::max(range->begin, at);
    const TextSegment match = LongestMatch(text.substr(at), control_end - at);
    if (match.token == TextSegment::kNoToken) {
      ++at;
      continue;
    }
    add_plain(at);
    segments.push_back(match);
    at += match.text.size();
    plain_begin = at;
  }
  add_plain(text.size());
  return segments;
}

}  // namespace inferd::text_internal
