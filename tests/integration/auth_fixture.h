// What the tests of identity share: a daemon with tenants of files and keys, certificates of two
// authorities, and calls by a method's name.
#pragma once

#include <grpcpp/channel.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "inferd/v1/identity.grpc.pb.h"
#include "tests/integration/test_daemon.h"
#include "tests/support/temp_folder.h"

namespace inferd {

std::string Content(const std::string& path);
// Replaces the file as a whole.
void Write(const std::string& path, const std::string& content);

// One call of "Service/Method" with raw bytes.
grpc::Status Call(const std::shared_ptr<grpc::Channel>& channel,
                  const std::string& method,
                  const std::string& authorization = "",
                  const std::string& request = "");

// The daemon's admin socket, as this process's user.
std::shared_ptr<grpc::Channel> AdminOf(const TestDaemon& daemon);

// Tenants acme and globex of the organisation example. Files of the listener and of callers lie in
// tls(), those of another authority in other().
class AuthTest : public testing::Test {
 protected:
  static constexpr char kAcme[] = "spiffe://example.org/acme/search";
  static constexpr char kGlobex[] = "spiffe://example.org/globex";
  static constexpr char kStranger[] = "spiffe://example.org/stranger";

  AuthTest();
  std::string tenants() const { return folder_ / "tenants.d"; }
  std::string tls() const { return folder_ / "tls"; }
  std::string other() const { return folder_ / "other"; }

  // `more` is added to its file.
  void WriteTenant(const std::string& name,
                   const std::string& principal,
                   int weight = 1,
                   const std::string& more = "");
  // Callers are named by the last part of their id: search, globex, stranger, expired, revoked;
  // `other`, of the other authority.
  void MakeCertificates();
  // One more, NAME.pem, of the caller search's key: its names are as OpenSSL writes them,
  // "URI:spiffe://…,DNS:…".
  void MakeCertificateNaming(const std::string& name, const std::string& subject_names);
  // The listener's certificate and key are others, of the same authority.
  void ReplaceServerPair();
  // Tenants of files, keys; callers need a credential.
  void Configure(Config& config);
  void WithTls(Config& config);
  // A connection of its own; `name` is that of a caller's files, "" for no certificate.
  std::shared_ptr<grpc::Channel> Connect(TestDaemon& daemon,
                                         const std::string& name,
                                         const std::string& folder = "");
  static v1::IssueKeyResponse Issue(TestDaemon& daemon,
                                    const std::string& tenant,
                                    const std::vector<std::string>& scopes = {});
  static void Revoke(TestDaemon& daemon, const std::string& id);

  TempFolder folder_;
};

}  // namespace inferd
