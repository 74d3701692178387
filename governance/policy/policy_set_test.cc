// Policy sets: what is refused and where, what a set is called, what its rules say.
#include "governance/policy/policy_set.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "base/sha256.h"

namespace inferd {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

constexpr char kSchema[] = R"(entity Role;
entity User in [Role] { level: Long };
entity Doc { tags: Set<String> };
action read, write appliesTo {
  principal: User,
  resource: Doc,
  context: { purpose?: String, source?: ipaddr, tokens: Long }
};
)";

std::string ErrorOf(std::string_view policies, std::string_view schema = kSchema) {
  const auto set = PolicySet::Parse(schema, policies);
  return set.ok() ? "" : std::string(Message(set.status()));
}

PolicySet::Pointer SetOf(std::string_view policies) {
  auto set = PolicySet::Parse(kSchema, policies);
  EXPECT_TRUE(set.ok()) << set.status();
  return set.ok() ? *set : nullptr;
}

TEST(PolicySet, DescribesItsRules) {
  const auto set = SetOf(R"(// Readers.
permit(principal in Role::"reader", action == Action::"read", resource);

  @id("no-writes") @why("x;y")
forbid(principal is User, action in [Action::"write", Action::"read"], resource)
  when { context has purpose && context.purpose like "test*" };
@obligations("max_tokens=0064 , local_only") permit(principal == User::"a\"b", action, resource);
)");
  ASSERT_NE(set, nullptr);
  ASSERT_EQ(set->rules().size(), 3u);
  const PolicyRule& reader = set->rules()[0];
  EXPECT_EQ(reader.id, "policy0");
  EXPECT_EQ(reader.effect, PolicyEffect::kPermit);
  EXPECT_EQ(reader.principal.kind, PolicyScope::Kind::kIn);
  EXPECT_THAT(reader.principal.entities, ElementsAre("Role::\"reader\""));
  EXPECT_EQ(reader.action.kind, PolicyScope::Kind::kEqual);
  EXPECT_EQ(reader.line, 2u);
  EXPECT_EQ(reader.column, 1u);
  EXPECT_THAT(reader.text, StartsWith("permit(principal in Role"));
  const PolicyRule& writes = set->rules()[1];
  EXPECT_EQ(writes.id, "no-writes");
  EXPECT_EQ(writes.effect, PolicyEffect::kForbid);
  EXPECT_EQ(writes.principal.kind, PolicyScope::Kind::kIs);
  EXPECT_EQ(writes.principal.type, "User");
  EXPECT_THAT(writes.action.entities, ElementsAre("Action::\"write\"", "Action::\"read\""));
  EXPECT_EQ(writes.line, 4u);
  EXPECT_EQ(writes.column, 3u);
  const PolicyRule& bounded = set->rules()[2];
  EXPECT_EQ(bounded.action.kind, PolicyScope::Kind::kAny);
  EXPECT_THAT(bounded.principal.entities, ElementsAre(R"(User::"a\"b")"));
  EXPECT_THAT(
      bounded.obligations,
      ElementsAre(PolicyObligation{"max_tokens", "64"}, PolicyObligation{"local_only", ""}));
  EXPECT_TRUE(set->MayDependOn("purpose"));
  EXPECT_FALSE(set->MayDependOn("tokens"));
}

TEST(PolicySet, AContextUsedAsAWholeMayMatterWholly) {
  const auto set =
      SetOf("permit(principal, action, resource) when { [context].contains(context) };");
  ASSERT_NE(set, nullptr);
  EXPECT_TRUE(set->MayDependOn("purpose"));
}

TEST(PolicySet, MistakesHaveLineAndColumn) {
  EXPECT_THAT(ErrorOf("permit(principal, action, resource)\nwhen { context.tokens > };"),
              StartsWith("policies:2:25: "));
  EXPECT_THAT(ErrorOf("permit(principal, action, resource);\n"
                      "  permit(principal, action, resource)\n"
                      "    when { principal.lvl > 3 };"),
              StartsWith("policies:3:12: "));
  EXPECT_THAT(ErrorOf("\n\n permit(principal in Rolle::\"x\", action, resource);"),
              StartsWith("policies:3:22: "));
  EXPECT_THAT(ErrorOf("permit(principal, action == Action::\"raed\", resource);"),
              StartsWith("policies:1:29: "));
  EXPECT_THAT(ErrorOf("permit(principal, action, resource) when { context.purpose == \"x\" };"),
              StartsWith("policies:1:44: "));
  EXPECT_THAT(ErrorOf("permit(principal, action, resource) when { principal.level };"),
              StartsWith("policies:1:44: "));
  EXPECT_THAT(ErrorOf("permit(principal, action, resource)"), StartsWith("policies:1:"));
  EXPECT_THAT(ErrorOf("permit(principal, action, resource);", "entity User;\nentity Doc {\n x: };"),
              StartsWith("schema:3:5: "));
  EXPECT_THAT(ErrorOf("", "entity User in [Rol];"), HasSubstr("Rol"));
}

TEST(PolicySet, RefusesWhatIsNoStaticNamedPolicy) {
  EXPECT_THAT(ErrorOf("permit(principal == ?principal, action, resource);"),
              StartsWith("policies:1:"));
  EXPECT_THAT(ErrorOf("@id(\"a b\") permit(principal, action, resource);"), HasSubstr("@id must"));
  EXPECT_THAT(ErrorOf("@id(\"a\") permit(principal, action, resource);\n"
                      "@id(\"a\") forbid(principal, action, resource);"),
              StartsWith("policies:2:1: a policy before this has the id a"));
  EXPECT_THAT(ErrorOf("permit(principal, action, resource);\n"
                      "@id(\"policy0\") forbid(principal, action, resource);"),
              StartsWith("policies:2:1: "));
  EXPECT_THAT(ErrorOf("permit(principal, action, resource);", " \n"), StartsWith("schema: "));
  EXPECT_EQ(PolicySet::Parse(kSchema, "permit\xff").status().code(), StatusCode::kInvalidArgument);
}

TEST(PolicySet, RefusesObligationsThatNobodyWouldFulfil) {
  const auto with = [](std::string_view obligations, std::string_view effect = "permit") {
    return ErrorOf("\n@obligations(\"" + std::string(obligations) + "\") " + std::string(effect) +
                   "(principal, action, resource);");
  };
  EXPECT_EQ(with("redact,local_only"), "");
  for (const char* bad : {"",
                          "redcat",
                          "redact=1",
                          "max_tokens",
                          "max_tokens=0",
                          "max_tokens=-1",
                          "max_tokens=2147483648",
                          "max_tokens=1x",
                          "redact,"}) {
    EXPECT_THAT(with(bad), StartsWith("policies:2:1: ")) << bad;
  }
  EXPECT_THAT(with("redact", "forbid"), StartsWith("policies:2:1: a forbid has no"));
}

TEST(PolicySet, IsNamedByTheDigestOfItsDocument) {
  const auto set = SetOf("permit(principal, action, resource);\r\n");
  ASSERT_NE(set, nullptr);
  const std::string policies = "permit(principal, action, resource);\n";
  const std::string document = "inferd-policy-set v1 " +
                               std::to_string(std::string_view(kSchema).size()) + ' ' +
                               std::to_string(policies.size()) + '\n' + kSchema + policies;
  EXPECT_EQ(set->document(), document);
  EXPECT_EQ(set->digest(), Sha256Of(document));
  EXPECT_EQ(set->policies_text(), policies);
  EXPECT_EQ(set->schema_text(), kSchema);
  const auto again = PolicySet::FromDocument(document);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ((*again)->digest(), set->digest());
  EXPECT_NE(SetOf(policies + "// x\n")->digest(), set->digest());
}

TEST(PolicySet, TakesNoOtherDocument) {
  const std::string good = SetOf("permit(principal, action, resource);")->document();
  for (size_t at = 0; at < good.find('\n') + 1; ++at) {
    std::string turned = good;
    turned[at] = static_cast<char>(turned[at] ^ 1);
    EXPECT_FALSE(PolicySet::FromDocument(turned).ok()) << at;
  }
  EXPECT_FALSE(PolicySet::FromDocument("").ok());
  EXPECT_FALSE(PolicySet::FromDocument("inferd-policy-set v1 \n").ok());
  EXPECT_FALSE(PolicySet::FromDocument(good + "\r\n").ok());
}

TEST(PolicySet, DepthAndLengthAreBounded) {
  const std::string head = "permit(principal, action, resource) when { ";
  EXPECT_THAT(ErrorOf(head + std::string(100, '(') + "true" + std::string(100, ')') + " };"),
              HasSubstr("nested too deep"));
  EXPECT_THAT(ErrorOf("// x\n" + head + std::string(20'000, ' ') + "true };"),
              StartsWith("policies:2:1: the policy that begins here is too long"));
  EXPECT_THAT(ErrorOf(std::string((1 << 20) + 1, ' ')), StartsWith("policies: more than"));
  // The deepest that the bounds allow: chains of operators nest, too.
  std::string chain = "true";
  while (chain.size() < 16'000) {
    chain += "||true";
  }
  EXPECT_EQ(ErrorOf(head + chain + " };"), "");
  std::string path = "context";
  while (path.size() < 16'000) {
    path += ".a";
  }
  EXPECT_NE(ErrorOf(head + path + " };"), "");
}

TEST(PolicySet, WarningsAreNoErrors) {
  const auto set = SetOf("permit(principal, action, resource) when { 1 == 2 };");
  ASSERT_NE(set, nullptr);
  EXPECT_THAT(set->warnings(), StartsWith("policies:1:"));
  EXPECT_THAT(SetOf("permit(principal, action, resource);")->warnings(), IsEmpty());
}

}  // namespace
}  // namespace inferd
