// Goal: tables line up, nothing that a file or a model says can steer a terminal, and each status
// has its exit code. Method: exact text.
#include "client/terminal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "client/table.h"

namespace inferd {
namespace {

using ::testing::HasSubstr;

std::string Printed(const Table& table, bool headers) {
  std::ostringstream out;
  table.Print(out, headers);
  return out.str();
}

TEST(Table, AlignsByCodePointsAndLeavesNoTrailingSpace) {
  Table table({{"NAME"}, {"SIZE", Table::Align::kRight}, {"STATE"}});
  table.AddRow({"größe", "7", "ready"});
  table.AddRow({"a", "123456", ""});
  EXPECT_EQ(Printed(table, true),
            "NAME     SIZE  STATE\n"
            "größe       7  ready\n"
            "a      123456\n");
  EXPECT_EQ(Printed(table, false),
            "größe       7  ready\n"
            "a      123456\n");
}

TEST(Table, EmptyIsItsHeader) {
  const Table table({{"A"}, {"B"}});
  EXPECT_EQ(Printed(table, true), "A  B\n");
  EXPECT_EQ(Printed(table, false), "");
}

TEST(FormatBytes, ThreeDigits) {
  EXPECT_EQ(FormatBytes(0), "0 B");
  EXPECT_EQ(FormatBytes(999), "999 B");
  EXPECT_EQ(FormatBytes(1000), "1.00 kB");
  EXPECT_EQ(FormatBytes(9996), "10.0 kB");
  EXPECT_EQ(FormatBytes(98'362'432), "98.4 MB");
  EXPECT_EQ(FormatBytes(999'500'000), "1.00 GB");
  EXPECT_EQ(FormatBytes(123'400'000'000), "123 GB");
  EXPECT_EQ(FormatBytes(UINT64_MAX), "18447 PB");
}

TEST(OneLine, NoControlCharactersAndNoMoreThanAsked) {
  EXPECT_EQ(OneLine("a\nb\x1b[2J\x7f\u009b", 20), "a?b?[2J??");
  EXPECT_EQ(OneLine("\xff"
                    "é",
                    20),
            "?é");
  EXPECT_EQ(OneLine("éàü", 3), "éàü");
  EXPECT_EQ(OneLine("éàüö", 3), "éàü...");
}

TEST(Printable, FiltersOnlyOnATerminal) {
  std::istringstream in;
  std::ostringstream out, err;
  Terminal terminal{.in = in, .out = out, .err = err};
  const std::string text = "a\tb\n\x1b]0;x\x07\u009b\u00e9\r";
  EXPECT_EQ(Printable(text, terminal), text);
  terminal.out_is_tty = true;
  EXPECT_EQ(Printable(text, terminal), "a\tb\n]0;x\u00e9");
}

TEST(PrintError, AdviceBelowAndColourOnlyWhenAsked) {
  std::istringstream in;
  std::ostringstream out, err;
  Terminal terminal{.in = in, .out = out, .err = err};
  PrintError(terminal, "it broke", "Mend it.");
  EXPECT_EQ(err.str(), "error: it broke\nMend it.\n");
  err.str("");
  terminal.color = true;
  PrintError(terminal, "it broke");
  EXPECT_EQ(err.str(), "\033[1;31merror:\033[0m it broke\n");
  EXPECT_EQ(out.str(), "");
}

TEST(ReadInput, TakesAllBytes) {
  const std::string text("a\0b\r\n\xff", 6);
  std::istringstream in(text);
  EXPECT_EQ(*ReadInput(in), text);
  std::istringstream empty;
  EXPECT_EQ(*ReadInput(empty), "");
}

TEST(ReadInput, IsBounded) {
  std::istringstream in(std::string(kInputBytesMax + 1, 'x'));
  EXPECT_EQ(ReadInput(in).status().code(), StatusCode::kResourceExhausted);
}

TEST(ExitCode, OfEachStatus) {
  const auto code = [](StatusCode status) { return ExitCodeFor(Status(status, "")); };
  EXPECT_EQ(code(StatusCode::kOk), ExitCode::kOk);
  EXPECT_EQ(code(StatusCode::kInvalidArgument), ExitCode::kUsage);
  EXPECT_EQ(code(StatusCode::kNotFound), ExitCode::kNotFound);
  EXPECT_EQ(code(StatusCode::kPermissionDenied), ExitCode::kDenied);
  EXPECT_EQ(code(StatusCode::kUnauthenticated), ExitCode::kDenied);
  EXPECT_EQ(code(StatusCode::kUnavailable), ExitCode::kUnavailable);
  EXPECT_EQ(code(StatusCode::kDeadlineExceeded), ExitCode::kUnavailable);
  EXPECT_EQ(code(StatusCode::kResourceExhausted), ExitCode::kUnavailable);
  EXPECT_EQ(code(StatusCode::kDataLoss), ExitCode::kVerificationFailed);
  EXPECT_EQ(code(StatusCode::kInternal), ExitCode::kFailure);
  EXPECT_EQ(ExitCodeForFile(Status(StatusCode::kInvalidArgument, "")), ExitCode::kFailure);
  EXPECT_EQ(ExitCodeForFile(Status(StatusCode::kNotFound, "")), ExitCode::kNotFound);
  EXPECT_EQ(ExitCodeForFile(Status(StatusCode::kPermissionDenied, "")), ExitCode::kDenied);
}

TEST(Advice, NamesTheEndpointThatDidNotAnswer) {
  EXPECT_THAT(AdviceFor(Status(StatusCode::kUnavailable, ""), "unix:/run/x"),
              HasSubstr("unix:/run/x"));
  EXPECT_EQ(AdviceFor(Status(StatusCode::kInvalidArgument, ""), "x"), "");
}

}  // namespace
}  // namespace inferd
