// One line of a scenario, word by word, with errors that say where.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/status.h"

namespace inferd::sim {

// A whole number, or a range of them: "64" or "64..512".
struct NumberRange {
  int64_t low = 0;
  int64_t high = 0;
};

// Reads words from left to right; every error names file, line and column. Text outlives it.
class ScenarioLine {
 public:
  struct Word {
    std::string_view text;
    int column = 0;  // from 1
  };

  ScenarioLine(std::string_view file, int number, std::string_view text);

  bool done() const { return next_ == words_.size(); }
  int number() const { return number_; }
  // The next word, without taking it; empty at the end.
  std::string_view peek() const { return done() ? std::string_view() : words_[next_].text; }

  // The next word; `what` says what is missing at the end of the line.
  StatusOr<Word> Take(std::string_view what);
  // True, and it is taken, if the next word is this one.
  bool TakeIf(std::string_view word);
  // The next word must be this one.
  Status Expect(std::string_view word);
  StatusOr<Duration> TakeTime(std::string_view what);
  // A name: a letter, then letters, digits, `_`, `-`, `.`, 64 characters at most.
  StatusOr<std::string> TakeName(std::string_view what);

  // Options are the words that are left, in any order: `key=value`, or a bare `key`. Each is
  // taken once; FinishOptions refuses what nobody took, and lists what there is.
  StatusOr<std::optional<Word>> Option(std::string_view key);
  StatusOr<int64_t> NumberOption(std::string_view key, int64_t otherwise, NumberRange bounds);
  StatusOr<NumberRange> RangeOption(std::string_view key,
                                    NumberRange otherwise,
                                    NumberRange bounds);
  StatusOr<Duration> TimeOption(std::string_view key, Duration otherwise);
  StatusOr<bool> FlagOption(std::string_view key);
  Status FinishOptions();

  // An error at a word, or at the line's end.
  Status Error(const Word& word, std::string_view message) const;
  Status ErrorAtEnd(std::string_view message) const;

 private:
  StatusOr<Word> ValueOf(const Word& word) const;

  const std::string_view file_;
  const int number_;
  const int end_column_;
  std::vector<Word> words_;
  size_t next_ = 0;
  std::vector<bool> used_;               // options
  std::vector<std::string_view> known_;  // keys asked for
};

// "1.5s", "667ms", "20us", "800ns", "2m": at most a day. Nothing for anything else.
std::optional<Duration> ParseTime(std::string_view text);
// The shortest text that ParseTime reads as the same time.
std::string TimeText(Duration time);
std::optional<int64_t> ParseNumber(std::string_view text);

}  // namespace inferd::sim
