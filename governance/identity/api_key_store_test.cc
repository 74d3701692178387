// Goal: keys outlive the process, rights shrink at once, the file holds no secret, and a file that
// is of no use is refused with its reason.
#include "governance/identity/api_key_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "tests/support/temp_folder.h"

namespace inferd {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const WallTime kNow = WallTime(std::chrono::seconds(1'800'000'000));

SecretKey Pepper(char byte) { return *SecretKey::From(std::string(32, byte)); }

ApiKey Wanted() {
  ApiKey key;
  key.environment = "test";
  key.tenant = TenantId("acme");
  key.project = "search";
  key.scopes = {"generate"};
  key.sources = {*Network::Parse("10.0.0.0/8")};
  key.created = kNow;
  key.expires = kNow + std::chrono::hours(1);
  return key;
}

class ApiKeyStoreTest : public ::testing::Test {
 protected:
  std::string folder() const { return folder_.path().string(); }
  std::string path() const { return folder() + "/api_keys.json"; }
  std::unique_ptr<ApiKeyStore> Open(char pepper = 'p') {
    auto store = ApiKeyStore::Open(SystemFiles(), folder(), Pepper(pepper));
    EXPECT_TRUE(store.ok()) << store.status();
    return *std::move(store);
  }
  std::string Content() const {
    std::ifstream file(path());
    return {std::istreambuf_iterator<char>(file), {}};
  }
  TempFolder folder_;
};

TEST_F(ApiKeyStoreTest, KeysOutliveTheProcessAndTheFileHoldsNoSecret) {
  std::string text;
  {
    const auto store = Open();
    const auto made = store->Make(Wanted());
    ASSERT_TRUE(made.ok()) << made.status();
    text = made->text;
    EXPECT_FALSE(store->ring()->Verify(text, kNow, "10.1.1.1").ok());  // not in use yet
    ASSERT_TRUE(store->Add(made->key).ok());
    EXPECT_TRUE(store->ring()->Verify(text, kNow, "10.1.1.1").ok());
  }
  const auto store = Open();
  const auto ring = store->ring();
  const auto key = ring->Verify(text, kNow, "10.1.1.1");
  ASSERT_TRUE(key.ok()) << key.status();
  EXPECT_EQ((*key)->tenant, TenantId("acme"));
  EXPECT_EQ((*key)->project, "search");
  EXPECT_FALSE(ring->Verify(text, kNow, "192.0.2.1").ok());
  EXPECT_FALSE(ring->Verify(text, kNow + std::chrono::hours(2), "10.1.1.1").ok());
  const std::string secret = text.substr(text.size() - 50, 43);
  EXPECT_THAT(Content(), Not(HasSubstr(secret)));
  EXPECT_THAT(Content(), HasSubstr((*key)->id));
}

TEST_F(ApiKeyStoreTest, RotationOverlapsAndRevocationIsAtOnce) {
  const auto store = Open();
  const auto first = store->Make(Wanted());
  ASSERT_TRUE(store->Add(first->key).ok());
  const auto second = store->MakeSuccessor(first->key.id, kNow, kNow + std::chrono::hours(5));
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->key.scopes, first->key.scopes);
  EXPECT_NE(second->key.id, first->key.id);
  ASSERT_TRUE(store->Add(second->key).ok());
  ASSERT_TRUE(store->Expire(first->key.id, kNow + std::chrono::minutes(1)).ok());
  EXPECT_TRUE(store->ring()->Verify(first->text, kNow, "10.1.1.1").ok());
  EXPECT_FALSE(store->ring()->Verify(first->text, kNow + std::chrono::minutes(1), "10.1.1.1").ok());
  EXPECT_TRUE(store->ring()->Verify(second->text, kNow + std::chrono::hours(4), "10.1.1.1").ok());
  // Nobody gets more time by a rotation of the old key.
  EXPECT_EQ(store->Expire(first->key.id, kNow + std::chrono::hours(9))->expires,
            kNow + std::chrono::minutes(1));
  ASSERT_TRUE(store->Revoke(second->key.id).ok());
  EXPECT_FALSE(store->ring()->Verify(second->text, kNow, "10.1.1.1").ok());
  EXPECT_FALSE(Open()->ring()->Verify(second->text, kNow, "10.1.1.1").ok());
  EXPECT_EQ(
      store->MakeSuccessor(second->key.id, kNow, kNow + std::chrono::hours(1)).status().code(),
      StatusCode::kFailedPrecondition);
  EXPECT_EQ(store->Revoke("nobody").status().code(), StatusCode::kNotFound);
}

TEST_F(ApiKeyStoreTest, AFileOfNoUseIsRefused) {
  {
    const auto store = Open();
    ASSERT_TRUE(store->Add(store->Make(Wanted())->key).ok());
  }
  EXPECT_EQ(ApiKeyStore::Open(SystemFiles(), folder(), Pepper('q')).status().code(),
            StatusCode::kFailedPrecondition);
  const std::string good = Content();
  for (const auto& [from, to] : {std::pair("\"mac\"", "\"mag\""),
                                 std::pair("\"acme\"", "\"ACME\""),
                                 std::pair("10.0.0.0/8", "10.0.0.1/8"),
                                 std::pair("\"version\": 1", "\"version\": 2"),
                                 std::pair("\"keys\": [", "\"keys\": {")}) {
    std::string bad = good;
    ASSERT_NE(bad.find(from), std::string::npos) << from;
    bad.replace(bad.find(from), std::string_view(from).size(), to);
    std::ofstream(path()) << bad;
    EXPECT_EQ(ApiKeyStore::Open(SystemFiles(), folder(), Pepper('p')).status().code(),
              StatusCode::kInvalidArgument)
        << to;
  }
}

TEST_F(ApiKeyStoreTest, WhatAKeyCannotHaveIsRefused) {
  const auto store = Open();
  const auto code = [&](const std::function<void(ApiKey&)>& change) {
    ApiKey key = Wanted();
    change(key);
    return store->Make(key).status().code();
  };
  const auto kBad = StatusCode::kInvalidArgument;
  EXPECT_EQ(code([](ApiKey&) {}), StatusCode::kOk);
  EXPECT_EQ(code([](ApiKey& key) { key.environment = "a_b"; }), kBad);
  EXPECT_EQ(code([](ApiKey& key) { key.environment = std::string(17, 'a'); }), kBad);
  EXPECT_EQ(code([](ApiKey& key) { key.tenant = TenantId(""); }), kBad);
  EXPECT_EQ(code([](ApiKey& key) { key.project = "A"; }), kBad);
  EXPECT_EQ(code([](ApiKey& key) { key.scopes.clear(); }), kBad);
  EXPECT_EQ(code([](ApiKey& key) { key.expires = key.created; }), kBad);
}

}  // namespace
}  // namespace inferd
