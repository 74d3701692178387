// The life of models' versions and aliases: two persons, a leaf before every step, a history that
// gives the same registry again, sessions that keep what they have.
#include "governance/registry/model_registry.h"

#include <gtest/gtest.h>

#include "base/file_batch.h"
#include "base/sha256.h"
#include "governance/registry/session_versions.h"
#include "tests/support/fake_file_system.h"

namespace inferd {
namespace {

const TenantId kTenant("acme");

ModelContents ContentsOf(const std::string& text) {
  ModelContents contents;
  contents.files = {{"model.gguf", text.size()}};
  contents.resources = {{absl::StrFormat("model.gguf:0:%d", text.size()), Sha256Of(text)}};
  contents.root = RootDigest(contents.resources);
  return contents;
}

ModelReference Asked(std::string_view text) { return ParseModelReference(text).value(); }

class ModelRegistryTest : public testing::Test {
 protected:
  ModelRegistryTest() {
    EXPECT_TRUE(CreateFoldersDurably(files_, "state").ok());
    registry_ = Open().value();
  }

  StatusOr<std::unique_ptr<ModelRegistry>> Open() {
    return ModelRegistry::Open({.files = files_,
                                .clock = clock_,
                                .folder = "state/models",
                                .record = [this](const RegistryChange& change) {
                                  if (!log_takes_leaves_) {
                                    return ErrorF(StatusCode::kUnavailable, "no log");
                                  }
                                  leaves_.push_back(change);
                                  return OkStatus();
                                }});
  }
  // A version that two persons approved.
  void Approved(const std::string& version) {
    ASSERT_TRUE(registry_->Register("sub", "m", version, ContentsOf(version), "").ok());
    ASSERT_TRUE(registry_->Approve("ann", "m", version).ok());
    ASSERT_TRUE(registry_->Approve("bob", "m", version).ok());
  }
  void Moved(const std::string& alias, const std::string& version) {
    ASSERT_TRUE(registry_->ProposeRollout("ann", "m", alias, version).ok());
    ASSERT_TRUE(registry_->ApproveRollout("bob", "m", alias).ok());
    ASSERT_TRUE(registry_->SetPercent("ann", "m", alias, 100).ok());
  }
  std::string VersionOf(std::string_view reference, std::string_view session = "") {
    const auto version = registry_->Resolve(Asked(reference), kTenant, session);
    return version.ok() ? version->version
                        : std::string(absl::StatusCodeToString(version.status().code()));
  }

