// Goal: what answers is what was asked for, approved, permitted and in memory, and a session keeps
// it. Method: the real registry, sessions and directory, over models of no bytes.
#include "daemon/model_resolver.h"

#include <gtest/gtest.h>

#include "base/file_batch.h"
#include "base/sha256.h"
#include "daemon/error_map.h"
#include "tests/support/fake_file_system.h"

namespace inferd {
namespace {

const TenantId kTenant("acme");

ModelContents ContentsOf(const std::string& text) {
  const ModelRead read = [&](size_t, uint64_t at, size_t size) {
    return StatusOr<std::span<const std::byte>>(
        std::as_bytes(std::span(text)).subspan(static_cast<size_t>(at), size));
  };
  return HashModel({{"m.gguf", text.size()}}, read, {}).value();
}

class ModelResolverTest : public ::testing::Test {
 protected:
  ModelResolverTest() {
    EXPECT_TRUE(CreateFoldersDurably(files_, "state").ok());
    registry_ = ModelRegistry::Open({.files = files_,
                                     .clock = clock_,
                                     .folder = "state/registry",
                                     .record = [](const RegistryChange&) { return OkStatus(); }})
                    .value();
    EXPECT_TRUE(registry_->StartWith("configuration", "m", "1", ContentsOf("one"), "").ok());
    resolver_.emplace(
        *registry_, sessions_, directory_, [this](const TenantId&) { return rules_; });
  }

  void Register(const std::string& version, const std::string& bytes) {
    ASSERT_TRUE(registry_->Register("eve", "m", version, ContentsOf(bytes), "").ok());
    ASSERT_TRUE(registry_->Approve("ann", "m", version).ok());
    ASSERT_TRUE(registry_->Approve("bob", "m", version).ok());
  }
  void Load(const std::string& version, const std::string& bytes) {
    auto model = std::make_shared<ResidentModel>();
    model->name = "m";
    model->version = version;
    model->digest = ContentsOf(bytes).root;
    directory_.SetReady("none", std::move(model));
  }
  void Rollout(const std::string& alias, const std::string& version, int percent) {
    ASSERT_TRUE(registry_->ProposeRollout("ann", "m", alias, version).ok());
    ASSERT_TRUE(registry_->ApproveRollout("bob", "m", alias).ok());
    ASSERT_TRUE(registry_->SetPercent("ann", "m", alias, percent).ok());
  }
  // The version, or the reason.
  std::string Ask(std::string_view reference, std::string_view session = "") {
    const auto model =
        resolver_->Resolve({.reference = reference, .tenant = kTenant, .session = session});
    return model.ok() ? (*model)->version : std::string(Name(ReasonOf(model.status())));
  }

