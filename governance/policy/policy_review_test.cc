// What a reviewer sees: differences of two sets, of their decisions over recorded requests, and
// tests that fail when they should.
#include "governance/policy/policy_review.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "base/file.h"
#include "tests/support/random_policy.h"

namespace inferd {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr char kSchema[] = R"(entity User; entity Doc;
action read, write appliesTo { principal: User, resource: Doc, context: { tokens: Long } };
)";
constexpr char kEntities[] = R"([{"uid": {"type": "User", "id": "ann"}, "attrs": {}, "parents": []},
  {"uid": {"type": "Doc", "id": "d"}, "attrs": {}, "parents": []}])";
constexpr char kOld[] = R"(@id("a") permit(principal, action == Action::"read", resource);
@id("b") forbid(principal, action, resource) when { context.tokens > 100 };
)";
constexpr char kNew[] =
    R"(@id("b") forbid(principal, action, resource) when { context.tokens > 50 };
@id("a") permit(principal, action == Action::"read", resource);
@id("c") permit(principal, action == Action::"write", resource);
)";

std::unique_ptr<PolicyAuthorizer> AuthorizerOf(std::string_view policies) {
  auto set = PolicySet::Parse(kSchema, policies);
  EXPECT_TRUE(set.ok()) << set.status();
  return *PolicyAuthorizer::Make(*set, kEntities, {});
}

std::string Line(std::string_view action, int tokens, std::string_view rest = "") {
  return absl::StrFormat(
      R"({"principal": {"type": "User", "id": "ann"}, "action": {"type": "Action", "id": "%s"}, )"
      R"("resource": {"type": "Doc", "id": "d"}, "context": {"tokens": %d}%s})"
      "\n",
      action,
      tokens,
      rest);
}

std::vector<RecordedLine> LinesOf(const std::string& text) {
  auto lines = ParseRecordedRequests(text);
  EXPECT_TRUE(lines.ok()) << lines.status();
  return *lines;
}

TEST(Diff, NamesRulesByTheirIds) {
  const auto before = PolicySet::Parse(kSchema, kOld);
  const auto after = PolicySet::Parse(kSchema, kNew);
  ASSERT_TRUE(before.ok() && after.ok());
  const PolicyDiff diff = Diff(**before, **after);
  EXPECT_FALSE(diff.schema_changed);
  EXPECT_THAT(diff.removed, IsEmpty());
  ASSERT_EQ(diff.added.size(), 1u);
  EXPECT_EQ(diff.added[0].id, "c");
  ASSERT_EQ(diff.changed.size(), 1u);
  EXPECT_EQ(diff.changed[0].after.id, "b");
  const std::string text = ToText(diff);
  EXPECT_THAT(text, HasSubstr("- b: @id(\"b\") forbid"));
  EXPECT_THAT(text, HasSubstr("> 50 };"));
  EXPECT_THAT(text, HasSubstr("+ c: "));
  EXPECT_TRUE(Diff(**after, **after).empty());
  EXPECT_EQ(Diff(**after, **before).removed.size(), 1u);
}

TEST(Simulate, FindsTheDecisionsThatChange) {
  const auto before = AuthorizerOf(kOld);
  const auto after = AuthorizerOf(kNew);
  const auto lines = LinesOf("# traffic\n\n" + Line("read", 10) + Line("read", 70) +
                             Line("write", 10) + Line("write", 200) + Line("delete", 1));
  const Simulation simulation = Simulate(*before, *after, lines);
  EXPECT_EQ(simulation.num_requests, 5u);
  EXPECT_EQ(simulation.num_different, 2u);
  EXPECT_EQ(simulation.num_undecided, 1u);
  ASSERT_EQ(simulation.findings.size(), 3u);
  EXPECT_EQ(simulation.findings[0].line, 4u);
  EXPECT_EQ(simulation.findings[0].text, "was allow by a, is deny by b");
  EXPECT_EQ(simulation.findings[1].line, 5u);
  EXPECT_EQ(simulation.findings[1].text, "was deny, is allow by c");
  EXPECT_EQ(simulation.findings[2].line, 7u);
  EXPECT_THAT(simulation.findings[2].text,
              HasSubstr("undecided before: action Action::\"delete\""));
}

