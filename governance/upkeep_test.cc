// Goal: copies of the key store are made in time and expire, old payloads go, and the log says so;
// nothing happens twice. Method: the real stores under a clock that is set by hand.
#include "governance/upkeep.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "governance/vault_text.h"
#include "tests/support/fake_audit_log.h"
#include "tests/support/temp_folder.h"

namespace inferd {
namespace {

namespace fs = std::filesystem;
constexpr auto kDay = std::chrono::hours(24);

class UpkeepTest : public testing::Test {
 protected:
  UpkeepTest() {
    fs::create_directory(root_ / "vault");
    fs::create_directory(root_ / "backups");
    clock_.Advance(kDay * 20'000);
  }
  Upkeep::Options Options() {
    return {.backup_folder = (root_ / "backups").string(),
            .backup_interval = kDay,
            .retention_days = kRetentionDaysMin};
  }
  size_t NumBackups() {
    const fs::directory_iterator files(root_ / "backups");
    return static_cast<size_t>(std::distance(begin(files), end(files)));
  }
  std::vector<std::string> Acts() {
    std::vector<std::string> acts;
    for (const LeafDraft& leaf : log_.leaves) {
      acts.push_back(std::get<std::string>(leaf.detail.at("act")));
    }
    return acts;
  }

  TempFolder folder_;
  const fs::path root_ = folder_.path();
  ManualClock clock_;
  FakeAuditLog log_;
  std::unique_ptr<KeyStore> keys_ = *KeyStore::Open(
      (root_ / "keystore.sqlite").string(), *SecretKey::From(std::string(SecretKey::kBytes, 'r')));
  Vault vault_{(root_ / "vault").string(), *keys_, clock_};
  std::unique_ptr<Retention> retention_ =
      *Retention::Open((root_ / "holds.sqlite").string(),
                       {.log = log_, .keys = *keys_, .vault = vault_, .clock = clock_});
  Upkeep upkeep_{Options(),
                 {.log = log_, .keys = *keys_, .retention = *retention_, .clock = clock_}};
};

TEST_F(UpkeepTest, ACopyADayForThirtyDays) {
  ASSERT_TRUE(upkeep_.RunIfDue().ok());
  EXPECT_EQ(NumBackups(), 1u);
  clock_.Advance(kDay / 2);
  ASSERT_TRUE(upkeep_.RunIfDue().ok());
  EXPECT_EQ(NumBackups(), 1u) << "not due";
  // Another process knows by the copies' names.
  Upkeep again(Options(), {.log = log_, .keys = *keys_, .retention = *retention_, .clock = clock_});
  ASSERT_TRUE(again.RunIfDue().ok());
  EXPECT_EQ(NumBackups(), 1u);
  for (int day = 0; day < 60; ++day) {
    clock_.Advance(kDay);
    ASSERT_TRUE(upkeep_.RunIfDue().ok());
    EXPECT_LE(NumBackups(), static_cast<size_t>(kKeyBackupDaysMax) + 1);
  }
  EXPECT_GE(NumBackups(), static_cast<size_t>(kKeyBackupDaysMax));
  EXPECT_EQ(Acts().front(), "keys.backup");
  EXPECT_EQ(Acts().at(Acts().size() - 2), "keys.backup_expired");
  // Those that are there expire even if no more are made.
  clock_.Advance(kDay * 31);
  Upkeep off({.backup_folder = (root_ / "backups").string()},
             {.log = log_, .keys = *keys_, .retention = *retention_, .clock = clock_});
  ASSERT_TRUE(off.RunIfDue().ok());
  EXPECT_EQ(NumBackups(), 0u);
}

TEST_F(UpkeepTest, PayloadsGoWhenTheirTimeIsOver) {
  for (const std::string tenant : {"acme", "b/c d"}) {
    ASSERT_TRUE(vault_
                    .Store({.rid = "01JD0000000000000000000000",
                            .subject = {.tenant = tenant, .subject = ""},
                            .origin = "example.org/log",
                            .salt = NewCommitmentSalt(),
                            .payload = "p"})
                    .ok());
  }
  ASSERT_TRUE(upkeep_.RunIfDue().ok());
  EXPECT_EQ(Acts(), std::vector<std::string>{"keys.backup"});
  clock_.Advance(kDay * (kRetentionDaysMin + 1));
  ASSERT_TRUE(upkeep_.RunIfDue().ok());
  EXPECT_TRUE(vault_.TenantsBefore(clock_.WallNow()).empty());
  std::vector<std::string> tenants;
  for (const LeafDraft& leaf : log_.leaves) {
    if (std::get<std::string>(leaf.detail.at("act")) == "vault.purged") {
      tenants.push_back(leaf.tenant.value());
    }
  }
  EXPECT_EQ(tenants, (std::vector<std::string>{"acme", "b/c d"}));
  const size_t leaves = log_.leaves.size();
  ASSERT_TRUE(upkeep_.RunIfDue().ok());
  EXPECT_EQ(log_.leaves.size(), leaves) << "nothing was due";
}

TEST_F(UpkeepTest, WhatTheLogRefusesIsTriedAgain) {
  log_.fail_at = 0;
  EXPECT_FALSE(upkeep_.RunIfDue().ok());
  log_.fail_at = 1'000'000;
  clock_.Advance(kDay);
  EXPECT_TRUE(upkeep_.RunIfDue().ok());
  EXPECT_EQ(Acts(), std::vector<std::string>{"keys.backup"});
}

TEST(VaultText, AFoldersNameIsATenants) {
  for (const std::string tenant : {"acme", "", "a/b", "\xc3\xa4 %", "..", "_-9"}) {
    EXPECT_EQ(TenantOfFolder(FolderName(tenant)), tenant);
  }
  for (const char* other : {"a b", "%2f", "%2", "%zz", "%41", "a.b"}) {
    EXPECT_EQ(TenantOfFolder(other), std::nullopt) << other;
  }
}

}  // namespace
}  // namespace inferd
