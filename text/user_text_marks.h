// Which characters of a rendered prompt came from the user.
//
// A user's string enters the template with its characters moved to a private plane of Unicode
// (U+0041 as U+100041): one character for one, so lengths, slices and comparisons with "" stay as
// they are, and spaces are left alone, so trimming does too. What comes out moved is the user's.
// A template that looks at the characters themselves renders something else then; the caller sees
// that by comparing with the plain rendering, and marks less.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace inferd::text_internal {

// The characters that are marked. Never spaces, quotes, backslashes and control characters, which
// trimming, JSON and Python's repr treat specially, and nothing above U+FFFF.
enum class MarkedCharacters : uint8_t {
  kAll,
  kSymbols,  // no letters and digits: changes of case leave the others alone
};

class UserTextMarker {
 public:
  // Stretches of a user's text that equal one of `spared` are left unmarked.
  explicit UserTextMarker(MarkedCharacters characters, std::vector<std::string> spared = {})
      : characters_(characters), spared_(std::move(spared)) {}

  MarkedCharacters characters() const { return characters_; }
  const std::vector<std::string>& spared() const { return spared_; }

  // `text`, well-formed UTF-8, with its characters marked.
  std::string Mark(std::string_view text) const;
  // `json` with its strings marked, of the keys only what no identifier holds. Ill-formed JSON
  // gives ill-formed JSON.
  std::string MarkJson(std::string_view json) const;

 private:
  std::string MarkKey(std::string_view key) const;

  MarkedCharacters characters_;
  std::vector<std::string> spared_;
};

struct UnmarkedText {
  std::string text;
  std::vector<TextRange> user;  // sorted, disjoint; what is unmarked between marks is in them
};
UnmarkedText Unmark(std::string_view marked, MarkedCharacters characters);

// True if `text`, or a string of the JSON text, holds characters of the private plane.
bool HoldsMarks(std::string_view text);
bool JsonHoldsMarks(std::string_view json);

// The symbols (MarkedCharacters::kSymbols) of `text`, or of the strings of a JSON text, that are
// not yet in `symbols`, are added to it.
void CollectSymbols(std::string_view text, std::u32string& symbols);
void CollectJsonSymbols(std::string_view json, std::u32string& symbols);

// The string literals in the expressions of a template, those that hold a symbol, each once.
std::vector<std::string> SymbolLiterals(std::string_view template_source);

// The stretches of `text` that hold one of `symbols`, or that equal one of `literals`.
std::vector<TextRange> RangesOfSymbols(std::string_view text, std::u32string_view symbols);
std::vector<TextRange> RangesOfLiterals(std::string_view text,
                                        const std::vector<std::string>& literals);

// The union of two sorted lists of ranges, sorted and disjoint.
std::vector<TextRange> Union(const std::vector<TextRange>& a, const std::vector<TextRange>& b);

}  // namespace inferd::text_internal
