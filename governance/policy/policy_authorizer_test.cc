// Decisions: by slices and with the cache they must be those of Cedar's authorizer over the whole
// set, over random policies; and what we add to Cedar, one by one.
#include "governance/policy/policy_authorizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "governance/policy/recorded_request.h"
#include "tests/support/random_policy.h"

namespace inferd {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr char kSchema[] = R"(entity Role in [Role];
entity User in [Role] { level: Long };
entity Doc;
action read, write appliesTo {
  principal: User,
  resource: Doc,
  context: { purpose?: String, tokens: Long }
};
)";

constexpr char kEntities[] = R"([
  {"uid": {"type": "Role", "id": "reader"}, "attrs": {}, "parents": []},
  {"uid": {"type": "Role", "id": "writer"}, "attrs": {},
   "parents": [{"type": "Role", "id": "reader"}]},
  {"uid": {"type": "User", "id": "ann"}, "attrs": {"level": 1},
   "parents": [{"type": "Role", "id": "writer"}]},
  {"uid": {"type": "User", "id": "bob"}, "attrs": {"level": 9223372036854775807}, "parents": []},
  {"uid": {"type": "Doc", "id": "d"}, "attrs": {}, "parents": []}])";

std::unique_ptr<PolicyAuthorizer> AuthorizerOf(std::string_view policies, size_t num_cached = 64) {
  auto set = PolicySet::Parse(kSchema, policies);
  EXPECT_TRUE(set.ok()) << set.status();
  if (!set.ok()) {
    return nullptr;
  }
  auto authorizer = PolicyAuthorizer::Make(*set, kEntities, {.num_cached = num_cached});
  EXPECT_TRUE(authorizer.ok()) << authorizer.status();
  return authorizer.ok() ? *std::move(authorizer) : nullptr;
}

struct Asked {
  std::string user = "ann";
  std::string action = "read";
  int64_t tokens = 10;
  std::string purpose{};
};

PolicyDecision DecisionOf(const PolicyAuthorizer& authorizer, const Asked& asked) {
  std::vector<PolicyAttribute> context = {{.name = "tokens", .value = asked.tokens}};
  if (!asked.purpose.empty()) {
    context.push_back({.name = "purpose", .value = std::string_view(asked.purpose)});
  }
  const PolicyEntities& entities = authorizer.entities();
  const PolicyRequest request = {.principal = entities.Find("User", asked.user).value(),
                                 .action = entities.Find("Action", asked.action).value(),
                                 .resource = entities.Find("Doc", "d").value(),
                                 .context = context};
  const auto decision = authorizer.Decide(request);
  const auto whole = authorizer.DecideByWholeSet(request);
  EXPECT_TRUE(decision.ok()) << decision.status();
  EXPECT_TRUE(whole.ok()) << whole.status();
  if (!decision.ok() || !whole.ok()) {
    return {};
  }
  EXPECT_EQ(**decision, *whole);
  return **decision;
}

TEST(PolicyAuthorizer, DeniesWhatNothingPermits) {
  const auto authorizer = AuthorizerOf("");
  ASSERT_NE(authorizer, nullptr);
  const PolicyDecision decision = DecisionOf(*authorizer, {});
  EXPECT_FALSE(decision.allowed);
  EXPECT_THAT(decision.rules, IsEmpty());
  EXPECT_EQ(decision.Name(), "deny");
}

TEST(PolicyAuthorizer, AForbidOverridesPermits) {
  const auto authorizer = AuthorizerOf(R"(
    @id("p") permit(principal, action, resource);
    @id("q") permit(principal in Role::"reader", action, resource);
    @id("f") forbid(principal, action == Action::"write", resource);)");
  ASSERT_NE(authorizer, nullptr);
  const PolicyDecision read = DecisionOf(*authorizer, {});
  EXPECT_TRUE(read.allowed);
  EXPECT_EQ(read.Name(), "allow");
  EXPECT_THAT(read.rules, ElementsAre("p", "q"));
  const PolicyDecision write = DecisionOf(*authorizer, {.action = "write"});
  EXPECT_FALSE(write.allowed);
  EXPECT_THAT(write.rules, ElementsAre("f"));
}

