// Goal: nobody gets to a handler without being known and allowed, whatever the method; credentials
// that are no good open nothing.
// Method: the whole daemon over real gRPC. Every service that the servers themselves say they have
// is walked, method by method, so one that somebody adds is called here too. The counts are printed
// as RESULT lines.
#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/proto_buffer_reader.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <random>
#include <set>

#include "base/check.h"
#include "base/file_system.h"
#include "daemon/authenticator.h"
#include "daemon/method_rules.h"
#include "governance/identity/api_key_store.h"
#include "governance/identity/peer_certificate.h"
#include "governance/keys/secret_files.h"
#include "inferd/v1/audit.grpc.pb.h"
#include "inferd/v1/identity.grpc.pb.h"
#include "inferd/v1/queue.grpc.pb.h"
#include "tests/integration/auth_fixture.h"

namespace inferd {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::UnorderedElementsAreArray;

// Services of gRPC itself that anybody may ask: is it alive, and what is its interface.
const std::set<std::string> kOpenServices = {"grpc.health.v1.Health",
                                             "grpc.reflection.v1alpha.ServerReflection"};

// A length-delimited field of a protobuf message, and those of this number in one (no nested tags
// of other wire types are met here but varints).
std::string Field(int number, const std::string& bytes) {
  return std::string{static_cast<char>(number << 3 | 2), static_cast<char>(bytes.size())} + bytes;
}
std::vector<std::string> FieldsOf(const std::string& message, int number) {
  google::protobuf::io::CodedInputStream in(reinterpret_cast<const uint8_t*>(message.data()),
                                            static_cast<int>(message.size()));
  std::vector<std::string> found;
  while (const uint32_t tag = in.ReadTag()) {
    uint32_t value = 0;
    CHECK(in.ReadVarint32(&value));
    if ((tag & 7) == 2) {
      std::string bytes;
      CHECK(in.ReadString(&bytes, static_cast<int>(value)));
      if (tag >> 3 == static_cast<uint32_t>(number)) {
        found.push_back(bytes);
      }
    }
  }
  return found;
}

// The names of the services that the server at the other end has registered, by its own word
// (grpc.reflection.v1alpha: list_services is field 7, list_services_response field 6).
std::vector<std::string> ServicesOf(const std::shared_ptr<grpc::Channel>& channel) {
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  const auto next = [&queue] {
    void* tag = nullptr;
    bool ok = false;
    return queue.Next(&tag, &ok) && ok;
  };
  const auto call = stub.PrepareCall(
      &context, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", &queue);
  call->StartCall(nullptr);
  CHECK(next());
  const grpc::Slice slice(Field(7, "*"));
  call->Write(grpc::ByteBuffer(&slice, 1), nullptr);
  CHECK(next());
  grpc::ByteBuffer buffer;
  call->Read(&buffer, nullptr);
  CHECK(next());
  grpc::Slice whole;
  CHECK(buffer.DumpToSingleSlice(&whole).ok());
  call->WritesDone(nullptr);
  next();
  grpc::Status status;
  call->Finish(&status, nullptr);
  next();
  std::vector<std::string> names;
  const std::string message(whole.begin(), whole.end());
  for (const std::string& list : FieldsOf(message, 6)) {
    for (const std::string& service : FieldsOf(list, 1)) {
      names.push_back(FieldsOf(service, 1).at(0));
    }
  }
  return names;
}

// The text with some of its bytes changed, gone, doubled or swapped; may be the same.
std::string Mutated(std::string text, std::mt19937_64& random) {
  const size_t at = random() % text.size();
  switch (random() % 4) {
    case 0:
      text[at] = static_cast<char>(random());
      break;
    case 1:
      text.erase(at, 1 + random() % 3);
      break;
    case 2:
      text.insert(at, 1, static_cast<char>('0' + random() % 10));
      break;
    default:
      std::swap(text[at], text[random() % text.size()]);
  }
  return text;
}

// Can it be the value of a metadata field?
bool IsMetadata(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f; });
}

// Every method of the services of ours that the channel's server has: "Service/Method".
std::vector<std::string> MethodsOf(const std::shared_ptr<grpc::Channel>& channel) {
  std::vector<std::string> methods;
  for (const std::string& name : ServicesOf(channel)) {
    if (kOpenServices.contains(name)) {
      continue;
    }
    const auto* const service =
        google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(name);
    CHECK(service != nullptr);
    for (int i = 0; i < service->method_count(); ++i) {
      methods.push_back(service->name() + "/" + service->method(i)->name());
    }
  }
  return methods;
}

bool IsRefusal(const grpc::Status& status) {
  return status.error_code() == grpc::StatusCode::UNAUTHENTICATED ||
         status.error_code() == grpc::StatusCode::PERMISSION_DENIED;
}

