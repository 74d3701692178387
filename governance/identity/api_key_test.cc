// Goal: a key that was issued works where and while it should, and nothing else is taken for it.
#include "governance/identity/api_key.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/random.h"

namespace inferd {
namespace {

using testing::HasSubstr;

const WallTime kNow = WallTime(std::chrono::hours(24 * 365 * 60));

class ApiKeyTest : public testing::Test {
 protected:
  ApiKeyTest() {
    for (int i = 0; i < 100; ++i) {
      ApiKey key;
      key.environment = "prod";
      key.tenant = TenantId("acme");
      key.created = kNow;
      key.expires = kNow + std::chrono::hours(1);
      texts_.push_back(MakeApiKey(pepper_, key));
      keys_.push_back(std::move(key));
    }
  }
  std::string Failure(const ApiKeyRing& ring,
                      std::string_view text,
                      WallTime now = kNow,
                      std::string_view source = "10.1.2.3") const {
    const auto key = ring.Verify(text, now, source);
    EXPECT_FALSE(key.ok()) << text;
    EXPECT_EQ(key.status().code(), StatusCode::kUnauthenticated);
    EXPECT_EQ(Message(key.status()).find(text.substr(0, text.size() / 2)), std::string::npos);
    return std::string(Message(key.status()));
  }
  const SecretKey pepper_ = SecretKey::Random();
  std::vector<ApiKey> keys_;
  std::vector<std::string> texts_;
};

TEST_F(ApiKeyTest, EveryIssuedKeyIsFound) {
  const ApiKeyRing ring(keys_, pepper_);
  for (size_t i = 0; i < texts_.size(); ++i) {
    EXPECT_TRUE(IsApiKeyText(texts_[i])) << texts_[i];
    EXPECT_EQ(texts_[i].size(), 3 + 5 + 13 + 44 + 6U);
    const auto key = ring.Verify(texts_[i], kNow, "");
    ASSERT_TRUE(key.ok()) << key.status();
    EXPECT_EQ((*key)->id, keys_[i].id);
  }
}

TEST_F(ApiKeyTest, NothingElseIsAKey) {
  const ApiKeyRing ring(keys_, pepper_);
  const ApiKeyRing empty({}, pepper_);
  SplitMix64 random(1);
  const std::string& good = texts_[7];
  for (int i = 0; i < 10'000; ++i) {
    std::string text = good;
    const size_t place = random.Below(text.size());
    switch (random.Below(4)) {
      case 0:
        text[place] = static_cast<char>(text[place] ^ (1 + random.Below(255)));
        break;
      case 1:
        text.erase(place, 1 + random.Below(4));
        break;
      case 2:
        text.insert(place, 1, static_cast<char>(random.Below(256)));
        break;
      default:
        text.resize(place);
    }
    if (text != good) {
      EXPECT_FALSE(ring.Verify(text, kNow, "").ok()) << text;
    }
  }
  EXPECT_THAT(Failure(empty, good), HasSubstr("no API key that is in use"));
}

// With a checksum that fits: the parts of two keys mixed, and another environment.
TEST_F(ApiKeyTest, PartsOfTwoKeysAreNoKey) {
  const ApiKeyRing ring({keys_[0], keys_[1]}, pepper_);
  ApiKey other;
  other.environment = "test";
  const SecretKey pepper = SecretKey::Random();
  std::string text = MakeApiKey(pepper, other);
  EXPECT_TRUE(IsApiKeyText(text));
  EXPECT_THAT(Failure(ring, text), HasSubstr("no API key"));
  // The same id in the list, the mac of another pepper.
  other.expires = kNow + std::chrono::hours(1);
  const ApiKeyRing with({keys_[0], other}, pepper_);
  EXPECT_EQ(Failure(with, text), Failure(ring, text));
}

TEST_F(ApiKeyTest, HoldersLearnWhyTheirKeyIsOfNoUse) {
  keys_[0].revoked = true;
  keys_[1].sources = {*Network::Parse("10.0.0.0/8"), *Network::Parse("::1")};
  const ApiKeyRing ring(keys_, pepper_);
  EXPECT_THAT(Failure(ring, texts_[0]), HasSubstr("is revoked"));
  EXPECT_THAT(Failure(ring, texts_[2], kNow + std::chrono::hours(1)), HasSubstr("has expired"));
  EXPECT_TRUE(ring.Verify(texts_[1], kNow, "10.255.0.1").ok());
  EXPECT_TRUE(ring.Verify(texts_[1], kNow, "::1").ok());
  for (const char* source : {"11.0.0.1", "::2", "", "ten"}) {
    EXPECT_THAT(Failure(ring, texts_[1], kNow, source), HasSubstr("from this address"));
  }
}

TEST(Network, HoldsWhatItsPrefixSays) {
  EXPECT_TRUE(Network::Parse("0.0.0.0/0")->Contains("1.2.3.4"));
  EXPECT_FALSE(Network::Parse("0.0.0.0/0")->Contains("2001:db8::1"));
  EXPECT_TRUE(Network::Parse("::/0")->Contains("1.2.3.4"));
  EXPECT_TRUE(Network::Parse("192.168.4.0/23")->Contains("192.168.5.255"));
  EXPECT_FALSE(Network::Parse("192.168.4.0/23")->Contains("192.168.6.0"));
  EXPECT_TRUE(Network::Parse("10.0.0.0/8")->Contains("::ffff:10.1.1.1"));
  EXPECT_TRUE(Network::Parse("2001:db8::/32")->Contains("2001:db8:1::"));
  EXPECT_FALSE(Network::Parse("2001:db8::/32")->Contains("2001:db9::"));
  for (const char* text : {"",
                           "10.0.0.1/8",
                           "10.0.0.0/33",
                           "10.0.0.0/",
                           "10.0.0/8",
                           "::/129",
                           "::1/64",
                           "10.0.0.0/8x",
                           "10.0.0.0/-1",
                           "host"}) {
    EXPECT_FALSE(Network::Parse(text).ok()) << text;
  }
}

}  // namespace
}  // namespace inferd
