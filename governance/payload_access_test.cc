// Goal: nobody looks alone, nobody looks late, each look is in the log before it is had, and what
// is shown is what the leaf committed to. Method: the real vault and key store, leaves written by
// hand.
#include "governance/payload_access.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/ulid.h"
#include "tests/support/fake_audit_log.h"
#include "tests/support/temp_folder.h"

namespace inferd {
namespace {

namespace fs = std::filesystem;
constexpr char kRid[] = "01JD0000000000000000000000";
constexpr char kOther[] = "01JD0000000000000000000001";

class PayloadAccessTest : public testing::Test {
 protected:
  PayloadAccessTest() {
    fs::create_directory(root_ / "vault");
    clock_.Advance(std::chrono::hours(24) * 20'000);
    Start();
    leaves_ = {LeafOf("the prompt", VaultDirection::kInput),
               LeafOf("the answer", VaultDirection::kOutput)};
  }
  void Start() {
    access_.reset();
    access_ = *PayloadAccess::Open((root_ / "views.sqlite").string(),
                                   {.log = log_, .vault = vault_, .clock = clock_});
  }
  RequestLeaf LeafOf(std::string_view payload,
                     VaultDirection direction,
                     const std::string& rid = kRid,
                     const std::string& tenant = "acme") {
    const auto put = vault_.Store({.rid = rid,
                                   .subject = {.tenant = tenant, .subject = "anna"},
                                   .origin = "example.org/log/2026q4.0",
                                   .direction = direction,
                                   .salt = NewCommitmentSalt(),
                                   .payload = payload});
    return {.origin = "example.org/log/2026q4.1",
            .leaf = direction == VaultDirection::kInput
                        ? absl::StrFormat(R"({"d":{"vault":"%s"},"in":{"c":"%s"},"rid":"%s",)"
                                          R"("t":"inference.admitted","tenant":"%s"})",
                                          put->handle,
                                          put->commitment.Text(),
                                          rid,
                                          tenant)
                        : absl::StrFormat(R"({"out":{"c":"%s"},"rid":"%s",)"
                                          R"("t":"inference.completed","tenant":"%s",)"
                                          R"("vault":"%s"})",
                                          put->commitment.Text(),
                                          rid,
                                          tenant,
                                          put->handle)};
  }
  // Asked for by uid 1, approved by uid 2.
  std::string Approved() {
    const auto view = access_->Request(Uid(1), "acme", kRid, "case-7");
    EXPECT_TRUE(view.ok()) << view.status();
    EXPECT_TRUE(access_->Approve(Uid(2), view->id).ok());
    return view->id;
  }
  StatusCode LookCode(int uid, const std::string& id) {
    return access_->Look(Uid(uid), id, leaves_).status().code();
  }

  TempFolder folder_;
  const fs::path root_ = folder_.path();
  ManualClock clock_;
  FakeAuditLog log_;
  std::unique_ptr<KeyStore> keys_ = *KeyStore::Open(
      (root_ / "keystore.sqlite").string(), *SecretKey::From(std::string(SecretKey::kBytes, 'r')));
  Vault vault_{(root_ / "vault").string(), *keys_, clock_};
  std::unique_ptr<PayloadAccess> access_;
  std::vector<RequestLeaf> leaves_;
};

TEST_F(PayloadAccessTest, TwoPersonsThenAnHour) {
  const auto view = access_->Request(Uid(1), "acme", kRid, "case-7");
  ASSERT_TRUE(view.ok()) << view.status();
  EXPECT_EQ(LookCode(1, view->id), StatusCode::kFailedPrecondition) << "nobody approved";
  EXPECT_EQ(access_->Approve(Uid(1), view->id).status().code(), StatusCode::kPermissionDenied);
  ASSERT_TRUE(access_->Approve(Uid(2), view->id).ok());
  EXPECT_EQ(access_->Approve(Uid(3), view->id).status().code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(LookCode(2, view->id), StatusCode::kPermissionDenied) << "who approves does not look";
  const auto opened = access_->Look(Uid(1), view->id, leaves_);
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(opened->input, "the prompt");
  EXPECT_EQ(opened->output, "the answer");
  Start();  // another process knows of it
  clock_.Advance(kPayloadViewTime);
  EXPECT_EQ(access_->Look(Uid(1), view->id, leaves_)->view.num_views, 2u);
  clock_.Advance(std::chrono::seconds(1));
  EXPECT_EQ(LookCode(1, view->id), StatusCode::kFailedPrecondition) << "its hour is over";
  EXPECT_EQ(
      log_.Types(),
      (std::vector<std::string>{
          "review.opened", "review.signed_off", "review.payload_viewed", "review.payload_viewed"}));
  for (const LeafDraft& leaf : log_.leaves) {
    EXPECT_EQ(leaf.rid.value(), kRid);
    EXPECT_EQ(leaf.tenant.value(), "acme");
    EXPECT_EQ(std::get<std::string>(leaf.detail.at("view")), view->id);
  }
}

TEST_F(PayloadAccessTest, NoLeafNoLook) {
  const std::string id = Approved();
  log_.fail_at = log_.num_appends;
  EXPECT_EQ(LookCode(1, id), StatusCode::kUnavailable);
  EXPECT_FALSE(access_->Request(Uid(1), "acme", kRid, "case-8").ok());
  EXPECT_EQ(access_->List()->size(), 1u);
}

TEST_F(PayloadAccessTest, ARequestLapsesAfterAWeek) {
  const auto view = access_->Request(Uid(1), "acme", kRid, "case-7");
  clock_.Advance(kPayloadApprovalTime + std::chrono::seconds(1));
  EXPECT_EQ(access_->Approve(Uid(2), view->id).status().code(), StatusCode::kFailedPrecondition);
  clock_.Advance(kPayloadKeptTime);
  ASSERT_TRUE(access_->Request(Uid(1), "acme", kRid, "case-8").ok());
  EXPECT_EQ(access_->List()->size(), 1u) << "the old one is forgotten";
}

TEST_F(PayloadAccessTest, WhatWasErasedSaysSo) {
  const std::string id = Approved();
  ASSERT_TRUE(keys_->Destroy({.tenant = "acme", .subject = "anna"}, clock_.WallNow()).ok());
  const auto opened = access_->Look(Uid(1), id, leaves_);
  EXPECT_EQ(opened.status().code(), StatusCode::kFailedPrecondition);
  EXPECT_NE(Message(opened.status()).find("erased"), std::string_view::npos);
}

TEST_F(PayloadAccessTest, WhatTheLeafDoesNotCommitToIsNotShown) {
  const std::string id = Approved();
  const auto refused = [&](const RequestLeaf& leaf) {
    leaves_ = {leaf};
    return LookCode(1, id) == StatusCode::kDataLoss;
  };
  const RequestLeaf good = leaves_[0];
  EXPECT_TRUE(refused(LeafOf("x", VaultDirection::kInput, kOther)));
  EXPECT_TRUE(refused(LeafOf("x", VaultDirection::kInput, kRid, "other")));
  RequestLeaf changed = good;
  const size_t at = changed.leaf.find(R"("c":")") + 5;
  changed.leaf[at] = changed.leaf[at] == 'A' ? 'B' : 'A';
  EXPECT_TRUE(refused(changed)) << "another commitment";
  changed = good;
  changed.origin = "example.org/another/2026q4.1";
  EXPECT_TRUE(refused(changed));
  // The answer's record under the prompt's leaf.
  const RequestLeaf answer = LeafOf("the prompt", VaultDirection::kOutput);
  changed = good;
  const auto handle_of = [](const std::string& leaf) {
    const size_t start = leaf.find(R"("vault":")") + 9;
    return leaf.substr(start, leaf.find('"', start) - start);
  };
  changed.leaf.replace(
      changed.leaf.find(handle_of(good.leaf)), handle_of(good.leaf).size(), handle_of(answer.leaf));
  EXPECT_TRUE(refused(changed));
  leaves_ = {{.origin = good.origin, .leaf = "rubbish"}};
  EXPECT_EQ(LookCode(1, id), StatusCode::kDataLoss);
  leaves_.clear();
  EXPECT_EQ(LookCode(1, id), StatusCode::kNotFound);
  EXPECT_EQ(log_.leaves.size(), 2u) << "no look was recorded";
}

// A view of a time shows nothing, and opens what replays need of the requests that came in it.
TEST_F(PayloadAccessTest, AViewOfATimeIsForReplaysAlone) {
  const auto rid_at = [](WallTime time) { return MakeUlid(time, {}); };
  const WallTime now = clock_.WallNow();
  const auto completed = [&](const std::string& rid, const std::string& tenant) {
    const auto put = vault_.Store({.rid = rid,
                                   .subject = {.tenant = tenant, .subject = "anna"},
                                   .origin = "example.org/log/2026q4.0",
                                   .direction = VaultDirection::kReplay,
                                   .salt = NewCommitmentSalt(),
                                   .payload = "the record"});
    return RequestLeaf{.origin = "example.org/log/2026q4.0",
                       .leaf = absl::StrFormat(R"({"replay":"%s","replay_c":"%s","rid":"%s",)"
                                               R"("t":"inference.completed","tenant":"%s"})",
                                               put->handle,
                                               put->commitment.Text(),
                                               rid,
                                               tenant)};
  };
  const auto view = access_->RequestReplays(Uid(1), "acme", now, now + std::chrono::hours(1), "q4");
  ASSERT_TRUE(view.ok()) << view.status();
  const RequestLeaf inside = completed(rid_at(now), "acme");
  EXPECT_FALSE(access_->OpenReplay(Uid(1), view->id, inside).ok()) << "nobody approved";
  ASSERT_TRUE(access_->Approve(Uid(2), view->id).ok());
  Start();
  const auto record = access_->OpenReplay(Uid(1), view->id, inside);
  ASSERT_TRUE(record.ok()) << record.status();
  EXPECT_EQ(**record, "the record");
  EXPECT_EQ(LookCode(1, view->id), StatusCode::kFailedPrecondition) << "nothing is shown";
  const auto code = [&](const RequestLeaf& leaf) {
    return access_->OpenReplay(Uid(1), view->id, leaf).status().code();
  };
  EXPECT_EQ(access_->OpenReplay(Uid(2), view->id, inside).status().code(),
            StatusCode::kPermissionDenied);
  EXPECT_EQ(code(completed(rid_at(now - std::chrono::milliseconds(1)), "acme")),
            StatusCode::kPermissionDenied);
  EXPECT_EQ(code(completed(rid_at(now + std::chrono::hours(1)), "acme")),
            StatusCode::kPermissionDenied);
  EXPECT_EQ(code(completed(rid_at(now), "other")), StatusCode::kPermissionDenied);
  EXPECT_EQ(code(leaves_[1]), StatusCode::kPermissionDenied) << "of another time";
  RequestLeaf changed = inside;
  const size_t at = changed.leaf.find(R"("replay_c":")") + 12;
  changed.leaf[at] = changed.leaf[at] == 'A' ? 'B' : 'A';
  EXPECT_EQ(code(changed), StatusCode::kDataLoss);
  ASSERT_TRUE(keys_->Destroy({.tenant = "acme", .subject = "anna"}, clock_.WallNow()).ok());
  EXPECT_FALSE(access_->OpenReplay(Uid(1), view->id, inside)->has_value()) << "erased";
  clock_.Advance(kReplayTime + std::chrono::seconds(1));
  EXPECT_EQ(code(inside), StatusCode::kFailedPrecondition);
  EXPECT_FALSE(access_->RequestReplays(Uid(1), "acme", now, now, "q4").ok());
  EXPECT_EQ(log_.Types(), (std::vector<std::string>{"review.opened", "review.signed_off"}));
  EXPECT_EQ(log_.leaves[0].detail.count("from"), 1u);
}

TEST_F(PayloadAccessTest, NamesAreChecked) {
  EXPECT_FALSE(access_->Request(Uid(1), "", kRid, "case").ok());
  EXPECT_FALSE(access_->Request(Uid(1), "acme", "7", "case").ok());
  EXPECT_FALSE(access_->Request(Uid(1), "acme", kRid, "free text").ok());
  EXPECT_EQ(access_->Find(Uid(1), kOther).status().code(), StatusCode::kNotFound);
}

}  // namespace
}  // namespace inferd