// A key of acme in the store of a daemon that does not run yet.
std::string KeyOnDisk(const std::string& state_folder) {
  auto pepper = ReadKeyFile(state_folder + "/keys/" + kApiPepperFile);
  CHECK(pepper.ok());
  const auto store = ApiKeyStore::Open(SystemFiles(), state_folder, *std::move(pepper));
  CHECK(store.ok());
  ApiKey key;
  key.environment = "live";
  key.tenant = TenantId("acme");
  key.scopes = {"models"};
  key.created = SystemClock().WallNow();
  key.expires = key.created + std::chrono::hours(1);
  const auto made = (*store)->Make(key);
  CHECK(made.ok() && (*store)->Add(made->key).ok());
  return made->text;
}

TEST_F(AuthTest, EveryRegisteredMethodHasARuleAndRefusesStrangers) {
  std::string key;
  TestDaemon daemon([&](Config& config) {
    Configure(config);
    key = "Bearer " + KeyOnDisk(config.state_directory);
    // Somebody else than whoever runs this test.
    config.identity.administrators = {
        {.name = absl::StrFormat("uid:%d", getuid() + 1), .roles = {"security-admin"}}};
  });
  std::vector<std::string> methods = MethodsOf(daemon.channel());
  EXPECT_GE(methods.size(), 7u);
  const auto admin = AdminOf(daemon);
  const std::vector<std::string> of_admin = MethodsOf(admin);
  EXPECT_GE(of_admin.size(), 25u);
  for (const auto& [channel, names] :
       {std::pair(daemon.channel(), methods), std::pair(admin, of_admin)}) {
    for (const std::string& method : names) {
      const grpc::Status status = Call(channel, method);
      EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAUTHENTICATED)
          << method << ": " << status.error_message();
      EXPECT_EQ(channel == admin ? "UNAUTHENTICATED" : ReasonIn(status), "UNAUTHENTICATED")
          << method;
    }
  }
  // A key is of the data plane; on the admin plane it is nothing.
  EXPECT_TRUE(Call(daemon.channel(), "ModelService/ListModels", key).ok());
  for (const std::string& method : of_admin) {
    EXPECT_EQ(Call(admin, method, key).error_code(), grpc::StatusCode::UNAUTHENTICATED) << method;
  }
  // One list of methods: what is registered, and nothing else.
  methods.insert(methods.end(), of_admin.begin(), of_admin.end());
  std::vector<std::string> ruled;
  for (const MethodRule& rule : MethodRules()) {
    ruled.emplace_back(rule.method);
  }
  if (AuditInTests()) {
    // A service may stand on both planes.
    EXPECT_THAT(std::set<std::string>(methods.begin(), methods.end()),
                UnorderedElementsAreArray(ruled));
  }
}

