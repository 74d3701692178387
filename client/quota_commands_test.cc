// Goal: the command line of usage, quota and policy says what is asked for. Method: arguments in,
// values out; calls are tested with the daemon.
#include <gtest/gtest.h>

#include <sstream>

#include "client/command_line.h"

namespace inferd {
namespace {

template <typename Asked>
std::optional<Asked> Parse(const std::vector<std::string>& arguments) {
  std::istringstream in;
  std::ostringstream out;
  std::ostringstream err;
  Terminal terminal{.in = in, .out = out, .err = err};
  auto parsed = ParseCommandLine(arguments, terminal);
  const auto* const invocation = std::get_if<Invocation>(&parsed);
  if (invocation == nullptr || !std::holds_alternative<Asked>(invocation->command)) {
    return std::nullopt;
  }
  return std::get<Asked>(invocation->command);
}

TEST(QuotaCommandLine, NamesVerbAccountAndNumbers) {
  const auto usage =
      Parse<QuotaCommand>({"usage", "--from", "2026-11-01", "--csv", "--org", "acme"});
  ASSERT_TRUE(usage.has_value());
  EXPECT_EQ(usage->verb, "usage");
  EXPECT_EQ(usage->org, "acme");
  EXPECT_EQ(usage->from, "2026-11-01");
  EXPECT_TRUE(usage->csv);
  const auto set = Parse<QuotaCommand>({"quota",
                                        "set",
                                        "acme/day",
                                        "--org",
                                        "acme",
                                        "--metric",
                                        "tok_day",
                                        "--limit",
                                        "5000000000",
                                        "--raised-for",
                                        "60",
                                        "--raised-limit",
                                        "7",
                                        "--admin",
                                        "unix:/x"});
  ASSERT_TRUE(set.has_value());
  EXPECT_EQ(set->verb, "set");
  EXPECT_EQ(set->id, "acme/day");
  EXPECT_EQ(set->limit, 5'000'000'000u);
  EXPECT_EQ(set->raised_for_s, 60);
  EXPECT_EQ(set->raised_limit, 7u);
  EXPECT_EQ(set->mode, "enforce");
  EXPECT_EQ(set->admin, "unix:/x");
  const auto simulate =
      Parse<QuotaCommand>({"quota", "simulate", "new.yaml", "--from", "2026-11-01"});
  ASSERT_TRUE(simulate.has_value());
  EXPECT_EQ(simulate->verb, "simulate");
  EXPECT_EQ(simulate->file, "new.yaml");
  EXPECT_EQ(simulate->from, "2026-11-01");
  EXPECT_FALSE(Parse<QuotaCommand>({"quota", "simulate"}).has_value());
  EXPECT_FALSE(Parse<QuotaCommand>({"quota"}).has_value());
  EXPECT_FALSE(Parse<QuotaCommand>({"quota", "show"}).has_value());
  EXPECT_FALSE(Parse<QuotaCommand>({"quota", "set", "a", "--org", "o"}).has_value());
}

TEST(QuotaCommandLine, PoliciesAreAskedOfTheAdminPlane) {
  const auto propose = Parse<PolicyCommand>({"policy", "propose", "new.cedar"});
  ASSERT_TRUE(propose.has_value());
  EXPECT_EQ(propose->verb, "propose");
  EXPECT_EQ(propose->policies, "new.cedar");
  EXPECT_FALSE(propose->schema_given);
  const auto other = Parse<PolicyCommand>({"policy", "propose", "--schema", "s", "new.cedar"});
  ASSERT_TRUE(other.has_value());
  EXPECT_TRUE(other->schema_given);
  EXPECT_FALSE(Parse<PolicyCommand>({"policy", "approve"}).has_value());
}

}  // namespace
}  // namespace inferd
