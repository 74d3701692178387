#include "tests/integration/auth_fixture.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/impl/client_unary_call.h>
#include <openssl/pem.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "governance/keys/dev_certificates.h"
#include "governance/keys/openssl_owners.h"

namespace inferd {

namespace fs = std::filesystem;

std::string Content(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

void Write(const std::string& path, const std::string& content) {
  std::ofstream(path + ".new") << content;
  fs::rename(path + ".new", path);
}

grpc::Status Call(const std::shared_ptr<grpc::Channel>& channel,
                  const std::string& method,
                  const std::string& authorization,
                  const std::string& request) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
  if (!authorization.empty()) {
    context.AddMetadata("authorization", authorization);
  }
  const std::string name = "/inferd.v1." + method;
  const grpc::internal::RpcMethod rpc(name.c_str(), grpc::internal::RpcMethod::NORMAL_RPC);
  const grpc::Slice slice(request);
  const grpc::ByteBuffer in(&slice, 1);
  grpc::ByteBuffer out;
  return grpc::internal::BlockingUnaryCall<grpc::ByteBuffer, grpc::ByteBuffer>(
      channel.get(), rpc, &context, in, &out);
}

std::shared_ptr<grpc::Channel> AdminOf(const TestDaemon& daemon) {
  return grpc::CreateChannel("unix:" + daemon.state_folder() + "/admin.sock",
                             grpc::InsecureChannelCredentials());
}

AuthTest::AuthTest() {
  fs::create_directories(tenants());
  WriteTenant("acme", "spiffe://example.org/acme/*");
  WriteTenant("globex", kGlobex);
}

void AuthTest::WriteTenant(const std::string& name,
                           const std::string& principal,
                           int weight,
                           const std::string& more) {
  Write(tenants() + "/" + name + ".yaml",
        absl::StrFormat("schema_version: 1\nname: %s\norganisation: example\nweight: %d\n"
                        "principals:\n  - {name: \"%s\", project: web}\n%s",
                        name,
                        weight,
                        principal,
                        more));
}

void AuthTest::MakeCertificates() {
  const WallTime now = SystemClock().WallNow();
  const auto make = [this](const std::string& folder, const std::string& caller, WallTime at) {
    const auto made =
        WriteDevCertificates({.directory = folder, .hosts = {}, .callers = {caller}, .now = at});
    ASSERT_TRUE(made.ok()) << made.status();
  };
  make(tls(), kAcme, now);
  make(tls(), kGlobex, now);
  make(tls(), kStranger, now);
  make(tls(), "spiffe://example.org/acme/expired", now - std::chrono::hours(24 * 100));
  make(tls(), "spiffe://example.org/acme/revoked", now);
  make(other(), "spiffe://example.org/acme/other", now);
}

void AuthTest::MakeCertificateNaming(const std::string& name, const std::string& subject_names) {
  const auto open = [](const std::string& text) {
    return BioPtr(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
  };
  const std::string pem = Content(tls() + "/search.pem");
  const std::string authority_key = Content(tls() + "/ca.key");
  const CertificatePtr certificate(PEM_read_bio_X509(open(pem).get(), nullptr, nullptr, nullptr));
  const PrivateKeyPtr key(
      PEM_read_bio_PrivateKey(open(authority_key).get(), nullptr, nullptr, nullptr));
  ASSERT_TRUE(certificate != nullptr && key != nullptr);
  const int place = X509_get_ext_by_NID(certificate.get(), NID_subject_alt_name, -1);
  const ExtensionPtr old(X509_delete_ext(certificate.get(), place));
  const ExtensionPtr names(
      X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, subject_names.c_str()));
  ASSERT_TRUE(names != nullptr) << subject_names;
  ASSERT_EQ(X509_add_ext(certificate.get(), names.get(), -1), 1);
  ASSERT_GT(X509_sign(certificate.get(), key.get(), EVP_sha256()), 0);
  const BioPtr out(BIO_new(BIO_s_mem()));
  ASSERT_EQ(PEM_write_bio_X509(out.get(), certificate.get()), 1);
  char* text = nullptr;
  const int64_t size = BIO_get_mem_data(out.get(), &text);
  Write(tls() + "/" + name + ".pem", std::string(text, static_cast<size_t>(size)));
  Write(tls() + "/" + name + ".key", Content(tls() + "/search.key"));
}

void AuthTest::ReplaceServerPair() {
  const std::string scratch = folder_ / "scratch";
  fs::remove_all(scratch);
  fs::create_directories(scratch);
  for (const char* name : {"/ca.pem", "/ca.key"}) {
    fs::copy_file(tls() + name, scratch + name);
  }
  const auto made = WriteDevCertificates(
      {.directory = scratch, .hosts = {}, .callers = {}, .now = SystemClock().WallNow()});
  ASSERT_TRUE(made.ok()) << made.status();
  for (const char* name : {"/server.key", "/server.pem"}) {
    fs::rename(scratch + name, tls() + name);
  }
}

void AuthTest::Configure(Config& config) {
  config.identity.tenants_directory = tenants();
  config.identity.local_tenant = "";
  config.admin_address = "unix:" + config.state_directory + "/admin.sock";
}

void AuthTest::WithTls(Config& config) {
  Write(folder_ / "revoked.txt", "# none\n");
  config.identity.revocations = folder_ / "revoked.txt";
  config.data.tls = {.certificate = tls() + "/server.pem",
                     .key = tls() + "/server.key",
                     .client_ca = tls() + "/ca.pem",
                     .require_client_certificate = false};
}

std::shared_ptr<grpc::Channel> AuthTest::Connect(TestDaemon& daemon,
                                                 const std::string& name,
                                                 const std::string& folder) {
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = Content(tls() + "/ca.pem");
  if (!name.empty()) {
    const std::string from = folder.empty() ? tls() : folder;
    options.pem_cert_chain = Content(from + "/" + name + ".pem");
    options.pem_private_key = Content(from + "/" + name + ".key");
  }
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(
      daemon.daemon().address(), grpc::SslCredentials(options), arguments);
}

v1::IssueKeyResponse AuthTest::Issue(TestDaemon& daemon,
                                     const std::string& tenant,
                                     const std::vector<std::string>& scopes) {
  const auto stub = v1::KeyService::NewStub(AdminOf(daemon));
  v1::IssueKeyRequest request;
  request.set_tenant(tenant);
  request.mutable_scopes()->Add(scopes.begin(), scopes.end());
  v1::IssueKeyResponse response;
  grpc::ClientContext context;
  const grpc::Status status = stub->IssueKey(&context, request, &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return response;
}

void AuthTest::Revoke(TestDaemon& daemon, const std::string& id) {
  v1::RevokeKeyRequest request;
  request.set_id(id);
  v1::RevokeKeyResponse response;
  grpc::ClientContext context;
  const auto stub = v1::KeyService::NewStub(AdminOf(daemon));
  const grpc::Status status = stub->RevokeKey(&context, request, &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
}

}  // namespace inferd