TEST(RunTests, AreRedWhereTheSetSaysOtherwise) {
  const auto authorizer = AuthorizerOf(kOld);
  const auto lines = LinesOf(Line("read", 10, R"(, "expect": "allow", "rules": ["a"])") +
                             Line("read", 10, R"(, "expect": "deny")") +
                             Line("write", 1000, R"(, "expect": "deny", "rules": ["a"])") +
                             Line("write", 1000, R"(, "rules": ["b"])") + Line("read", 10));
  const PolicyTestRun run = RunTests(*authorizer, lines);
  EXPECT_EQ(run.num_passed, 2u);
  EXPECT_EQ(run.num_failed, 3u);
  ASSERT_EQ(run.failures.size(), 3u);
  EXPECT_EQ(run.failures[0].line, 2u);
  EXPECT_EQ(run.failures[0].text, "expected deny, got allow by a");
  EXPECT_EQ(run.failures[1].text, "expected rules [a], got deny by b");
  EXPECT_THAT(run.failures[2].text, HasSubstr("expects nothing"));
}

// What is delivered as a first set.
TEST(RunTests, TheFirstSetPassesItsOwn) {
  const auto read = [](const std::string& name) {
    return ReadFile(INFERD_SOURCE_DIR "/deploy/policy/" + name, 1 << 20).value();
  };
  const auto set = PolicySet::Parse(read("inferd.cedarschema"), read("policies.cedar"));
  ASSERT_TRUE(set.ok()) << set.status();
  EXPECT_EQ((*set)->warnings(), "");
  const auto authorizer = PolicyAuthorizer::Make(*set, read("entities.json"), {});
  ASSERT_TRUE(authorizer.ok()) << authorizer.status();
  const PolicyTestRun run = RunTests(**authorizer, LinesOf(read("tests.jsonl")));
  for (const PolicyFinding& failure : run.failures) {
    ADD_FAILURE() << "tests.jsonl:" << failure.line << ": " << failure.text;
  }
  EXPECT_GE(run.num_passed, 14u);
}

TEST(RecordedRequest, IsReadAsItWasWritten) {
  for (const RecordedRequest& request : MakeRandomPolicyCase({.num_policies = 0}).requests) {
    const auto again = ParseRecordedRequest(ToJson(request));
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(ToJson(*again), ToJson(request));
  }
  const auto lines = LinesOf(Line("read", 1, R"(, "expect": "deny", "rules": ["x", "y"])"));
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0].request.allowed, false);
  EXPECT_THAT(*lines[0].request.rules, ElementsAre("x", "y"));
}

TEST(RecordedRequest, RefusesWhatItDoesNotKnow) {
  const std::string head =
      R"({"principal": {"type": "U", "id": "a"}, "action": {"type": "A", "id": "r"}, )"
      R"("resource": {"type": "D", "id": "d"})";
  EXPECT_TRUE(ParseRecordedRequest(head + "}").ok());
  for (const char* rest : {"",
                           R"(, "contex": {}})",
                           R"(, "context": []})",
                           R"(, "context": {"a": 1.5}})",
                           R"(, "context": {"a": null}})",
                           R"(, "context": {"a": 9223372036854775808}})",
                           R"(, "context": {"a": {"__extn": {"fn": "offset", "arg": "1"}}}})",
                           R"(, "context": {"a": {"fn": "ip"}}})",
                           R"(, "expect": "maybe"})",
                           R"(, "expect": true})",
                           R"(, "rules": [1]})",
                           R"(, "rules": "a"})",
                           R"(, "principal": "a"})"}) {
    EXPECT_EQ(ParseRecordedRequest(head + rest).status().code(), StatusCode::kInvalidArgument)
        << rest;
  }
  const auto lines = ParseRecordedRequests("\n{}\n");
  EXPECT_THAT(std::string(Message(lines.status())), HasSubstr("line 2: "));
}

}  // namespace
}  // namespace inferd
