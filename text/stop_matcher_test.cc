// Goal: a stop string is found at the same place however the text is cut. Method: random texts over
// two letters, random cuts, compared with a search over the whole text.
#include "text/stop_matcher.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/random.h"

namespace inferd {
namespace {

struct Outcome {
  std::string text;
  std::optional<int> matched;
  friend bool operator==(const Outcome&, const Outcome&) = default;
};

// The definition: the first end of any stop string; of those that end there the longest.
Outcome Whole(const std::vector<std::string>& stops, bool include, const std::string& text) {
  for (size_t end = 1; end <= text.size(); ++end) {
    std::optional<size_t> best;
    for (size_t i = 0; i < stops.size(); ++i) {
      const bool ends = std::string_view(text).substr(0, end).ends_with(stops[i]);
      if (ends && (!best || stops[i].size() > stops[*best].size())) {
        best = i;
      }
    }
    if (best) {
      return {text.substr(0, include ? end : end - stops[*best].size()), static_cast<int>(*best)};
    }
  }
  return {text, std::nullopt};
}

std::string RandomText(SplitMix64& random, uint64_t length_max) {
  std::string text;
  for (uint64_t n = random.Below(length_max + 1); n > 0; --n) {
    text += static_cast<char>('a' + random.Below(2));
  }
  return text;
}

TEST(StopMatcher, CutsDoNotMatter) {
  SplitMix64 random(11);
  int matches = 0;
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::string> stops;
    for (uint64_t n = 1 + random.Below(3); n > 0; --n) {
      const std::string stop = "a" + RandomText(random, 5);
      if (std::find(stops.begin(), stops.end(), stop) == stops.end()) {
        stops.push_back(stop);
      }
    }
    const bool include = random.Below(2) == 0;
    const std::string text = RandomText(random, 24);
    StopMatcher matcher(stops, include);
    Outcome outcome;
    for (size_t at = 0; at < text.size() && !outcome.matched;) {
      const size_t n = 1 + random.Below(4);
      const StopMatcher::Result result = matcher.Add(std::string_view(text).substr(at, n));
      outcome.text += result.text;
      outcome.matched = result.matched;
      at += n;
    }
    if (!outcome.matched) {
      outcome.text += matcher.Finish();
    }
    ASSERT_EQ(outcome, Whole(stops, include, text)) << "round " << round;
    matches += outcome.matched ? 1 : 0;
  }
  EXPECT_GT(matches, 1000);
}

TEST(StopMatcher, HoldsBackOnlyWhatMayBecomeAStop) {
  StopMatcher matcher({"\n\nUser:"}, false);
  EXPECT_EQ(matcher.Add("text\n").text, "text");
  EXPECT_EQ(matcher.Add("\nUs").text, "");
  EXPECT_EQ(matcher.Add("ual").text, "\n\nUsual");
  EXPECT_EQ(matcher.Add(" \n").text, " ");
  EXPECT_EQ(matcher.Finish(), "\n");
}

TEST(StopMatcher, WithoutStopsTextPassesThrough) {
  StopMatcher matcher({}, false);
  EXPECT_EQ(matcher.Add("anything").text, "anything");
  EXPECT_EQ(matcher.Finish(), "");
}

TEST(StopMatcher, TheStopIsPartOfTheTextIfAsked) {
  StopMatcher with({"END"}, true);
  StopMatcher without({"END"}, false);
  EXPECT_EQ(with.Add("the END.").text, "the END");
  const StopMatcher::Result result = without.Add("the END.");
  EXPECT_EQ(result.text, "the ");
  EXPECT_EQ(result.matched, 0);
}

}  // namespace
}  // namespace inferd