  FakeFileSystem files_{1};
  ManualClock clock_;
  std::unique_ptr<ModelRegistry> registry_;
  SessionVersions sessions_{clock_, {.ttl = std::chrono::hours(1)}};
  ModelDirectory directory_;
  TenantModels rules_;
  std::optional<ModelResolver> resolver_;
};

TEST_F(ModelResolverTest, SaysWhichAliasesNobodyAnswers) {
  const auto unanswered = [this] {
    std::string text;
    for (const UnansweredAlias& alias : resolver_->Unanswered()) {
      text += absl::StrFormat("%s#%s:%s%s%s ",
                              alias.model,
                              alias.alias,
                              alias.version,
                              alias.on_its_way ? " on its way" : "",
                              alias.revoked ? " revoked" : "");
    }
    return text;
  };
  EXPECT_EQ(unanswered(), "m#default:1 ");
  directory_.Announce("m", "1");
  EXPECT_EQ(unanswered(), "m#default:1 ") << "still loading";
  Load("1", "one");
  EXPECT_EQ(unanswered(), "");
  Register("2", "two");
  EXPECT_EQ(unanswered(), "") << "named by nothing";
  Rollout("default", "2", 5);
  EXPECT_EQ(unanswered(), "m#default:2 on its way ");
  Load("2", "two");
  EXPECT_EQ(unanswered(), "");
  ASSERT_TRUE(registry_->SetPercent("ann", "m", "default", 100).ok());
  ASSERT_TRUE(directory_.Remove("m", "2"));
  EXPECT_EQ(unanswered(), "m#default:2 ") << "version 1 does not answer for it";
  Load("2", "two");
  ASSERT_TRUE(registry_->Revoke("ann", "m", "2").ok());
  EXPECT_EQ(unanswered(), "m#default:2 revoked ") << "even while it is in memory";
}

TEST_F(ModelResolverTest, EachRefusalHasItsReason) {
  EXPECT_EQ(Ask("m"), "MODEL_NOT_FOUND") << "nothing of that name was announced";
  directory_.Announce("m", "1");
  EXPECT_EQ(Ask("m"), "MODEL_LOADING");
  directory_.Announce("n", "1");
  EXPECT_EQ(Ask("n"), "MODEL_LOADING") << "a first start has it registered later";
  Load("1", "one");
  EXPECT_EQ(Ask("m"), "1");
  EXPECT_EQ(Ask("m:1"), "1");
  EXPECT_EQ(Ask("m@sha256:" + ContentsOf("one").root.Hex()), "1");
  EXPECT_EQ(Ask("m@sha256:" + ContentsOf("two").root.Hex()), "VERSION_PIN_MISMATCH");
  EXPECT_EQ(Ask("m:2"), "MODEL_NOT_FOUND");
  EXPECT_EQ(Ask("m#none"), "MODEL_NOT_FOUND");
  EXPECT_EQ(Ask("none"), "MODEL_NOT_FOUND");
  EXPECT_EQ(Ask("no such name"), "MODEL_NOT_FOUND");
  EXPECT_EQ(Ask("m:"), "INVALID_FIELD");
  ASSERT_TRUE(registry_->Register("eve", "m", "2", ContentsOf("two"), "").ok());
  EXPECT_EQ(Ask("m:2"), "MODEL_NOT_APPROVED");
  EXPECT_EQ(Ask("m@sha256:" + ContentsOf("two").root.Hex()), "MODEL_NOT_APPROVED");
  ASSERT_TRUE(registry_->Approve("ann", "m", "2").ok());
  ASSERT_TRUE(registry_->Approve("bob", "m", "2").ok());
  EXPECT_EQ(Ask("m:2"), "MODEL_NOT_RESIDENT");
  Load("2", "two");
  EXPECT_EQ(Ask("m:2"), "2");
  ASSERT_TRUE(registry_->Revoke("ann", "m", "2").ok());
  EXPECT_EQ(Ask("m:2"), "MODEL_REVOKED");
  EXPECT_EQ(Ask("m"), "1");
}

TEST_F(ModelResolverTest, ASessionKeepsItsVersionWhileItMayAnswer) {
  Register("2", "two");
  Load("1", "one");
  Load("2", "two");
  Rollout("default", "2", 25);
  std::map<std::string, std::string> began;
  for (int i = 0; i < 200; ++i) {
    const std::string session = std::to_string(i);
    began[session] = Ask("m", session);
  }
  ASSERT_TRUE(registry_->SetPercent("ann", "m", "default", 100).ok());
  for (const auto& [session, version] : began) {
    EXPECT_EQ(Ask("m", session), version);
  }
  EXPECT_EQ(Ask("m", "new"), "2");
  // Unused for too long, or gone: decided anew.
  clock_.Advance(std::chrono::hours(2));
  for (const auto& [session, version] : began) {
    EXPECT_EQ(Ask("m", session), "2");
  }
  ASSERT_TRUE(registry_->RollBack("ann", "m", "default").ok());
  EXPECT_EQ(Ask("m", "0"), "2");
  directory_.Remove("m", "2");
  EXPECT_EQ(Ask("m", "0"), "1");
  Load("2", "two");
  EXPECT_EQ(Ask("m", "0"), "1") << "it was decided anew";
}

TEST_F(ModelResolverTest, RevokedVersionsLoseTheirSessionsAtOnce) {
  Register("2", "two");
  Load("1", "one");
  Load("2", "two");
  Rollout("default", "2", 100);
  EXPECT_EQ(Ask("m", "s"), "2");
  ASSERT_TRUE(registry_->Revoke("ann", "m", "2").ok());
  EXPECT_EQ(Ask("m", "s"), "MODEL_REVOKED") << "the alias names it still: there is no fall back";
  ASSERT_TRUE(registry_->RollBack("ann", "m", "default").ok());
  EXPECT_EQ(Ask("m", "s"), "1");
}

TEST_F(ModelResolverTest, ATenantGetsWhatItsFileNames) {
  Register("2", "two");
  Load("1", "one");
  Load("2", "two");
  Rollout("next", "2", 100);
  rules_.references = {"m#next"};
  EXPECT_EQ(Ask("m"), "2");
  EXPECT_EQ(Ask("m:2"), "2") << "it is what m#next names";
  EXPECT_EQ(Ask("m:1"), "MODEL_NOT_PERMITTED");
  EXPECT_EQ(Ask("m#default"), "MODEL_NOT_PERMITTED");
  EXPECT_EQ(Ask("other"), "MODEL_NOT_PERMITTED");
  EXPECT_EQ(resolver_->List(kTenant).size(), 1u);
  rules_.references = {"m@sha256:" + ContentsOf("one").root.Hex(), "m:2"};
  EXPECT_EQ(Ask("m"), "1") << "the first of that name";
  EXPECT_EQ(Ask("m:2"), "2");
  EXPECT_EQ(resolver_->List(kTenant).size(), 2u);
  rules_.references = {"m"};
  EXPECT_EQ(Ask("m:1"), "1");
  rules_ = {.references = {}, .signed_only = true};
  EXPECT_EQ(Ask("m"), "MODEL_NOT_PERMITTED");
  EXPECT_TRUE(resolver_->List(kTenant).empty());
  ASSERT_TRUE(registry_->Register("eve", "m", "3", ContentsOf("three"), "key ab").ok());
  ASSERT_TRUE(registry_->Approve("ann", "m", "3").ok());
  ASSERT_TRUE(registry_->Approve("bob", "m", "3").ok());
  Load("3", "three");
  EXPECT_EQ(Ask("m:3"), "3");
}

}  // namespace
}  // namespace inferd
