#include "tests/simulation/scenario_line.h"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <utility>

namespace inferd::sim {
namespace {

struct Unit {
  std::string_view name;
  int64_t nanoseconds;
};
// From the longest: TimeText takes the first that divides.
constexpr std::array kUnits{Unit{"s", 1'000'000'000},
                            Unit{"ms", 1'000'000},
                            Unit{"us", 1'000},
                            Unit{"ns", 1},
                            Unit{"m", 60'000'000'000}};
constexpr int64_t kDay = 86'400'000'000'000;
constexpr size_t kNameMax = 64;

bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\r'; }

bool IsName(std::string_view text) {
  if (text.empty() || text.size() > kNameMax ||
      std::isalpha(static_cast<unsigned char>(text[0])) == 0) {
    return false;
  }
  return std::all_of(text.begin(), text.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-' || c == '.';
  });
}

}  // namespace

std::optional<int64_t> ParseNumber(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) {
    return std::nullopt;
  }
  return value;
}

std::optional<Duration> ParseTime(std::string_view text) {
  const size_t digits = std::min(text.find_first_not_of("0123456789."), text.size());
  const std::string_view number = text.substr(0, digits);
  const std::string_view name = text.substr(digits);
  const auto* const unit =
      std::find_if(kUnits.begin(), kUnits.end(), [&](const Unit& u) { return u.name == name; });
  const size_t point = std::min(number.find('.'), number.size());
  const auto whole = ParseNumber(number.substr(0, point));
  if (unit == kUnits.end() || !whole || *whole > kDay / unit->nanoseconds) {
    return std::nullopt;
  }
  int64_t nanoseconds = *whole * unit->nanoseconds;
  if (point < number.size()) {
    int64_t scale = unit->nanoseconds;
    const std::string_view fraction = number.substr(point + 1);
    if (fraction.empty() || fraction.find('.') != std::string_view::npos) {
      return std::nullopt;
    }
    for (const char digit : fraction) {
      if (scale % 10 != 0) {
        return std::nullopt;  // finer than a nanosecond
      }
      scale /= 10;
      nanoseconds += scale * (digit - '0');
    }
  }
  return nanoseconds <= kDay ? std::optional(Duration(nanoseconds)) : std::nullopt;
}

std::string TimeText(Duration time) {
  for (const Unit& unit : kUnits) {
    if (time.count() % unit.nanoseconds == 0) {
      return absl::StrCat(time.count() / unit.nanoseconds,
                          absl::string_view(unit.name.data(), unit.name.size()));
    }
  }
  return "0s";
}

ScenarioLine::ScenarioLine(std::string_view file, int number, std::string_view text)
    : file_(file), number_(number), end_column_(static_cast<int>(text.size()) + 1) {
  size_t place = 0;
  while (place < text.size()) {
    if (IsSpace(text[place])) {
      ++place;
      continue;
    }
    if (text[place] == '#') {
      break;  // a comment
    }
    size_t end = place;
    while (end < text.size() && !IsSpace(text[end])) {
      ++end;
    }
    words_.push_back({text.substr(place, end - place), static_cast<int>(place) + 1});
    place = end;
  }
  used_.resize(words_.size());
}

Status ScenarioLine::Error(const Word& word, std::string_view message) const {
  return ErrorF(StatusCode::kInvalidArgument, "%s:%d:%d: %s", file_, number_, word.column, message);
}

Status ScenarioLine::ErrorAtEnd(std::string_view message) const {
  return Error({.text = {}, .column = end_column_}, message);
}

StatusOr<ScenarioLine::Word> ScenarioLine::Take(std::string_view what) {
  if (done()) {
    return ErrorAtEnd(absl::StrFormat("%s is missing", what));
  }
  return words_[next_++];
}

bool ScenarioLine::TakeIf(std::string_view word) {
  if (done() || words_[next_].text != word) {
    return false;
  }
  ++next_;
  return true;
}

Status ScenarioLine::Expect(std::string_view word) {
  if (done()) {
    return ErrorAtEnd(absl::StrFormat("`%s` is missing", word));
  }
  if (!TakeIf(word)) {
    return Error(words_[next_], absl::StrFormat("`%s` should stand here", word));
  }
  return OkStatus();
}

StatusOr<Duration> ScenarioLine::TakeTime(std::string_view what) {
  ASSIGN_OR_RETURN(const Word word, Take(what));
  const auto time = ParseTime(word.text);
  if (!time) {
    return Error(word, absl::StrFormat("%s should be a time such as 1.5s, 20ms or 2m", what));
  }
  return *time;
}

StatusOr<std::string> ScenarioLine::TakeName(std::string_view what) {
  ASSIGN_OR_RETURN(const Word word, Take(what));
  if (!IsName(word.text)) {
    return Error(word,
                 absl::StrFormat("%s should be a name: a letter, then letters, digits, `_`, `-` "
                                 "and `.`, 64 at most",
                                 what));
  }
  return std::string(word.text);
}

StatusOr<std::optional<ScenarioLine::Word>> ScenarioLine::Option(std::string_view key) {
  known_.push_back(key);
  std::optional<Word> found;
  for (size_t i = next_; i < words_.size(); ++i) {
    if (words_[i].text.substr(0, words_[i].text.find('=')) == key) {
      if (found) {
        return Error(words_[i], absl::StrFormat("`%s` stands there twice", key));
      }
      used_[i] = true;
      found = words_[i];
    }
  }
  return found;
}

// What stands behind `=`.
StatusOr<ScenarioLine::Word> ScenarioLine::ValueOf(const Word& word) const {
  const size_t equals = word.text.find('=');
  if (equals == std::string_view::npos || equals + 1 == word.text.size()) {
    return Error(word, absl::StrFormat("`%s` needs a value: %s=...", word.text, word.text));
  }
  return Word{word.text.substr(equals + 1), word.column + static_cast<int>(equals) + 1};
}

StatusOr<NumberRange> ScenarioLine::RangeOption(std::string_view key,
                                                NumberRange otherwise,
                                                NumberRange bounds) {
  ASSIGN_OR_RETURN(const std::optional<Word> option, Option(key));
  if (!option) {
    return otherwise;
  }
  ASSIGN_OR_RETURN(const Word value, ValueOf(*option));
  const size_t dots = value.text.find("..");
  const auto low = ParseNumber(value.text.substr(0, dots));
  const auto high = dots == std::string_view::npos ? low : ParseNumber(value.text.substr(dots + 2));
  if (!low || !high || *low > *high || *low < bounds.low || *high > bounds.high) {
    return Error(value,
                 absl::StrFormat("`%s` should be a number (or a range a..b) from %d to %d",
                                 key,
                                 bounds.low,
                                 bounds.high));
  }
  return NumberRange{*low, *high};
}

StatusOr<int64_t> ScenarioLine::NumberOption(std::string_view key,
                                             int64_t otherwise,
                                             NumberRange bounds) {
  ASSIGN_OR_RETURN(const NumberRange range, RangeOption(key, {otherwise, otherwise}, bounds));
  if (range.low != range.high) {
    return ErrorAtEnd(absl::StrFormat("`%s` takes one number, not a range", key));
  }
  return range.low;
}

StatusOr<Duration> ScenarioLine::TimeOption(std::string_view key, Duration otherwise) {
  ASSIGN_OR_RETURN(const std::optional<Word> option, Option(key));
  if (!option) {
    return otherwise;
  }
  ASSIGN_OR_RETURN(const Word value, ValueOf(*option));
  const auto time = ParseTime(value.text);
  if (!time) {
    return Error(value, absl::StrFormat("`%s` should be a time such as 1.5s, 20ms or 2m", key));
  }
  return *time;
}

StatusOr<bool> ScenarioLine::FlagOption(std::string_view key) {
  ASSIGN_OR_RETURN(const std::optional<Word> option, Option(key));
  if (option && option->text != key) {
    return Error(*option, absl::StrFormat("`%s` takes no value", key));
  }
  return option.has_value();
}

Status ScenarioLine::FinishOptions() {
  for (size_t i = next_; i < words_.size(); ++i) {
    if (!used_[i]) {
      std::string known;
      for (const std::string_view key : known_) {
        known += known.empty() ? "" : ", ";
        known += key;
      }
      return Error(words_[i],
                   known.empty()
                       ? std::string("nothing more may stand on this line")
                       : absl::StrFormat("`%s` is unknown here; there is: %s",
                                         words_[i].text.substr(0, words_[i].text.find('=')),
                                         known));
    }
  }
  next_ = words_.size();
  return OkStatus();
}

}  // namespace inferd::sim