TEST_F(AuthTest, NoBadCredentialOpensAnyMethod) {
  MakeCertificates();
  MakeCertificateNaming("one-uri", "URI:spiffe://example.org/acme/search,DNS:search.example.org");
  MakeCertificateNaming("two-uris",
                        "URI:spiffe://example.org/acme/search,URI:spiffe://example.org/globex");
  MakeCertificateNaming("two-dns", "DNS:search.example.org,DNS:web.example.org");
  MakeCertificateNaming("no-name", "IP:127.0.0.1");
  WriteTenant("dns", "search.example.org");
  TestDaemon daemon([this](Config& config) {
    Configure(config);
    WithTls(config);
  });
  Write(folder_ / "revoked.txt",
        "public_key sha256:" +
            ReadPeerCertificate(Content(tls() + "/revoked.pem"))->public_key.Hex() + "\n");
  daemon.daemon().Tick();
  const v1::IssueKeyResponse good = Issue(daemon, "acme");
  const v1::IssueKeyResponse globex = Issue(daemon, "globex");
  const v1::IssueKeyResponse revoked = Issue(daemon, "acme");
  Revoke(daemon, revoked.key().id());
  const std::string key = "Bearer " + good.secret();
  const auto acme = Connect(daemon, "search");
  const auto bare = Connect(daemon, "");
  const auto methods = MethodsOf(bare);

  struct Attempt {
    std::string what;
    std::shared_ptr<grpc::Channel> channel;
    std::string authorization;
    bool no_connection = false;
  };
  std::vector<Attempt> attempts = {
      {"no credential", bare, ""},
      {"an authority that is not ours", Connect(daemon, "other", other()), "", true},
      {"an expired certificate", Connect(daemon, "expired"), "", true},
      {"a revoked certificate", Connect(daemon, "revoked"), ""},
      {"a revoked certificate beside a good key", Connect(daemon, "revoked"), key},
      {"a certificate of no tenant", Connect(daemon, "stranger"), ""},
      {"a certificate of no tenant beside a good key", Connect(daemon, "stranger"), key},
      {"another tenant's key", acme, "Bearer " + globex.secret()},
      {"a key cut short", bare, key.substr(0, key.size() - 1)},
      {"a revoked key", bare, "Bearer " + revoked.secret()},
      {"a key's id alone", bare, "Bearer " + good.key().id()},
      {"another scheme", bare, "Basic " + good.secret()},
      {"a bad key beside a good certificate", acme, "Bearer nothing"},
      {"two certificates' worth of URIs", Connect(daemon, "two-uris"), ""},
      {"two URIs beside a good key", Connect(daemon, "two-uris"), key},
      {"two DNS names", Connect(daemon, "two-dns"), ""},
      {"no name", Connect(daemon, "no-name"), ""},
  };
  std::mt19937_64 random(11);
  while (attempts.size() < 60) {
    const std::string mutated = Mutated(good.secret(), random);
    if (mutated != good.secret() && IsMetadata(mutated)) {
      attempts.push_back({"the key " + mutated, bare, "Bearer " + mutated});
    }
  }
  size_t bypasses = 0;
  for (const Attempt& attempt : attempts) {
    for (const std::string& method : methods) {
      const grpc::Status status = Call(attempt.channel, method, attempt.authorization);
      const bool refused =
          status.error_code() == grpc::StatusCode::UNAUTHENTICATED ||
          (attempt.no_connection && status.error_code() == grpc::StatusCode::UNAVAILABLE);
      EXPECT_TRUE(refused) << attempt.what << ", " << method << ": " << status.error_code() << " "
                           << status.error_message();
      bypasses += refused ? 0 : 1;
    }
  }
  // The good ones do open, or the above would say nothing. Beside a URI a DNS name counts for
  // nothing.
  EXPECT_TRUE(Call(Connect(daemon, "one-uri"), "ModelService/ListModels").ok());
  Caller user;
  user.roles = {Role::kTenantUser};
  for (const std::string& method : methods) {
    if (!MayCall(user, method).ok()) {
      continue;  // of operators, on this plane too
    }
    for (const auto& [channel, authorization] :
         {std::pair(acme, std::string()), std::pair(acme, key), std::pair(bare, key)}) {
      EXPECT_FALSE(IsRefusal(Call(channel, method, authorization))) << method;
    }
  }
  std::printf("RESULT auth.bypasses %zu count\n", bypasses);
}

TEST_F(AuthTest, NoMutatedKeyAndNoOddCertificateNamesACaller) {
  const SecretKey pepper = SecretKey::Random();
  auto known = std::make_shared<Identities>();
  known->single_tenant = false;
  known->local_tenant = TenantId("");
  TenantRecord record{.id = TenantId("acme"), .organisation = "example", .principals = {}};
  record.principals.push_back({.name = "spiffe://example.org/*", .project = ""});
  known->tenants = *TenantDirectory::Build({record});
  ApiKey key;
  key.environment = "live";
  key.tenant = TenantId("acme");
  key.scopes = {"generate"};
  key.expires = WallTime::max();
  const std::string text = MakeApiKey(pepper, key);
  known->keys = std::make_shared<const ApiKeyRing>(std::vector<ApiKey>{key}, pepper);
  const Authenticator authenticator(known);
  const WallTime now = SystemClock().WallNow();
  const auto with_key = [&](const std::string& authorization) {
    return authenticator.Authenticate(
        {.address = "ipv4:192.0.2.1:5", .certificate = "", .authorization = {authorization}}, now);
  };
  ASSERT_TRUE(with_key("Bearer " + text).ok());
  size_t bypasses = 0;
  std::mt19937_64 random(5);
  for (int i = 0; i < 10'000; ++i) {
    const std::string bad = Mutated(text, random);
    bypasses += bad != text && with_key("Bearer " + bad).ok() ? 1 : 0;
  }
  EXPECT_EQ(bypasses, 0u);
  // Certificates that the specification refuses, and one that has expired by now or will have.
  const std::string testdata = std::string(INFERD_SOURCE_DIR) + "/governance/identity/testdata/";
  for (const char* name : {"two_uris",
                           "two_dns",
                           "no_san",
                           "signs_certificates",
                           "https_uri",
                           "no_path",
                           "wildcard"}) {
    const std::string pem = Content(testdata + name + ".pem");
    ASSERT_FALSE(pem.empty()) << name;
    const auto caller = authenticator.Authenticate(
        {.address = "ipv4:192.0.2.1:5", .certificate = pem, .over_tls = true}, now);
    bypasses += caller.ok() ? 1 : 0;
    EXPECT_FALSE(caller.ok()) << name;
  }
  const std::string pem = Content(testdata + "spiffe.pem");
  const WallTime ended = ReadPeerCertificate(pem)->not_after;
  const auto at = [&](WallTime time) {
    return authenticator.Authenticate(
        {.address = "ipv4:192.0.2.1:5", .certificate = pem, .over_tls = true}, time);
  };
  EXPECT_TRUE(at(ended - std::chrono::seconds(1)).ok());
  EXPECT_FALSE(at(ended).ok());
  std::printf("RESULT auth.bypasses_direct %zu count\n", bypasses);
}

