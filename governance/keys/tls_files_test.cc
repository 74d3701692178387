#include "governance/keys/tls_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "governance/keys/dev_certificates.h"
#include "tests/support/temp_folder.h"

namespace inferd {
namespace {

using testing::HasSubstr;
using testing::UnorderedElementsAre;

const WallTime kNow = WallTime(std::chrono::hours(24 * 365 * 60));

class TlsFilesTest : public testing::Test {
 protected:
  DevCertificates Wanted(const std::string& folder) const {
    DevCertificates wanted;
    wanted.directory = folder_ / folder;
    wanted.hosts = {"inferd.example.org", "10.1.2.3"};
    wanted.callers = {"spiffe://example.org/summaries"};
    wanted.now = kNow;
    return wanted;
  }
  void Write(const std::string& folder) {
    const auto written = WriteDevCertificates(Wanted(folder));
    ASSERT_TRUE(written.ok()) << written.status();
    paths_ = {folder_ / folder + "/server.pem",
              folder_ / folder + "/server.key",
              folder_ / folder + "/ca.pem"};
  }
  std::string Failure(WallTime now = kNow) const {
    const auto material = ReadTlsMaterial(paths_, now);
    EXPECT_FALSE(material.ok());
    EXPECT_EQ(material.status().code(), StatusCode::kFailedPrecondition);
    return std::string(Message(material.status()));
  }
  static std::string Content(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  TempFolder folder_;
  TlsPaths paths_;
};

TEST_F(TlsFilesTest, FreshCertificatesFitTogether) {
  Write("a");
  const auto material = ReadTlsMaterial(paths_, kNow);
  ASSERT_TRUE(material.ok()) << material.status();
  EXPECT_EQ(material->certificate, Content(paths_.certificate));
  EXPECT_EQ(material->not_after, kNow + std::chrono::hours(24 * 90));
  struct stat info = {};
  ASSERT_EQ(stat(paths_.key.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600U);
}

TEST_F(TlsFilesTest, ACertificateIsUsedOnlyWhileItIsValid) {
  Write("a");
  EXPECT_THAT(Failure(kNow - std::chrono::hours(1)), HasSubstr("not valid now"));
  EXPECT_THAT(Failure(kNow + std::chrono::hours(24 * 90)), HasSubstr("not valid now"));
}

TEST_F(TlsFilesTest, AnotherKeyIsRefusedAndNamed) {
  Write("a");
  const std::string other = folder_ / "b/server.key";
  Write("b");
  paths_ = {folder_ / "a/server.pem", other, folder_ / "a/ca.pem"};
  EXPECT_THAT(Failure(), HasSubstr(other + ": is not the key of"));
}

TEST_F(TlsFilesTest, AuthoritiesAndOwnCertificatesAreNotMistaken) {
  Write("a");
  const TlsPaths good = paths_;
  paths_.client_ca = good.certificate;
  EXPECT_THAT(Failure(), HasSubstr("not an authority's"));
  paths_ = good;
  paths_.certificate = good.client_ca;
  EXPECT_THAT(Failure(), HasSubstr("begins with an authority's"));
}

TEST_F(TlsFilesTest, GarbageAndOpenKeysAreRefused) {
  Write("a");
  std::ofstream(paths_.certificate) << "-----BEGIN CERTIFICATE-----\nAAAA\n";
  EXPECT_THAT(Failure(), HasSubstr("no certificate in PEM form"));
  Write("b");
  ASSERT_EQ(chmod(paths_.key.c_str(), 0644), 0);
  EXPECT_THAT(Failure(), HasSubstr("mode 0600"));
  ASSERT_EQ(chmod(paths_.key.c_str(), 0600), 0);
  std::ofstream(paths_.key) << "no key";
  EXPECT_THAT(Failure(), HasSubstr("no private key"));
}

TEST_F(TlsFilesTest, TheAuthorityThatIsThereSignsMoreCallersAndNothingIsOverwritten) {
  Write("a");
  const std::string server = Content(paths_.certificate);
  DevCertificates more = Wanted("a");
  EXPECT_EQ(WriteDevCertificates(more).status().code(), StatusCode::kAlreadyExists);
  more.callers = {"spiffe://example.org/team/search"};
  const auto written = WriteDevCertificates(more);
  ASSERT_TRUE(written.ok()) << written.status();
  EXPECT_THAT(*written, UnorderedElementsAre(folder_ / "a/search.pem", folder_ / "a/search.key"));
  EXPECT_EQ(Content(paths_.certificate), server);
}

TEST_F(TlsFilesTest, NamesThatAreNoneMakeNoFiles) {
  for (const char* caller : {"summaries",
                             "spiffe://example.org",
                             "spiffe:///x",
                             "spiffe://o/a b",
                             "spiffe://o/x,DNS:y",
                             "spiffe://o/x/"}) {
    DevCertificates wanted = Wanted("a");
    wanted.callers = {caller};
    EXPECT_EQ(WriteDevCertificates(wanted).status().code(), StatusCode::kInvalidArgument) << caller;
  }
  DevCertificates wanted = Wanted("a");
  wanted.hosts = {"a,DNS:b"};
  EXPECT_EQ(WriteDevCertificates(wanted).status().code(), StatusCode::kInvalidArgument);
  // A caller called "ca" would take the authority's files.
  wanted = Wanted("a");
  wanted.callers = {"spiffe://example.org/ca"};
  EXPECT_EQ(WriteDevCertificates(wanted).status().code(), StatusCode::kAlreadyExists);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "a"));
}

}  // namespace
}  // namespace inferd
