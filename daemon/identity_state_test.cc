// Goal: what takes rights away is quick, and no reload brings them back. Method: the state by
// itself, over files of a folder; the whole daemon's reloads are in
// tests/integration/reload_test.cc.
#include "daemon/identity_state.h"

#include <gtest/gtest.h>

#include <fstream>
#include <thread>

#include "base/file_system.h"
#include "base/status.h"
#include "tests/support/temp_folder.h"

namespace inferd {
namespace {

class IdentityStateTest : public ::testing::Test {
 protected:
  IdentityStateTest() {
    Write("serial 1\n");
    config_.identity.revocations = list_;
    state_ = *IdentityState::Open(config_);
  }
  void Write(const std::string& text) const { std::ofstream(list_) << text; }
  size_t num_revoked() { return state_->authenticator().identities()->revocations.size(); }

  TempFolder folder_;
  const std::string list_ = folder_ / "revoked.txt";
  Config config_;
  std::unique_ptr<IdentityState> state_;
};

TEST_F(IdentityStateTest, ARevocationDoesNotWaitForAReloadsLeaf) {
  const auto keys =
      ApiKeyStore::Open(SystemFiles(), folder_ / "keys", *SecretKey::From(std::string(32, 'p')));
  ASSERT_TRUE(keys.ok()) << keys.status();
  const auto record = [&](const ActorFacts&, const IdentityChange&) {
    std::thread([&] {  // hangs if it waits
      Write("serial 1\nserial 2\n");
      EXPECT_EQ(state_->ReloadRevocationsIfChanged().value(), true);
      state_->UseKeysOf(**keys);
    })
        .join();
    EXPECT_EQ(num_revoked(), 2u);
    return OkStatus();
  };
  state_->set_hooks({.record = record, .apply = {}});
  const auto change = state_->Reload({.id = "uid:0"});
  ASSERT_TRUE(change.ok()) << change.status();
  // The reload had read the list and the keys before.
  EXPECT_EQ(num_revoked(), 2u);
  EXPECT_EQ(state_->authenticator().identities()->keys, (*keys)->ring());
  EXPECT_EQ(state_->ReloadRevocationsIfChanged().value(), false);
}

TEST_F(IdentityStateTest, AListThatIsReadWhileItIsWrittenIsReadAgain) {
  const auto time = std::filesystem::last_write_time(list_);
  Write("");
  std::filesystem::last_write_time(list_, time);
  EXPECT_EQ(state_->ReloadRevocationsIfChanged().value(), true);
  EXPECT_EQ(num_revoked(), 0u);
  Write("serial 1\n");
  std::filesystem::last_write_time(list_, time);
  EXPECT_EQ(state_->ReloadRevocationsIfChanged().value(), true);
  EXPECT_EQ(num_revoked(), 1u);
}

}  // namespace
}  // namespace inferd
