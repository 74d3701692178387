// Goal: a policy decides by who really asks and by the very version that is asked for, and what is
// known is not built anew. Method: the real store and Cedar, over files of a fake file system.
#include "daemon/policy_gate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "base/file_batch.h"
#include "base/sha256.h"
#include "daemon/error_map.h"
#include "tests/support/fake_file_system.h"

namespace inferd {
namespace {

using ::testing::HasSubstr;

std::string Schema() {
  std::ifstream file(INFERD_SOURCE_DIR "/deploy/policy/inferd.cedarschema");
  return {std::istreambuf_iterator<char>(file), {}};
}

Caller CallerOf(const std::string& name, const std::string& organisation = "example") {
  Caller caller;
  caller.tenant = TenantId("acme");
  caller.organisation = organisation;
  caller.project = "web";
  caller.actor = {.kind = "service", .id = "spiffe://example.org/" + name, .authn = "mtls"};
  caller.roles = {Role::kTenantUser};
  return caller;
}

Digest VersionOf(int number) { return Sha256Of("version " + std::to_string(number)); }

class PolicyGateTest : public ::testing::Test {
 protected:
  PolicyGateTest() {
    EXPECT_TRUE(CreateFoldersDurably(files_, "state").ok());
    store_ = PolicyStore::Open({.files = files_,
                                .clock = clock_,
                                .folder = "state/policy",
                                .record = [](const PolicyChange&) { return OkStatus(); }})
                 .value();
    gate_.emplace(*store_, clock_);
  }

  static PolicySet::Pointer SetOf(const std::string& policies) {
    auto set = PolicySet::Parse(Schema(), policies);
    EXPECT_TRUE(set.ok()) << set.status();
    return *set;
  }
  void StartWith(const std::string& policies) {
    ASSERT_TRUE(store_->StartWith(SetOf(policies), "a test").ok());
  }
  Status May(const Caller& caller, std::string_view action, int version) {
    return gate_->Ask(caller, {.action = action, .model = "m", .digest = VersionOf(version)})
        .status();
  }

  FakeFileSystem files_{7};
  ManualClock clock_;
  std::unique_ptr<PolicyStore> store_;
  std::optional<PolicyGate> gate_;
};

TEST_F(PolicyGateTest, DecidesByTheVersionThatIsAskedFor) {
  StartWith(
      "@id(\"first\") permit(principal, action == Inferd::Action::\"list_models\", resource)\n"
      "when { resource.digest == \"sha256:" +
      VersionOf(1).Hex() + "\" };\n");
  const Caller caller = CallerOf("search");
  for (int round = 0; round < 3; ++round) {
    EXPECT_TRUE(May(caller, "list_models", 1).ok());
    const Status other = May(caller, "list_models", 2);
    EXPECT_EQ(ReasonOf(other), Reason::kPolicyDenied);
    EXPECT_THAT(std::string(Message(other)), HasSubstr("no rule permits list_models"));
    EXPECT_FALSE(May(caller, "generate", 1).ok());
  }
}

TEST_F(PolicyGateTest, VersionsSideBySideAreBuiltOnceEach) {
  StartWith("permit(principal, action, resource);\n");
  const auto ask_all = [&](int num_versions) {
    for (const char* name : {"search", "chat"}) {
      for (int version = 0; version < num_versions; ++version) {
        EXPECT_TRUE(May(CallerOf(name), "generate", version).ok());
      }
    }
  };
  constexpr int kVersions = int{PolicyGate::kViewsMax};
  ask_all(kVersions);
  const uint64_t built = gate_->num_builds();
  EXPECT_EQ(built, 2 * PolicyGate::kViewsMax);
  ask_all(kVersions);
  EXPECT_EQ(gate_->num_builds(), built);
  // More versions than views: slower, and still right.
  ask_all(kVersions + 2);
  ask_all(kVersions);
  EXPECT_GT(gate_->num_builds(), built);
}

TEST_F(PolicyGateTest, ATenantThatWasMovedIsWhereItIsForAllItsCallers) {
  StartWith("permit(principal in Inferd::Org::\"example\", action, resource);\n");
  EXPECT_TRUE(May(CallerOf("search"), "generate", 1).ok());
  EXPECT_TRUE(May(CallerOf("chat"), "generate", 1).ok());
  // Its file names another organisation now: each caller's own credential says when.
  EXPECT_FALSE(May(CallerOf("chat", "other"), "generate", 1).ok());
  EXPECT_TRUE(May(CallerOf("search"), "generate", 1).ok());
  EXPECT_FALSE(May(CallerOf("new", "other"), "generate", 1).ok());
  EXPECT_TRUE(May(CallerOf("new"), "generate", 1).ok());
}

TEST_F(PolicyGateTest, AnotherSetDecidesAtOnce) {
  EXPECT_THAT(std::string(Message(May(CallerOf("search"), "generate", 1))),
              HasSubstr("no active policy set"));
  StartWith("permit(principal, action, resource);\n");
  EXPECT_TRUE(May(CallerOf("search"), "generate", 1).ok());
  const auto second = SetOf("@id(\"closed\") forbid(principal, action, resource);\n");
  ASSERT_TRUE(store_->Propose("ann", second).ok());
  ASSERT_TRUE(store_->Approve("bob", second->digest()).ok());
  EXPECT_TRUE(May(CallerOf("search"), "generate", 1).ok());
  ASSERT_TRUE(store_->Activate("ann", second->digest()).ok());
  PolicyFacts denied;
  const auto answer = gate_->Ask(
      CallerOf("search"), {.action = "generate", .model = "m", .digest = VersionOf(1)}, &denied);
  EXPECT_EQ(ReasonOf(answer.status()), Reason::kPolicyDenied);
  EXPECT_EQ(denied.dec, "deny");
  EXPECT_EQ(denied.set, second->digest());
  EXPECT_EQ(denied.rules, std::vector<std::string>{"closed"});
}

// An operator's own schema may leave callers out: they are denied, and nobody else is.
TEST_F(PolicyGateTest, ACallerThatDoesNotFitTheSchemaIsDeniedAlone) {
  StartWith("permit(principal, action, resource);\n");
  Caller with_key = CallerOf("key");
  with_key.key_id = "0123456789abcdef";
  EXPECT_TRUE(May(with_key, "generate", 1).ok());
  EXPECT_TRUE(May(CallerOf("search"), "generate", 1).ok());

  std::string schema = Schema();
  for (size_t at; (at = schema.find("ApiKey, ")) != std::string::npos;) {
    schema.erase(at, std::string_view("ApiKey, ").size());
  }
  const auto narrow = PolicySet::Parse(schema, "permit(principal, action, resource);\n");
  ASSERT_TRUE(narrow.ok()) << narrow.status();
  ASSERT_TRUE(store_->Propose("ann", *narrow).ok());
  ASSERT_TRUE(store_->Approve("bob", (*narrow)->digest()).ok());
  ASSERT_TRUE(store_->Activate("ann", (*narrow)->digest()).ok());
  // The key was met under the other schema, and is met again under this one.
  EXPECT_TRUE(May(CallerOf("search"), "generate", 1).ok());
  EXPECT_EQ(ReasonOf(May(with_key, "generate", 1)), Reason::kPolicyDenied);
  EXPECT_TRUE(May(CallerOf("chat"), "generate", 1).ok());
  const uint64_t built = gate_->num_builds();
  EXPECT_TRUE(May(CallerOf("search"), "generate", 1).ok());
  EXPECT_EQ(gate_->num_builds(), built);
}

}  // namespace
}  // namespace inferd