// Whatever a caller writes into a request, it is the tenant of its credential.
TEST_F(AuthTest, NoFieldClaimsATenant) {
  TestDaemon daemon([this](Config& config) { Configure(config); });
  const v1::IssueKeyResponse key = Issue(daemon, "acme");
  daemon.device().set_step_time(std::chrono::milliseconds(2));
  v1::GenerateStreamRequest request = LongRequest(900);
  request.set_end_user("globex");
  request.set_request_id("globex");
  grpc::ClientContext context;
  for (const char* name : {"tenant", "x-tenant", "x-inferd-tenant", "user"}) {
    context.AddMetadata(name, "globex");
  }
  context.AddMetadata("authorization", "Bearer " + key.secret());
  const auto reader = daemon.generation().GenerateStream(&context, request);
  v1::GenerateStreamResponse message;
  ASSERT_TRUE(reader->Read(&message));
  const auto queue = v1::QueueService::NewStub(AdminOf(daemon));
  grpc::ClientContext explain;
  v1::ExplainQueueResponse why;
  ASSERT_TRUE(queue->ExplainQueue(&explain, {}, &why).ok());
  ASSERT_EQ(why.requests_size(), 1);
  EXPECT_EQ(why.requests(0).tenant(), "acme");
  context.TryCancel();
  reader->Finish();
}

TEST_F(AuthTest, AKeyIsGoodForItsScopesAndNothingElse) {
  TestDaemon daemon([this](Config& config) { Configure(config); });
  const auto was_used = [&daemon] {
    grpc::ClientContext context;
    v1::ListKeysRequest of_acme;
    of_acme.set_tenant("acme");
    v1::ListKeysResponse listed;
    EXPECT_TRUE(
        v1::KeyService::NewStub(AdminOf(daemon))->ListKeys(&context, of_acme, &listed).ok());
    return listed.keys_size() == 1 && listed.keys(0).has_last_used();
  };
  const std::string key = "Bearer " + Issue(daemon, "acme", {"models"}).secret();
  EXPECT_FALSE(was_used());
  EXPECT_TRUE(Call(daemon.channel(), "ModelService/ListModels", key).ok());
  // Kept over a change of the list.
  Revoke(daemon, Issue(daemon, "globex").key().id());
  EXPECT_TRUE(was_used());
  const grpc::Status status = Call(daemon.channel(), "GenerationService/Generate", key);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::PERMISSION_DENIED) << status.error_message();
  EXPECT_EQ(ReasonIn(status), "PERMISSION_DENIED");
}

// On the admin plane a uid has its roles and nothing else: operators cannot read payloads,
// compliance cannot load models. Each role by itself, every method; roles that open the same (most
// of them: nothing) are tried together.
TEST_F(AuthTest, NoRoleOpensAMethodOfOthers) {
  std::map<std::vector<std::string_view>, std::vector<Role>> by_methods;
  for (const Role role : kRoles) {
    Caller caller;
    caller.roles = {role};
    std::vector<std::string_view> opened;
    for (const MethodRule& rule : MethodRules()) {
      if (rule.scope.empty() && MayCall(caller, rule.method).ok()) {
        opened.push_back(rule.method);
      }
    }
    by_methods[opened].push_back(role);
  }
  size_t bypasses = 0;
  for (const auto& [opened, roles] : by_methods) {
    Caller caller;
    caller.roles = roles;
    TestDaemon daemon([&](Config& config) {
      Configure(config);
      AdministratorEntry me{.name = absl::StrFormat("uid:%d", getuid()), .roles = {}};
      for (const Role role : roles) {
        me.roles.emplace_back(Name(role));
      }
      config.identity.administrators = {me};
    });
    const auto admin = AdminOf(daemon);
    for (const std::string& method : MethodsOf(admin)) {
      const grpc::Status status = Call(admin, method);
      if (MayCall(caller, method).ok()) {
        // The handler may refuse what was asked for, the gate does not.
        EXPECT_THAT(status.error_message(), Not(HasSubstr("is for the role"))) << method;
        continue;
      }
      const bool refused = status.error_code() == grpc::StatusCode::PERMISSION_DENIED;
      EXPECT_TRUE(refused) << Name(roles[0]) << ", " << method << ": " << status.error_code();
      bypasses += refused ? 0 : 1;
    }
  }
  EXPECT_GE(by_methods.size(), 5u);
  std::printf("RESULT auth.bypasses_admin %zu count\n", bypasses);
}

}  // namespace
}  // namespace inferd