TEST(PolicyAuthorizer, AnErringForbidDeniesAndAnErringPermitIsLeftOut) {
  const auto authorizer = AuthorizerOf(R"(
    @id("p") permit(principal, action, resource);
    @id("e") permit(principal, action, resource) when { principal.level * 2 > 0 };
    @id("f") forbid(principal, action == Action::"write", resource)
      when { principal.level + 1 < 0 };)");
  ASSERT_NE(authorizer, nullptr);
  const PolicyDecision read = DecisionOf(*authorizer, {.user = "bob"});
  EXPECT_TRUE(read.allowed);
  EXPECT_THAT(read.rules, ElementsAre("p"));
  EXPECT_THAT(read.erred, ElementsAre("e"));
  const PolicyDecision write = DecisionOf(*authorizer, {.user = "bob", .action = "write"});
  EXPECT_FALSE(write.allowed);
  EXPECT_THAT(write.rules, ElementsAre("f"));
  EXPECT_THAT(write.erred, ElementsAre("e", "f"));
  EXPECT_TRUE(DecisionOf(*authorizer, {.action = "write"}).allowed);
}

TEST(PolicyAuthorizer, ObligationsAreThoseOfAllPermitsThatApplied) {
  const auto authorizer = AuthorizerOf(R"(
    @obligations("max_tokens=64, redact") permit(principal, action, resource);
    @obligations("max_tokens=512, local_only") permit(principal, action, resource);
    @obligations("max_tokens=1") permit(principal, action == Action::"write", resource);)");
  ASSERT_NE(authorizer, nullptr);
  const PolicyDecision decision = DecisionOf(*authorizer, {});
  EXPECT_EQ(decision.Name(), "allow_with_obligations");
  EXPECT_THAT(decision.obligations,
              ElementsAre(PolicyObligation{"local_only", ""},
                          PolicyObligation{"max_tokens", "64"},
                          PolicyObligation{"redact", ""}));
}

TEST(PolicyAuthorizer, NamesABoundedNumberOfRules) {
  std::string policies;
  for (size_t i = 0; i < kPolicyRulesNamedMax + 5; ++i) {
    policies += "permit(principal, action, resource);";
  }
  const auto authorizer = AuthorizerOf(policies);
  ASSERT_NE(authorizer, nullptr);
  const PolicyDecision decision = DecisionOf(*authorizer, {});
  EXPECT_EQ(decision.rules.size(), kPolicyRulesNamedMax);
  EXPECT_EQ(decision.num_rules, kPolicyRulesNamedMax + 5);
}

TEST(PolicyAuthorizer, RemembersByWhatRulesMention) {
  const auto authorizer = AuthorizerOf(R"(
    permit(principal, action, resource) when { context has purpose && context.purpose == "a" };)");
  ASSERT_NE(authorizer, nullptr);
  const auto pointer = [&](int64_t tokens, std::string_view purpose) {
    const std::vector<PolicyAttribute> context = {{.name = "tokens", .value = tokens},
                                                  {.name = "purpose", .value = purpose}};
    const PolicyEntities& entities = authorizer->entities();
    const auto decision = authorizer->Decide({.principal = entities.Find("User", "ann").value(),
                                              .action = entities.Find("Action", "read").value(),
                                              .resource = entities.Find("Doc", "d").value(),
                                              .context = context});
    EXPECT_TRUE(decision.ok()) << decision.status();
    return decision.ok() ? *decision : nullptr;
  };
  const SharedPolicyDecision first = pointer(1, "a");
  EXPECT_EQ(pointer(2, "a"), first);  // the same object: remembered
  EXPECT_TRUE(first->allowed);
  EXPECT_FALSE(pointer(1, "b")->allowed);
}

TEST(PolicyAuthorizer, ARequestThatDoesNotFitTheSchemaIsAnErrorWithoutItsValues) {
  const auto authorizer = AuthorizerOf("permit(principal, action, resource);");
  ASSERT_NE(authorizer, nullptr);
  const PolicyEntities& entities = authorizer->entities();
  const auto status = [&](std::vector<PolicyAttribute> context, std::string_view resource) {
    const auto found = entities.Find(resource == "d" ? "Doc" : "User", resource);
    return authorizer
        ->Decide({.principal = entities.Find("User", "ann").value(),
                  .action = entities.Find("Action", "read").value(),
                  .resource = found.value(),
                  .context = context})
        .status();
  };
  const PolicyAttribute tokens = {.name = "tokens", .value = int64_t{1}};
  EXPECT_TRUE(status({tokens}, "d").ok());
  for (const auto& bad : std::vector<std::vector<PolicyAttribute>>{
           {},
           {{.name = "tokens", .value = std::string_view("hush")}},
           {tokens, {.name = "purpose", .value = PolicyIp{"10.0.0.1"}}},
           {tokens, {.name = "purpose", .value = PolicyIp{"hush"}}},
           {tokens, {.name = "hush", .value = true}},
           {tokens, tokens}}) {
    const Status refused = status(bad, "d");
    EXPECT_EQ(refused.code(), StatusCode::kInvalidArgument) << refused;
    EXPECT_THAT(std::string(Message(refused)), testing::Not(HasSubstr("hush")));
  }
  EXPECT_THAT(std::string(Message(status({tokens}, "bob"))), HasSubstr("does not fit the schema"));
  const PolicyEntityIndex nobody(1000);
  EXPECT_EQ(authorizer->Decide({.principal = nobody, .action = nobody, .resource = nobody})
                .status()
                .code(),
            StatusCode::kInvalidArgument);
}

