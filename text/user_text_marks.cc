#include "text/user_text_marks.h"

#include <algorithm>
#include <array>
#include <functional>
#include <optional>

#include "base/log.h"
#include "text/code_points.h"

namespace inferd::text_internal {
namespace {

constexpr char32_t kMarkOffset = 0x100000;

struct CodeRange {
  char32_t first;
  char32_t last;
};

// Beyond ASCII: what templates may trim.
constexpr CodeRange kSpaces[] = {{0x85, 0x85},
                                 {0xa0, 0xa0},
                                 {0x1680, 0x1680},
                                 {0x2000, 0x200a},
                                 {0x2028, 0x2029},
                                 {0x202f, 0x202f},
                                 {0x205f, 0x205f},
                                 {0x3000, 0x3000}};
// Beyond ASCII: symbols that control tokens are written with, none of which has a case.
constexpr CodeRange kSymbols[] = {{0x2010, 0x2027},
                                  {0x2030, 0x205e},
                                  {0x2190, 0x24b5},
                                  {0x24ea, 0x2bff},
                                  {0x3001, 0x303f},
                                  {0xff01, 0xff0f},
                                  {0xff1a, 0xff20},
                                  {0xff3b, 0xff40},
                                  {0xff5b, 0xff65}};

template <size_t n>
bool IsIn(const CodeRange (&ranges)[n], char32_t code) {
  return std::any_of(std::begin(ranges), std::end(ranges), [code](const CodeRange& range) {
    return code >= range.first && code <= range.last;
  });
}

bool IsMarked(char32_t code, MarkedCharacters characters) {
  if (code <= 0x20 || code == 0x7f || code == '"' || code == '\'' || code == '\\') {
    return false;
  }
  if (code < 0x80) {
    const bool letter_or_digit = (code >= '0' && code <= '9') || (code >= 'A' && code <= 'Z') ||
                                 (code >= 'a' && code <= 'z');
    return characters == MarkedCharacters::kAll || !letter_or_digit;
  }
  if (code > 0xffff || IsIn(kSpaces, code)) {
    return false;
  }
  return characters == MarkedCharacters::kAll || IsIn(kSymbols, code);
}

// Calls `visit` with each code point of well-formed `text` and the byte where it begins.
template <typename Visit>
void ForEachCodePoint(std::string_view text, const Visit& visit) {
  for (size_t at = 0; at < text.size();) {
    if (const auto byte = static_cast<uint8_t>(text[at]); byte < 0x80) {
      visit(char32_t{byte}, at++);
      continue;
    }
    const CodePoint code = DecodeCodePoint(text.substr(at));
    if (code.length == 0) {
      return;
    }
    visit(code.value, at);
    at += code.length;
  }
}

std::optional<char32_t> ParseHex4(std::string_view digits) {
  if (digits.size() < 4) {
    return std::nullopt;
  }
  char32_t value = 0;
  for (const char c : digits.substr(0, 4)) {
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                             : -1;
    if (digit < 0) {
      return std::nullopt;
    }
    value = value << 4 | static_cast<char32_t>(digit);
  }
  return value;
}

// The escape at the start of `text` ("\n", "\u00e9", a surrogate pair), appended to `decoded`;
// its length, or 0 if it is none.
size_t DecodeJsonEscape(std::string_view text, std::string& decoded) {
  if (text.size() < 2) {
    return 0;
  }
  constexpr std::string_view kNames = "\"\\/bfnrt";
  constexpr std::string_view kValues = "\"\\/\b\f\n\r\t";
  if (const size_t i = kNames.find(text[1]); i != std::string_view::npos) {
    decoded += kValues[i];
    return 2;
  }
  const auto unit = text[1] == 'u' ? ParseHex4(text.substr(2)) : std::nullopt;
  if (!unit.has_value()) {
    return 0;
  }
  if (*unit < 0xd800 || *unit > 0xdfff) {
    AppendUtf8(*unit, decoded);
    return 6;
  }
  const bool pair = *unit < 0xdc00 && text.size() >= 12 && text.substr(6, 2) == "\\u";
  const auto low = pair ? ParseHex4(text.substr(8)) : std::nullopt;
  if (!low.has_value() || *low < 0xdc00 || *low > 0xdfff) {
    return 0;
  }
  AppendUtf8(0x10000 + ((*unit - 0xd800) << 10 | (*low - 0xdc00)), decoded);
  return 12;
}

// The bytes of the JSON string at the start of `json` with its quotes, its text in `decoded`; 0 if
// it is ill-formed.
size_t DecodeJsonString(std::string_view json, std::string& decoded) {
  for (size_t at = 1; at < json.size();) {
    if (json[at] == '"') {
      return at + 1;
    }
    if (json[at] == '\\') {
      const size_t length = DecodeJsonEscape(json.substr(at), decoded);
      if (length == 0) {
        return 0;
      }
      at += length;
    } else {
      decoded += json[at++];
    }
  }
  return 0;
}

// `json` with each string replaced by what `rewrite` makes of it.
std::string RewriteJsonStrings(
    std::string_view json, const std::function<std::string(const std::string&, bool)>& rewrite) {
  std::string result;
  for (size_t at = 0; at < json.size();) {
    if (json[at] != '"') {
      result += json[at++];
      continue;
    }
    std::string decoded;
    const size_t length = DecodeJsonString(json.substr(at), decoded);
    if (length == 0) {
      return result += json.substr(at);
    }
    at += length;
    const size_t next = json.find_first_not_of(" \t\r\n", at);
    const bool is_key = next != std::string_view::npos && json[next] == ':';
    result += JsonQuote(rewrite(decoded, is_key));
  }
  return result;
}

// Marks what `is_marked` picks.
template <typename IsMarkedAt>
std::string MarkWhere(std::string_view text, const IsMarkedAt& is_marked) {
  std::string marked;
  marked.reserve(text.size() * 2);
  ForEachCodePoint(text, [&](char32_t code, size_t at) {
    AppendUtf8(is_marked(code, at) ? code + kMarkOffset : code, marked);
  });
  return marked;
}

void AddRange(size_t begin, size_t end, std::vector<TextRange>& ranges) {
  if (!ranges.empty() && ranges.back().end >= begin) {
    ranges.back().end = std::max(ranges.back().end, end);
  } else {
    ranges.push_back({begin, end});
  }
}

// The string literal whose opening quote stands at `at`; `at` goes behind its closing one.
std::string ReadLiteral(std::string_view source, size_t& at) {
  const char quote = source[at++];
  std::string literal;
  for (; at < source.size() && source[at] != quote; ++at) {
    if (source[at] != '\\' || at + 1 == source.size()) {
      literal += source[at];
      continue;
    }
    const char escaped = source[++at];
    literal += escaped == 'n' ? '\n' : escaped == 't' ? '\t' : escaped == 'r' ? '\r' : escaped;
  }
  ++at;
  return literal;
}

}  // namespace

std::string UserTextMarker::Mark(std::string_view text) const {
  const std::vector<TextRange> spared = RangesOfLiterals(text, spared_);
  auto range = spared.begin();
  return MarkWhere(text, [&](char32_t code, size_t at) {
    while (range != spared.end() && range->end <= at) {
      ++range;
    }
    const bool is_spared = range != spared.end() && range->begin <= at;
    return !is_spared && IsMarked(code, characters_);
  });
}

std::string UserTextMarker::MarkKey(std::string_view key) const {
  return MarkWhere(key, [](char32_t code, size_t) {
    return code != '_' && code != '-' && code != '.' && code != '$' &&
           IsMarked(code, MarkedCharacters::kSymbols);
  });
}

std::string UserTextMarker::MarkJson(std::string_view json) const {
  return RewriteJsonStrings(json, [this](const std::string& text, bool is_key) {
    return is_key ? MarkKey(text) : Mark(text);
  });
}

UnmarkedText Unmark(std::string_view marked, MarkedCharacters characters) {
  UnmarkedText unmarked;
  unmarked.text.reserve(marked.size());
  bool template_since = true;  // a character that only the template can have written came last
  ForEachCodePoint(marked, [&](char32_t code, size_t) {
    const size_t begin = unmarked.text.size();
    if (code < kMarkOffset) {
      AppendUtf8(code, unmarked.text);
      template_since = template_since || IsMarked(code, characters);
      return;
    }
    AppendUtf8(code - kMarkOffset, unmarked.text);
    AddRange(
        template_since ? begin : unmarked.user.back().end, unmarked.text.size(), unmarked.user);
    template_since = false;
  });
  return unmarked;
}

bool HoldsMarks(std::string_view text) {
  bool holds = false;
  ForEachCodePoint(text, [&](char32_t code, size_t) { holds = holds || code >= kMarkOffset; });
  return holds;
}

bool JsonHoldsMarks(std::string_view json) {
  bool holds = false;
  RewriteJsonStrings(json, [&](const std::string& text, bool) {
    holds = holds || HoldsMarks(text);
    return std::string();
  });
  return holds;
}

void CollectSymbols(std::string_view text, std::u32string& symbols) {
  ForEachCodePoint(text, [&](char32_t code, size_t) {
    if (IsMarked(code, MarkedCharacters::kSymbols) && symbols.find(code) == symbols.npos) {
      symbols += code;
    }
  });
}

void CollectJsonSymbols(std::string_view json, std::u32string& symbols) {
  RewriteJsonStrings(json, [&](const std::string& text, bool) {
    CollectSymbols(text, symbols);
    return std::string();
  });
}

std::vector<std::string> SymbolLiterals(std::string_view template_source) {
  std::vector<std::string> literals;
  for (size_t tag = template_source.find('{'); tag != std::string_view::npos;
       tag = template_source.find('{', tag)) {
    const std::string_view opening = template_source.substr(tag, 2);
    tag += opening.size();
    if (opening != "{{" && opening != "{%") {
      continue;
    }
    const char closing = opening == "{{" ? '}' : '%';
    while (tag < template_source.size() &&
           !(template_source[tag] == closing && template_source.substr(tag + 1, 1) == "}")) {
      if (template_source[tag] != '"' && template_source[tag] != '\'') {
        ++tag;
        continue;
      }
      std::string literal = ReadLiteral(template_source, tag);
      std::u32string symbols;
      CollectSymbols(literal, symbols);
      if (!symbols.empty() &&
          std::find(literals.begin(), literals.end(), literal) == literals.end()) {
        literals.push_back(std::move(literal));
      }
    }
  }
  return literals;
}

std::vector<TextRange> RangesOfSymbols(std::string_view text, std::u32string_view symbols) {
  std::vector<TextRange> ranges;
  ForEachCodePoint(text, [&](char32_t code, size_t at) {
    if (symbols.find(code) != symbols.npos) {
      AddRange(at, at + Utf8CodePointLength(text.substr(at)), ranges);
    }
  });
  return ranges;
}

std::vector<TextRange> RangesOfLiterals(std::string_view text,
                                        const std::vector<std::string>& literals) {
  std::vector<TextRange> ranges;
  for (const std::string& literal : literals) {
    std::vector<TextRange> found;
    for (size_t at = text.find(literal); at != std::string_view::npos;
         at = text.find(literal, at + 1)) {
      AddRange(at, at + literal.size(), found);
    }
    ranges = Union(ranges, found);
  }
  return ranges;
}

std::vector<TextRange> Union(const std::vector<TextRange>& a, const std::vector<TextRange>& b) {
  std::vector<TextRange> all(a.size() + b.size());
  std::merge(a.begin(), a.end(), b.begin(), b.end(), all.begin(), [](auto& left, auto& right) {
    return left.begin < right.begin;
  });
  std::vector<TextRange> ranges;
  for (const TextRange& range : all) {
    AddRange(range.begin, range.end, ranges);
  }
  return ranges;
}

}  // namespace inferd::text_internal
