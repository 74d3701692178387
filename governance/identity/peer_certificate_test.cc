// Goal: a certificate names one caller or none, by the rules of X.509-SVID, and a revoked one is
// recognised. The certificates in testdata/ are named after what is odd about them.
#include "governance/identity/peer_certificate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <set>

#include "base/file.h"
#include "governance/identity/revocations.h"

namespace inferd {
namespace {

using testing::HasSubstr;

const std::string kFolder = INFERD_SOURCE_DIR "/governance/identity/testdata/";

std::string Pem(const std::string& name) { return *ReadFile(kFolder + name, 1 << 20); }

TEST(PeerCertificate, NamesAWorkload) {
  for (const auto& [file, name] : {std::pair("spiffe", "spiffe://example.org/team/search"),
                                   std::pair("spiffe_and_dns", "spiffe://example.org/search"),
                                   std::pair("dns", "db7.example.org")}) {
    const auto peer = ReadPeerCertificate(Pem(std::string(file) + ".pem"));
    ASSERT_TRUE(peer.ok()) << file << ": " << peer.status();
    EXPECT_EQ(peer->name, name);
    EXPECT_EQ(peer->serial, "123456789abcdef");
    EXPECT_EQ(peer->name_kind == PeerCertificate::NameKind::kDns, std::string_view("dns") == file);
    EXPECT_FALSE(peer->IsValidAt(WallTime(std::chrono::hours(24 * 365 * 40))));
    EXPECT_FALSE(peer->IsValidAt(peer->not_after));
    EXPECT_TRUE(peer->IsValidAt(peer->not_after - std::chrono::seconds(1)));
  }
}

TEST(PeerCertificate, EveryOtherOneNamesNobody) {
  const std::map<std::string, std::string> why = {
      {"two_uris", "more than one URI"},
      {"two_dns", "more than one DNS name"},
      {"no_san", "names nobody"},
      {"only_ip", "names nobody"},
      {"wildcard", "no host"},
      {"nul_in_dns", "no host"},
      {"authority", "is an authority's"},
      {"signs_certificates", "may sign"},
      {"signs_crls", "may sign"},
      {"key_usage_not_critical", "not critical"},
      {"no_key_usage", "no key usage"},
  };
  const std::set<std::string> good = {"spiffe", "spiffe_and_dns", "dns"};
  int count = 0;
  for (const auto& file : std::filesystem::directory_iterator(kFolder)) {
    const std::string name = file.path().stem().string();
    if (file.path().extension() != ".pem" || good.contains(name)) {
      continue;
    }
    const auto peer = ReadPeerCertificate(Pem(file.path().filename().string()));
    ASSERT_FALSE(peer.ok()) << name;
    EXPECT_EQ(peer.status().code(), StatusCode::kUnauthenticated);
    const auto found = why.find(name);
    EXPECT_THAT(std::string(Message(peer.status())),
                HasSubstr(found == why.end() ? "no SPIFFE id" : found->second))
        << name;
    ++count;
  }
  EXPECT_EQ(count, 23);
  for (const std::string& text : {std::string(), std::string("x"), Pem("revoked.crl")}) {
    EXPECT_FALSE(ReadPeerCertificate(text).ok());
  }
}

TEST(PeerCertificate, SurvivesEveryChangedByte) {
  const std::string good = Pem("spiffe.pem");
  for (size_t i = 0; i < good.size(); ++i) {
    for (const int mask : {1, 32, 127}) {
      std::string changed = good;
      changed[i] = static_cast<char>(changed[i] ^ mask);
      (void)ReadPeerCertificate(changed);  // the sanitizers look on
    }
    (void)ReadPeerCertificate(std::string_view(good).substr(0, i));
  }
}

TEST(Revocations, HoldForKeysSerialsAndTheAuthoritysList) {
  const PeerCertificate peer = *ReadPeerCertificate(Pem("spiffe.pem"));
  Revocations none;
  EXPECT_FALSE(none.Has(peer));

  Revocations by_key;
  ASSERT_TRUE(by_key.AddList("# lost laptop\n\npublic_key sha256:" + peer.public_key.Hex()).ok());
  EXPECT_TRUE(by_key.Has(peer));

  Revocations by_serial;
  ASSERT_TRUE(by_serial.AddList("serial 01:23:45:67:89:AB:CD:EF # why\r\n").ok());
  EXPECT_TRUE(by_serial.Has(peer));

  Revocations by_crl;
  ASSERT_TRUE(by_crl.AddCrl(Pem("revoked.crl")).ok());
  EXPECT_EQ(by_crl.size(), 2U);
  EXPECT_TRUE(by_crl.Has(peer));
  PeerCertificate other = peer;
  other.serial = "123456789abcdee";
  EXPECT_FALSE(by_crl.Has(other));
  other = peer;
  other.issuer = {};
  EXPECT_FALSE(by_crl.Has(other));
}

TEST(Revocations, NameTheLineThatIsNone) {
  for (const std::string line :
       {"serial", "serial 0x12", "serial :", "public_key sha256:12", "public_key 12", "nonsense"}) {
    Revocations list;
    const Status status = list.AddList("serial 1\n" + line);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << line;
    EXPECT_THAT(std::string(Message(status)), HasSubstr("line 2"));
  }
  Revocations list;
  EXPECT_FALSE(list.AddCrl(Pem("spiffe.pem")).ok());
}

}  // namespace
}  // namespace inferd