TEST(PolicyEntities, AreCheckedAgainstTheSchema) {
  const auto set = PolicySet::Parse(kSchema, "");
  ASSERT_TRUE(set.ok()) << set.status();
  const auto error = [&](const PolicyEntity& entity) {
    return PolicyEntities::FromJson(*set, EntitiesJson({&entity, 1})).status();
  };
  EXPECT_TRUE(error({.name = {"User", "x"}, .attributes = {{"level", int64_t{3}}}}).ok());
  EXPECT_THAT(std::string(Message(error({.name = {"User", "x"}}))), HasSubstr("level"));
  EXPECT_FALSE(error({.name = {"User", "x"}, .attributes = {{"level", std::string("3")}}}).ok());
  EXPECT_FALSE(error({.name = {"Usr", "x"}}).ok());
  EXPECT_FALSE(error({.name = {"Doc", "x"}, .parents = {{"Role", "reader"}}}).ok());
  EXPECT_FALSE(PolicyEntities::FromJson(*set, "[").ok());
  EXPECT_FALSE(PolicyEntities::FromJson(*set, std::string(100'000, '[')).ok());
}

// One decision in four is asked for a second time, out of the cache.
void CompareCase(const RandomPolicyOptions& options,
                 uint64_t& compared,
                 uint64_t& allowed,
                 uint64_t& erred) {
  const RandomPolicyCase random = MakeRandomPolicyCase(options);
  SCOPED_TRACE(absl::StrFormat("seed %d, valid %d", options.seed, options.valid));
  const auto set = options.valid ? PolicySet::Parse(random.schema, random.policies)
                                 : PolicySet::ParseUnvalidatedForTest(random.policies);
  ASSERT_TRUE(set.ok()) << set.status();
  const auto authorizer = PolicyAuthorizer::Make(*set, random.entities_json, {.num_cached = 256});
  ASSERT_TRUE(authorizer.ok()) << authorizer.status();
  for (size_t i = 0; i < random.requests.size() * 5 / 4; ++i) {
    const RecordedRequest& recorded = random.requests[i % random.requests.size()];
    const auto bound = BoundRequest::Bind(recorded, (*authorizer)->entities());
    ASSERT_TRUE(bound.ok()) << bound.status();
    const auto decision = (*authorizer)->Decide(bound->get());
    const auto whole = (*authorizer)->DecideByWholeSet(bound->get());
    ASSERT_TRUE(decision.ok() && whole.ok()) << decision.status() << whole.status();
    ASSERT_EQ(**decision, *whole) << ToJson(recorded) << '\n' << random.policies;
    ++compared;
    allowed += whole->allowed ? 1 : 0;
    erred += whole->num_erred > 0 ? 1 : 0;
  }
}

TEST(PolicyAuthorizer, RandomPoliciesDecideAsCedarsAuthorizerOverTheWholeSet) {
  uint64_t compared = 0;
  uint64_t allowed = 0;
  uint64_t erred = 0;
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    CompareCase({.seed = seed, .num_policies = 30, .num_requests = 60, .valid = seed % 2 == 0},
                compared,
                allowed,
                erred);
    ASSERT_FALSE(testing::Test::HasFatalFailure());
  }
  EXPECT_EQ(compared, 40u * 75u);
  // The policies are worth comparing: both answers are common, and so are errors.
  EXPECT_GT(allowed, compared / 20);
  EXPECT_LT(allowed, compared - compared / 20);
  EXPECT_GT(erred, compared / 20);
  RecordProperty("allowed", static_cast<int>(allowed));
  RecordProperty("erred", static_cast<int>(erred));
}

TEST(DatetimeText, IsWhatCedarReads) {
  EXPECT_EQ(DatetimeText(WallTime(std::chrono::milliseconds(1'769'903'999'123))),
            "2026-01-31T23:59:59.123Z");
  EXPECT_EQ(DatetimeText(WallTime(std::chrono::milliseconds(-1))), "1969-12-31T23:59:59.999Z");
}

}  // namespace
}  // namespace inferd
