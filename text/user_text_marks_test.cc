// Goal: marks go on and come off without loss, and say what is the user's. Method: small texts.
#include "text/user_text_marks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace inferd::text_internal {
namespace {

using testing::ElementsAre;

std::string All(std::string_view text) { return UserTextMarker(MarkedCharacters::kAll).Mark(text); }

TEST(UserTextMarks, ComeOffWithoutLoss) {
  for (const std::string text : {"", "a", " a\n\"b\" ", "é語🦙\t<|x|>", "\\ '", "\xc2\xa0"}) {
    for (const auto characters : {MarkedCharacters::kAll, MarkedCharacters::kSymbols}) {
      EXPECT_EQ(Unmark(UserTextMarker(characters).Mark(text), characters).text, text);
    }
  }
}

TEST(UserTextMarks, WhatIsUnmarkedBetweenMarksIsTheUsers) {
  const UnmarkedText text =
      Unmark("<s>\n" + All("a \"b\"c") + "</s>" + All("d"), MarkedCharacters::kAll);
  EXPECT_EQ(text.text, "<s>\na \"b\"c</s>d");
  EXPECT_THAT(text.user, ElementsAre(TextRange{4, 10}, TextRange{14, 15}));
}

TEST(UserTextMarks, SparedTextIsLeftAsItIs) {
  const UserTextMarker marker(MarkedCharacters::kSymbols, {"</think>"});
  EXPECT_EQ(Unmark(marker.Mark("<a</think>>"), MarkedCharacters::kSymbols).user,
            (std::vector<TextRange>{{0, 1}, {10, 11}}));
  EXPECT_THAT(marker.Mark("<</think>"), testing::EndsWith("</think>"));
}

TEST(UserTextMarks, JsonStringsAreMarkedAndKeysWhereTheyAreNoIdentifiers) {
  const UserTextMarker marker(MarkedCharacters::kAll);
  const std::string json =
      marker.MarkJson(R"({"my_key" : ["x\u003c", 12, true], "<k>": "\ud83e\udd99"})");
  const UnmarkedText text = Unmark(json, MarkedCharacters::kAll);
  EXPECT_EQ(text.text, R"({"my_key" : ["x<", 12, true], "<k>": "🦙"})");
  EXPECT_THAT(json, testing::HasSubstr("\"my_key\""));
  EXPECT_THAT(json, testing::Not(testing::HasSubstr("<")));
  EXPECT_TRUE(JsonHoldsMarks(json));
  EXPECT_FALSE(JsonHoldsMarks(text.text));
  for (const char* broken : {"\"", "[\"a\\", "[\"\\u12\"]", "[\"\\ud800\"]", "{\"a\\q\": 1}"}) {
    EXPECT_EQ(marker.MarkJson(broken), broken);
  }
}

TEST(UserTextMarks, LiteralsOfATemplate) {
  EXPECT_THAT(
      SymbolLiterals("'<no>' {{ '<a>\\n' + \"it's<b>\" + 'word' }}{% if x in '<a>\\n' %}{{ '<c"),
      ElementsAre("<a>\n", "it's<b>", "<c"));
}

TEST(UserTextMarks, Ranges) {
  EXPECT_THAT(RangesOfLiterals("xabab", {"ab", "xa", "zz"}), ElementsAre(TextRange{0, 5}));
  EXPECT_THAT(RangesOfSymbols("a<｜b>", U"<｜"), ElementsAre(TextRange{1, 5}));
  EXPECT_THAT(Union({{0, 2}, {5, 6}}, {{1, 3}, {8, 9}}),
              ElementsAre(TextRange{0, 3}, TextRange{5, 6}, TextRange{8, 9}));
}

}  // namespace
}  // namespace inferd::text_internal