  FakeFileSystem files_{7};
  ManualClock clock_;
  bool log_takes_leaves_ = true;
  std::vector<RegistryChange> leaves_;
  std::unique_ptr<ModelRegistry> registry_;
};

TEST_F(ModelRegistryTest, NothingAnswersBeforeTwoOthersApprovedIt) {
  EXPECT_EQ(VersionOf("m:1"), "NOT_FOUND");
  ASSERT_TRUE(registry_->Register("sub", "m", "1", ContentsOf("1"), "key ab").ok());
  EXPECT_EQ(VersionOf("m:1"), "FAILED_PRECONDITION");
  const auto code = [&](std::string_view actor) {
    return registry_->Approve(actor, "m", "1").status().code();
  };
  EXPECT_EQ(code("sub"), StatusCode::kPermissionDenied);
  EXPECT_EQ(code("ann"), StatusCode::kOk);
  EXPECT_EQ(VersionOf("m:1"), "FAILED_PRECONDITION");
  EXPECT_EQ(code("ann"), StatusCode::kPermissionDenied);
  EXPECT_EQ(code("bob"), StatusCode::kOk);
  EXPECT_EQ(VersionOf("m:1"), "1");
  EXPECT_EQ(VersionOf("m@sha256:" + ContentsOf("1").root.Hex()), "1");
  EXPECT_EQ(VersionOf("m@sha256:" + ContentsOf("2").root.Hex()), "NOT_FOUND");
  EXPECT_EQ(VersionOf("m"), "NOT_FOUND");  // there is no latest
  EXPECT_EQ(code("eve"), StatusCode::kFailedPrecondition);
}

TEST_F(ModelRegistryTest, AVersionNamesTheSameBytesForGood) {
  Approved("1");
  EXPECT_EQ(registry_->Register("sub", "m", "1", ContentsOf("other"), "").status().code(),
            StatusCode::kAlreadyExists);
}

TEST_F(ModelRegistryTest, TwoPersonsMoveAnAlias) {
  Approved("1");
  Approved("2");
  EXPECT_FALSE(registry_->ProposeRollout("ann", "m", "prod", "3").ok());
  ASSERT_TRUE(registry_->ProposeRollout("ann", "m", "prod", "1").ok());
  EXPECT_EQ(VersionOf("m#prod"), "NOT_FOUND");
  EXPECT_EQ(registry_->SetPercent("ann", "m", "prod", 100).status().code(),
            StatusCode::kFailedPrecondition);
  EXPECT_EQ(registry_->ApproveRollout("ann", "m", "prod").status().code(),
            StatusCode::kPermissionDenied);
  ASSERT_TRUE(registry_->ApproveRollout("bob", "m", "prod").ok());
  EXPECT_EQ(registry_->SetPercent("ann", "m", "prod", 5).status().code(),
            StatusCode::kFailedPrecondition);  // of what?
  const auto moved = registry_->SetPercent("ann", "m", "prod", 100);
  ASSERT_TRUE(moved.ok());
  EXPECT_EQ(moved->step, RegistryStep::kAliasMoved);
  EXPECT_EQ(moved->proposed_by, "ann");
  EXPECT_EQ(moved->approved_by, "bob");
  EXPECT_EQ(VersionOf("m#prod"), "1");
  Moved("prod", "2");
  EXPECT_EQ(VersionOf("m#prod"), "2");
  ASSERT_TRUE(registry_->RollBack("eve", "m", "prod").ok());
  EXPECT_EQ(VersionOf("m#prod"), "1");
}

TEST_F(ModelRegistryTest, ACanaryGrowsAndNeverTakesASessionBack) {
  Approved("1");
  Approved("2");
  Moved("prod", "1");
  ASSERT_TRUE(registry_->ProposeRollout("ann", "m", "prod", "2").ok());
  ASSERT_TRUE(registry_->ApproveRollout("bob", "m", "prod").ok());
  constexpr int kSessions = 20'000;
  std::vector<bool> has_new(kSessions);
  for (const int percent : {5, 25, 80}) {
    ASSERT_TRUE(registry_->SetPercent("ann", "m", "prod", percent).ok());
    int count = 0;
    for (int i = 0; i < kSessions; ++i) {
      const bool is_new = VersionOf("m#prod", absl::StrFormat("s%d", i)) == "2";
      EXPECT_TRUE(is_new || !has_new[static_cast<size_t>(i)]) << i;
      has_new[static_cast<size_t>(i)] = is_new;
      count += is_new ? 1 : 0;
    }
    EXPECT_NEAR(100.0 * count / kSessions, percent, 1.0);
  }
  EXPECT_EQ(VersionOf("m#prod"), "1");  // no session
  ASSERT_TRUE(registry_->RollBack("ann", "m", "prod").ok());
  EXPECT_EQ(VersionOf("m#prod", "s1"), "1");
  EXPECT_EQ(registry_->RollBack("ann", "m", "prod").status().code(),
            StatusCode::kFailedPrecondition);  // it named nothing before
}

TEST_F(ModelRegistryTest, RevokedBytesAnswerUnderNoName) {
  Approved("1");
  ASSERT_TRUE(registry_->Register("sub", "m", "same", ContentsOf("1"), "").ok());
  ASSERT_TRUE(registry_->Approve("ann", "m", "same").ok());
  ASSERT_TRUE(registry_->Approve("bob", "m", "same").ok());
  Approved("2");
  Moved("prod", "2");
  Moved("prod", "1");
  ASSERT_TRUE(registry_->Revoke("ann", "m", "1").ok());
  for (const std::string& name : {std::string("m:1"),
                                  std::string("m:same"),
                                  std::string("m#prod"),
                                  "m@sha256:" + ContentsOf("1").root.Hex()}) {
    EXPECT_EQ(VersionOf(name), "PERMISSION_DENIED") << name;
  }
  EXPECT_EQ(registry_->ProposeRollout("ann", "m", "test", "1").status().code(),
            StatusCode::kPermissionDenied);
  ASSERT_TRUE(registry_->RollBack("ann", "m", "prod").ok());
  EXPECT_EQ(VersionOf("m#prod"), "2");
  EXPECT_EQ(registry_->RollBack("ann", "m", "prod").status().code(),
            StatusCode::kPermissionDenied);  // to what was revoked
}

TEST_F(ModelRegistryTest, RevokedBytesComeBackUnderNoOtherName) {
  Approved("1");
  ASSERT_TRUE(registry_->StartWith("/etc/inferd", "twin", "1", ContentsOf("1"), "").ok());
  EXPECT_EQ(VersionOf("twin"), "1");
  ASSERT_TRUE(registry_->Revoke("ann", "m", "1").ok());
  for (int open = 0; open < 2; ++open, registry_ = Open().value()) {
    EXPECT_EQ(VersionOf("twin"), "PERMISSION_DENIED") << "another model of the same bytes";
    EXPECT_EQ(registry_->Register("sub", "m", "3", ContentsOf("1"), "").status().code(),
              StatusCode::kPermissionDenied);
    EXPECT_EQ(registry_->Register("sub", "new", "1", ContentsOf("1"), "").status().code(),
              StatusCode::kPermissionDenied);
    EXPECT_EQ(registry_->StartWith("/etc/inferd", "new", "1", ContentsOf("1"), "").status().code(),
              StatusCode::kPermissionDenied);
  }
  EXPECT_TRUE(registry_->Register("sub", "m", "3", ContentsOf("3"), "").ok());
}

TEST_F(ModelRegistryTest, TheOwnersFileStartsAModelOnce) {
  ASSERT_TRUE(registry_->StartWith("/etc/inferd", "m", "1", ContentsOf("1"), "").ok());
  EXPECT_EQ(VersionOf("m"), "1");
  EXPECT_EQ(registry_->StartWith("/etc/inferd", "m", "2", ContentsOf("2"), "").status().code(),
            StatusCode::kFailedPrecondition);
}

TEST_F(ModelRegistryTest, OnePersonIsEnoughWhereTheOwnerSaysSo) {
  auto one = ModelRegistry::Open({.files = files_,
                                  .clock = clock_,
                                  .folder = "state/alone",
                                  .record = [](const RegistryChange&) { return OkStatus(); },
                                  .two_persons = false});
  ASSERT_TRUE(one.ok()) << one.status();
  registry_ = *std::move(one);
  ASSERT_TRUE(registry_->Register("ann", "m", "1", ContentsOf("1"), "").ok());
  EXPECT_EQ(VersionOf("m:1"), "1");
  EXPECT_EQ(VersionOf("m"), "NOT_FOUND");  // nothing that a name alone stands for
  ASSERT_TRUE(registry_->ProposeRollout("ann", "m", "default", "1").ok());
  ASSERT_TRUE(registry_->ApproveRollout("ann", "m", "default").ok());
  ASSERT_TRUE(registry_->SetPercent("ann", "m", "default", 100).ok());
  EXPECT_EQ(VersionOf("m"), "1");
  // What was approved so stays approved.
  registry_.reset();
  auto two = ModelRegistry::Open({.files = files_,
                                  .clock = clock_,
                                  .folder = "state/alone",
                                  .record = [](const RegistryChange&) { return OkStatus(); }});
  ASSERT_TRUE(two.ok()) << two.status();
  registry_ = *std::move(two);
  EXPECT_EQ(VersionOf("m"), "1");
  ASSERT_TRUE(registry_->Register("ann", "m", "2", ContentsOf("2"), "").ok());
  EXPECT_EQ(VersionOf("m:2"), "FAILED_PRECONDITION");
}

TEST_F(ModelRegistryTest, TheHistoryGivesTheSameRegistryAgain) {
  Approved("1");
  Approved("2");
  Moved("prod", "1");
  ASSERT_TRUE(registry_->ProposeRollout("ann", "m", "prod", "2").ok());
  ASSERT_TRUE(registry_->ApproveRollout("bob", "m", "prod").ok());
  ASSERT_TRUE(registry_->SetPercent("ann", "m", "prod", 30).ok());
  const auto versions = registry_->Versions("m");
  const auto aliases = registry_->Aliases("m");
  const auto history = registry_->History("m");
  EXPECT_EQ(history, leaves_);
  registry_.reset();
  registry_ = Open().value();
  EXPECT_EQ(registry_->Versions("m"), versions);
  EXPECT_EQ(registry_->Aliases("m"), aliases);
  EXPECT_EQ(registry_->History("m"), history);
}

TEST_F(ModelRegistryTest, NoLeafNoStep) {
  log_takes_leaves_ = false;
  EXPECT_EQ(registry_->Register("sub", "m", "1", ContentsOf("1"), "").status().code(),
            StatusCode::kUnavailable);
  EXPECT_TRUE(registry_->Versions("m").empty());
  log_takes_leaves_ = true;
  EXPECT_TRUE(registry_->Register("sub", "m", "1", ContentsOf("1"), "").ok());
}

TEST_F(ModelRegistryTest, AChangedHistoryIsNotTaken) {
  Approved("1");
  registry_.reset();
  const std::string path = "state/models/00000002.json";
  const std::string bytes = files_.Read(path, 4096).value();
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::string changed = bytes;
    changed[i] ^= 1;
    ASSERT_TRUE(WriteFileDurably(files_, "state/models", "00000002.json", changed).ok());
    const auto opened = Open();
    // A name in it may be another and still be text: the audit log's leaf says which it was.
    if (opened.ok()) {
      EXPECT_NE((*opened)->History("m"), leaves_) << i;
    } else {
      EXPECT_EQ(opened.status().code(), StatusCode::kDataLoss) << i;
    }
  }
  ASSERT_TRUE(files_.Remove(path).ok());
  EXPECT_EQ(Open().status().code(), StatusCode::kDataLoss);
}

TEST(FilesDigestTest, BindsNamesAndSizesWhichTheRootDoesNot) {
  const ModelContents contents = ContentsOf("x");
  ModelContents renamed = contents;
  renamed.files[0].path = "other.gguf";
  EXPECT_EQ(renamed.root, contents.root);
  EXPECT_NE(FilesDigest(renamed), FilesDigest(contents));
}

// Else the alias could never name anything again: neither of the two may answer.
TEST_F(ModelRegistryTest, ARolloutWhoseVersionWasRevokedGivesWay) {
  for (const char* version : {"1", "2", "3"}) {
    Approved(version);
  }
  for (const char* alias : {"default", "next"}) {  // that named 1, and nothing
    if (alias == std::string_view("default")) {
      Moved(alias, "1");
    }
    ASSERT_TRUE(registry_->ProposeRollout("ann", "m", alias, "2").ok());
    ASSERT_TRUE(registry_->ApproveRollout("bob", "m", alias).ok());
    EXPECT_EQ(registry_->ProposeRollout("ann", "m", alias, "3").status().code(),
              StatusCode::kFailedPrecondition);
  }
  ASSERT_TRUE(registry_->Revoke("eve", "m", "1").ok());
  ASSERT_TRUE(registry_->Revoke("eve", "m", "2").ok());
  for (const char* alias : {"default", "next"}) {
    EXPECT_FALSE(registry_->RollBack("ann", "m", alias).ok());
    EXPECT_FALSE(registry_->SetPercent("ann", "m", alias, 100).ok());
    Moved(alias, "3");
  }
  EXPECT_EQ(VersionOf("m"), "3");
  registry_.reset();
  registry_ = Open().value();
  EXPECT_EQ(VersionOf("m#next"), "3");
}

// A certificate's subject may be of any length.
TEST_F(ModelRegistryTest, AStepTooLongForTheHistoryHasNoLeafEither) {
  const std::string signer = "certificate CN=" + std::string(5'000, 'x');
  EXPECT_EQ(registry_->Register("sub", "m", "1", ContentsOf("1"), signer).status().code(),
            StatusCode::kInvalidArgument);
  EXPECT_TRUE(leaves_.empty());
  EXPECT_TRUE(registry_->Register("sub", "m", "1", ContentsOf("1"), "key ab").ok());
}

TEST(SessionVersionsTest, ASessionKeepsItsVersionWhileItIsUsed) {
  ManualClock clock;
  SessionVersions sessions(clock, {.sessions_max = 2, .ttl = std::chrono::seconds(10)});
  const Digest one = Sha256Of("1");
  const Digest two = Sha256Of("2");
  EXPECT_EQ(sessions.Keep(kTenant, "", "m", one), one);
  EXPECT_EQ(sessions.size(), 0U);
  EXPECT_EQ(sessions.Keep(kTenant, "s", "m", one), one);
  for (int i = 0; i < 5; ++i) {
    clock.Advance(std::chrono::seconds(9));
    EXPECT_EQ(sessions.Keep(kTenant, "s", "m", two), one);
  }
  EXPECT_EQ(sessions.Keep(kTenant, "t", "m", two), two);
  EXPECT_EQ(sessions.Keep(kTenant, "s", "m", two), one);
  EXPECT_EQ(sessions.Keep(kTenant, "u", "m", two), two);  // "t", which was unused longest, gave way
  EXPECT_EQ(sessions.size(), 2U);
  EXPECT_EQ(sessions.Keep(kTenant, "u", "m", one), two);
  EXPECT_EQ(sessions.Keep(kTenant, "s", "m", two), one);
  clock.Advance(std::chrono::seconds(11));
  EXPECT_EQ(sessions.Keep(kTenant, "s", "m", two), two);
  sessions.Forget(two);
  EXPECT_EQ(sessions.size(), 0U);
}

TEST(SessionVersionsTest, ATenantWithManySessionsPushesOutNoneOfOthers) {
  ManualClock clock;
  SessionVersions sessions(clock, {.sessions_max = 10, .ttl = std::chrono::seconds(10)});
  const Digest one = Sha256Of("1");
  const Digest two = Sha256Of("2");
  for (const char* session : {"a", "b", "c"}) {
    sessions.Keep(kTenant, session, "m", one);
  }
  for (int i = 0; i < 1'000; ++i) {
    sessions.Keep(TenantId("greedy"), absl::StrFormat("%d", i), "m", one);
    EXPECT_LE(sessions.size(), 10U);
  }
  for (const char* session : {"a", "b", "c"}) {
    EXPECT_EQ(sessions.Keep(kTenant, session, "m", two), one) << session;
  }
  EXPECT_EQ(sessions.Keep(TenantId("greedy"), "999", "m", two), one);
  EXPECT_EQ(sessions.Keep(TenantId("greedy"), "0", "m", two), two);
}

}  // namespace
}  // namespace inferd
