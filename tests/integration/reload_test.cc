// Goal: tenants, quotas, policies, keys, revocations and certificates change while the daemon
// serves: as a whole or not at all, and without a call that is lost.
// Method: the whole daemon over real gRPC and TLS, its admin plane, and its files.
#include <gmock/gmock.h>
#include <grpcpp/security/auth_context.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include "absl/strings/numbers.h"
#include "base/check.h"
#include "base/file_system.h"
#include "daemon/tenant_files.h"
#include "governance/identity/peer_certificate.h"
#include "governance/policy/policy_store.h"
#include "inferd/v1/queue.grpc.pb.h"
#include "inferd/v1/usage.grpc.pb.h"
#include "tests/integration/auth_fixture.h"

namespace inferd {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST_F(AuthTest, RevocationEndsAConnectionThatStands) {
  MakeCertificates();
  TestDaemon daemon([this](Config& config) {
    Configure(config);
    WithTls(config);
  });
  const auto channel = Connect(daemon, "search");
  ASSERT_TRUE(Call(channel, "ModelService/ListModels").ok());
  Write(folder_ / "revoked.txt",
        "serial " + ReadPeerCertificate(Content(tls() + "/search.pem"))->serial + "\n");
  daemon.daemon().Tick();
  EXPECT_EQ(Call(channel, "ModelService/ListModels").error_code(),
            grpc::StatusCode::UNAUTHENTICATED);
  // A list of no use is refused; what was revoked stays so.
  Write(folder_ / "revoked.txt", "nonsense\n");
  daemon.daemon().Tick();
  EXPECT_EQ(Call(channel, "ModelService/ListModels").error_code(),
            grpc::StatusCode::UNAUTHENTICATED);
}

TEST_F(AuthTest, AReloadIsWholeOrNothing) {
  TestDaemon daemon([this](Config& config) { Configure(config); });
  const std::string key = "Bearer " + Issue(daemon, "globex").secret();
  const auto stub = v1::TenantService::NewStub(AdminOf(daemon));
  const auto reload = [&](v1::ReloadTenantsResponse* response) {
    grpc::ClientContext context;
    return stub->ReloadTenants(&context, {}, response);
  };
  WriteTenant("initech", "spiffe://example.org/initech");
  WriteTenant("acme", "spiffe://example.org/acme/*", 3);
  v1::ReloadTenantsResponse response;
  ASSERT_TRUE(reload(&response).ok());
  EXPECT_THAT(response.changes(), ElementsAre("+ initech", "~ acme: weight 1 -> 3"));
  EXPECT_EQ(response.num_tenants(), 3);
  // The engine shares by the weights of the files.
  const auto weight_of_acme = [&daemon] {
    grpc::ClientContext context;
    v1::GetLoadResponse load;
    EXPECT_TRUE(v1::QueueService::NewStub(AdminOf(daemon))->GetLoad(&context, {}, &load).ok());
    for (const v1::TenantLoad& tenant : load.tenants()) {
      if (tenant.tenant() == "acme") {
        return tenant.weight();
      }
    }
    return decltype(load.tenants(0).weight()){0};
  };
  EXPECT_EQ(weight_of_acme(), 3);
  // Its share of the KV cache is in the memory plan of the models, which is made once.
  WriteTenant("acme", "spiffe://example.org/acme/*", 4, "cached_blocks_guaranteed: 8\n");
  EXPECT_THAT(reload(&response).error_message(),
              HasSubstr("cached_blocks_guaranteed of all tenants rises from 0 to 8"));
  EXPECT_EQ(weight_of_acme(), 3);
  // One bad file, and one that would have gone: all stays.
  fs::remove(tenants() + "/globex.yaml");
  Write(tenants() + "/acme.yaml", "schema_version: 1\nname: acme\nwieght: 2\n");
  const grpc::Status refused = reload(&response);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(refused.error_message(), HasSubstr("acme.yaml:3:1: error: wieght: unknown key"));
  EXPECT_TRUE(Call(daemon.channel(), "ModelService/ListModels", key).ok());
  // Repaired: globex is gone, and its key with it.
  WriteTenant("acme", "spiffe://example.org/acme/*", 3);
  ASSERT_TRUE(reload(&response).ok());
  EXPECT_THAT(response.changes(), ElementsAre("- globex"));
  EXPECT_EQ(Call(daemon.channel(), "ModelService/ListModels", key).error_code(),
            grpc::StatusCode::UNAUTHENTICATED);
}

TEST_F(AuthTest, AReloadTakesCertificatesToo) {
  MakeCertificates();
  TestDaemon daemon([this](Config& config) {
    Configure(config);
    WithTls(config);
  });
  const auto stub = v1::TenantService::NewStub(AdminOf(daemon));
  v1::ReloadTenantsResponse response;
  const auto reload = [&] {
    grpc::ClientContext context;
    response.Clear();
    return stub->ReloadTenants(&context, {}, &response);
  };
  // A certificate of another key: nothing is taken, not even the good tenant.
  const std::string certificate = Content(tls() + "/server.pem");
  Write(tls() + "/server.pem", Content(other() + "/server.pem"));
  WriteTenant("initech", "spiffe://example.org/initech");
  const grpc::Status refused = reload();
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(refused.error_message(), HasSubstr("server.pem"));
  Write(tls() + "/server.pem", certificate);
  const std::string authority = Content(tls() + "/ca.pem");
  Write(tls() + "/ca.pem", authority + Content(other() + "/ca.pem"));
  Write(folder_ / "revoked.txt", "serial 17\n");
  ASSERT_TRUE(reload().ok());
  EXPECT_THAT(response.changes(),
              ElementsAre("+ initech", "~ revocations: 0 -> 1", "~ tls: authorities of callers"));
  // A caller of the second authority gets in; Connect believes the first, whose listener it is.
  Write(tls() + "/ca.pem", authority);
  EXPECT_TRUE(Call(Connect(daemon, "other", other()), "ModelService/ListModels").ok());
}

TEST_F(AuthTest, OthersMayNotWriteTenantFiles) {
  fs::permissions(tenants() + "/acme.yaml", fs::perms(0666));
  const auto files = ReadTenantFiles(tenants());
  EXPECT_EQ(files.status().code(), StatusCode::kFailedPrecondition);
}

// Two policy sets that two persons approved, the first of them active, as the daemon finds them:
// by their digests. Both let users use models.
std::vector<std::string> ApprovedSets(const std::string& state_folder) {
  const std::string permit =
      "@id(\"use\")\npermit(principal, action in Inferd::Action::\"use\", resource);\n";
  const std::string forbid =
      "@id(\"huge\")\nforbid(principal, action == Inferd::Action::\"generate\", resource)\n"
      "when { context.max_tokens > 100000 };\n";
  const std::string schema = Content(INFERD_SOURCE "/deploy/policy/inferd.cedarschema");
  const auto store = PolicyStore::Open({.files = SystemFiles(),
                                        .clock = SystemClock(),
                                        .folder = state_folder + "/policy",
                                        .record = [](const auto&) { return OkStatus(); }});
  CHECK(store.ok());
  std::vector<std::string> digests;
  for (const std::string& policies : {permit, permit + forbid}) {
    const auto set = PolicySet::Parse(schema, policies);
    CHECK(set.ok());
    digests.push_back((*set)->digest().Hex());
    if (digests.size() == 1) {
      CHECK((*store)->StartWith(*set, "a test").ok());
    } else {
      CHECK((*store)->Propose("uid:1", *set).ok());
      CHECK((*store)->Approve("uid:2", (*set)->digest()).ok());
    }
  }
  return digests;
}

void Activate(TestDaemon& daemon, const std::string& set) {
  v1::ActivatePolicyRequest request;
  request.set_set(set);
  v1::ActivatePolicyResponse response;
  grpc::ClientContext context;
  const auto stub = v1::PolicyAdminService::NewStub(AdminOf(daemon));
  const grpc::Status status = stub->ActivatePolicy(&context, request, &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
}

// What callers saw, from several threads.
struct Load {
  std::atomic<bool> stop{false};
  std::atomic<size_t> calls{0};
  std::atomic<size_t> dropped{0};
};

// Generates, and returns the certificate that the listener showed.
std::string GenerateOnce(const std::shared_ptr<grpc::Channel>& channel,
                         const std::string& bearer,
                         Load& load) {
  const auto stub = v1::GenerationService::NewStub(channel);
  grpc::ClientContext context;
  if (!bearer.empty()) {
    context.AddMetadata("authorization", bearer);
  }
  const auto reader = stub->GenerateStream(&context, LongRequest(3));
  v1::GenerateStreamResponse message;
  while (reader->Read(&message)) {
  }
  const grpc::Status status = reader->Finish();
  EXPECT_TRUE(status.ok()) << status.error_message();
  load.dropped += status.ok() ? 0 : 1;
  ++load.calls;
  const auto shown = context.auth_context()->FindPropertyValues("x509_pem_cert");
  return shown.empty() ? "" : std::string(shown[0].data(), shown[0].size());
}

// INFERD_RELOADS: how many of each kind; the figure asks for 1,000.
TEST_F(AuthTest, ReloadsUnderLoadLoseNoCall) {
  const char* const wanted = std::getenv("INFERD_RELOADS");
  int reloads = 10;
  ASSERT_TRUE(wanted == nullptr || absl::SimpleAtoi(wanted, &reloads));
  MakeCertificates();
  std::vector<std::string> sets;
  TestDaemon daemon([&](Config& config) {
    Configure(config);
    WithTls(config);
    if (config.audit.mode != "off") {  // policies need the log
      sets = ApprovedSets(config.state_directory);
    }
  });
  const std::string key = "Bearer " + Issue(daemon, "globex").secret();
  Load load;
  // One connection that stands, and one for each call, which shows the certificate of its time.
  std::thread by_certificate([&, channel = Connect(daemon, "search")] {
    while (!load.stop) {
      GenerateOnce(channel, "", load);
    }
  });
  std::set<std::string> certificates;
  std::thread by_key([&] {
    while (!load.stop) {
      certificates.insert(GenerateOnce(Connect(daemon, ""), key, load));
    }
  });
  const auto served = [&](size_t more) {
    const size_t before = load.calls;
    return Eventually([&, before] { return load.calls >= before + more; });
  };
  EXPECT_TRUE(served(3));
  for (int i = 0; i < reloads; ++i) {
    WriteTenant("acme",
                "spiffe://example.org/acme/*",
                1 + i % 5,
                absl::StrFormat("quotas:\n  - {id: acme/day, metric: tok_day, limit: %d}\n",
                                1'000'000'000 + i));
    Write(folder_ / "revoked.txt", absl::StrFormat("serial %x\n", i + 1));
    ReplaceServerPair();
    if (i % 2 == 0) {
      EXPECT_TRUE(daemon.daemon().Reload().ok());
    } else {  // certificates and revocations as the clock finds them, then the rest
      daemon.daemon().Tick();
      EXPECT_TRUE(daemon.daemon().Reload().ok());
    }
    Revoke(daemon, Issue(daemon, "acme").key().id());
    if (!sets.empty()) {
      Activate(daemon, sets[static_cast<size_t>(i + 1) % 2]);
    }
    EXPECT_TRUE(served(1));  // each state of things serves
  }
  EXPECT_TRUE(served(4));
  load.stop = true;
  by_certificate.join();
  by_key.join();
  EXPECT_GT(certificates.size(), 1u);
  std::printf("%d reloads, %zu calls, %zu certificates seen\n",
              reloads,
              load.calls.load(),
              certificates.size());
  std::printf("RESULT reload.dropped_requests %zu count\n", load.dropped.load());
}

}  // namespace
}  // namespace inferd
