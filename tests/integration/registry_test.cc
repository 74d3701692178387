// Goal: the bytes that answer are the bytes that were approved, over the whole life of a version:
// added, approved by two persons, rolled out session by session, rolled back, revoked.
// Method: the whole daemon, both planes. As root, each person is another peer of the admin socket;
// other users have one name there, and the registry that is enough for.
#include <grpcpp/create_channel.h>
#include <grpcpp/create_channel_posix.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "base/check.h"
#include "inferd/v1/audit.grpc.pb.h"
#include "inferd/v1/queue.grpc.pb.h"
#include "inferd/v1/registry.grpc.pb.h"
#include "tests/integration/test_daemon.h"
#include "tests/support/random_model.h"
#include "tests/support/temp_folder.h"

namespace inferd {
namespace {

bool IsRoot() { return geteuid() == 0; }

// A channel to the socket whose peer is of this uid. The kernel takes a thread's own.
std::shared_ptr<grpc::Channel> ConnectAs(uint32_t uid, const std::string& path) {
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK(fd >= 0);
  std::thread([&] {
    if (uid != geteuid()) {
      CHECK(syscall(SYS_setresuid, -1, uid, -1) == 0);
    }
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    CHECK(path.size() < sizeof(address.sun_path));
    path.copy(address.sun_path, path.size());
    CHECK(connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
  }).join();
  prctl(PR_SET_DUMPABLE, 1);  // a change of uid takes it away, and leak checks need it
  const std::string name = "person-" + std::to_string(fd);
  return grpc::CreateInsecureChannelFromFd(name, fd);
}

class RegistryTest : public ::testing::Test {
 protected:
  RegistryTest() {
    // A folder that the other persons' uids may enter.
    std::filesystem::permissions(folder_.path(), std::filesystem::perms(0711));
    daemon_.emplace([this](Config& config) {
      config.admin_address = "unix:" + socket_;
      config.registry.two_persons = IsRoot();
      config.identity.tenants_directory = folder_ / "tenants";
      WriteTenant("");
    });
    std::filesystem::permissions(socket_, std::filesystem::perms(0666));
    for (const uint32_t uid : {50'001u, 50'002u, 50'003u}) {
      persons_.push_back(
          v1::RegistryService::NewStub(ConnectAs(IsRoot() ? uid : geteuid(), socket_)));
    }
    admin_ = grpc::CreateChannel("unix:" + socket_, grpc::InsecureChannelCredentials());
  }

  void WriteTenant(const std::string& more) {
    std::filesystem::create_directories(folder_ / "tenants");
    std::ofstream(folder_ / "tenants/local.yaml") << "schema_version: 1\nname: local\n" << more;
    std::filesystem::permissions(folder_ / "tenants/local.yaml", std::filesystem::perms(0600));
  }

  // Another model's file.
  std::string ModelOf(uint64_t seed) {
    const std::string path = folder_ / absl::StrFormat("model-%d.gguf", seed);
    RandomModelSpec spec = TinyModel("llama", seed, QuantFormat::kF32);
    spec.context = static_cast<int32_t>(kTinyContext);
    CHECK(WriteRandomModel(spec, path).ok());
    return path;
  }

  template <typename Request, typename Response>
  grpc::Status Call(int person,
                    grpc::Status (v1::RegistryService::Stub::*method)(grpc::ClientContext*,
                                                                      const Request&,
                                                                      Response*),
                    const Request& request) {
    grpc::ClientContext context;
    Response response;
    return (persons_[static_cast<size_t>(person)].get()->*method)(&context, request, &response);
  }
  grpc::Status Add(int person, const std::string& version, const std::string& path) {
    v1::AddModelRequest request;
    request.set_model(kTinyModel);
    request.set_version(version);
    request.set_path(path);
    grpc::ClientContext context;
    const auto reader = persons_[static_cast<size_t>(person)]->AddModel(&context, request);
    v1::AddModelResponse message;
    while (reader->Read(&message)) {
    }
    const grpc::Status status = reader->Finish();
    EXPECT_EQ(status.ok(), message.has_change());
    return status;
  }
  grpc::Status Approve(int person, const std::string& version) {
    v1::ApproveModelRequest request;
    request.set_model(kTinyModel);
    request.set_version(version);
    return Call(person, &v1::RegistryService::Stub::ApproveModel, request);
  }
  grpc::Status Propose(int person, const std::string& version) {
    v1::ProposeAliasRequest request;
    request.set_model(kTinyModel);
    request.set_alias("default");
    request.set_version(version);
    return Call(person, &v1::RegistryService::Stub::ProposeAlias, request);
  }
  grpc::Status ApproveAlias(int person) {
    v1::ApproveAliasRequest request;
    request.set_model(kTinyModel);
    request.set_alias("default");
    return Call(person, &v1::RegistryService::Stub::ApproveAlias, request);
  }
  grpc::Status Canary(int percent) {
    v1::SetCanaryRequest request;
    request.set_model(kTinyModel);
    request.set_alias("default");
    request.set_percent(percent);
    return Call(0, &v1::RegistryService::Stub::SetCanary, request);
  }
  grpc::Status RollBack() {
    v1::RollBackAliasRequest request;
    request.set_model(kTinyModel);
    request.set_alias("default");
    return Call(0, &v1::RegistryService::Stub::RollBackAlias, request);
  }
  grpc::Status Revoke(const std::string& version) {
    v1::RevokeModelRequest request;
    request.set_model(kTinyModel);
    request.set_version(version);
    return Call(0, &v1::RegistryService::Stub::RevokeModel, request);
  }
  grpc::Status Load(const std::string& model, const std::string& path) {
    grpc::ClientContext context;
    v1::LoadModelRequest request;
    request.set_model(model);
    request.set_path(path);
    v1::LoadModelResponse response;
    return v1::ModelAdminService::NewStub(admin_)->LoadModel(&context, request, &response);
  }
  // Adds it, has it approved, and loads it.
  void Serve(const std::string& version, const std::string& path) {
    ASSERT_TRUE(Add(0, version, path).ok());
    if (IsRoot()) {
      ASSERT_TRUE(Approve(1, version).ok());
      ASSERT_TRUE(Approve(2, version).ok());
    }
    const grpc::Status loaded = Load(absl::StrFormat("%s:%s", kTinyModel, version), path);
    ASSERT_TRUE(loaded.ok()) << loaded.error_message();
  }

  // The version that answers, or why none does.
  std::string Ask(const std::string& model, const std::string& session = "") {
    v1::GenerateRequest request = AsUnary(LongRequest(2));
    request.set_model(model);
    request.set_session_id(session);
    grpc::ClientContext context;
    v1::GenerateResponse response;
    const grpc::Status status = daemon_->generation().Generate(&context, request, &response);
    return status.ok() ? response.started().model().version() : ReasonIn(status);
  }
  std::vector<std::string> ModelLeaves() {
    v1::SearchLeavesRequest search;
    search.mutable_filter()->set_type("model.");
    search.set_oldest_first(true);
    v1::SearchLeavesResponse found;
    grpc::ClientContext context;
    EXPECT_TRUE(v1::AuditService::NewStub(admin_)->SearchLeaves(&context, search, &found).ok());
    std::vector<std::string> types;
    for (const v1::LeafRow& row : found.rows()) {
      types.push_back(row.type().substr(6));
    }
    return types;
  }
  void Reload() { ASSERT_TRUE(daemon_->daemon().Reload().ok()); }

  TempFolder folder_;
  const std::string socket_ = folder_ / "admin.sock";
  std::optional<TestDaemon> daemon_;
  std::vector<std::unique_ptr<v1::RegistryService::Stub>> persons_;
  std::shared_ptr<grpc::Channel> admin_;
};

TEST_F(RegistryTest, AVersionsLife) {
  const std::string second = ModelOf(8);
  EXPECT_EQ(Ask("tiny"), "1");
  EXPECT_EQ(Ask("tiny:1"), "1");
  EXPECT_EQ(Ask("tiny#default"), "1");
  EXPECT_EQ(Ask("tiny:2"), "MODEL_NOT_FOUND");
  EXPECT_EQ(Load("tiny:2", second).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  ASSERT_TRUE(Add(0, "2", second).ok());
  EXPECT_EQ(Add(1, "2", second).error_code(), grpc::StatusCode::ALREADY_EXISTS);
  if (IsRoot()) {
    EXPECT_EQ(Ask("tiny:2"), "MODEL_NOT_APPROVED");
    EXPECT_EQ(Load("tiny:2", second).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
    EXPECT_EQ(Approve(0, "2").error_code(), grpc::StatusCode::PERMISSION_DENIED);
    ASSERT_TRUE(Approve(1, "2").ok());
    EXPECT_EQ(Approve(1, "2").error_code(), grpc::StatusCode::PERMISSION_DENIED);
    EXPECT_EQ(Ask("tiny:2"), "MODEL_NOT_APPROVED");
    ASSERT_TRUE(Approve(2, "2").ok());
  }
  EXPECT_EQ(Ask("tiny:2"), "MODEL_NOT_RESIDENT");

  // On its way: a share of the sessions, which keep what they began with.
  ASSERT_TRUE(Propose(0, "2").ok());
  if (IsRoot()) {
    EXPECT_EQ(ApproveAlias(0).error_code(), grpc::StatusCode::PERMISSION_DENIED);
  }
  ASSERT_TRUE(ApproveAlias(1).ok());
  EXPECT_EQ(Canary(50).error_code(), grpc::StatusCode::FAILED_PRECONDITION) << "not in memory";
  ASSERT_TRUE(Load("tiny:2", second).ok());
  EXPECT_EQ(Ask("tiny:2"), "2");
  EXPECT_EQ(Ask("tiny", "early"), "1") << "approved, with no sessions yet";
  ASSERT_TRUE(Canary(50).ok());
  std::string of_first, of_second;
  for (int i = 0; i < 100 && (of_first.empty() || of_second.empty()); ++i) {
    const std::string session = "session-" + std::to_string(i);
    (Ask("tiny", session) == "2" ? of_second : of_first) = session;
  }
  ASSERT_FALSE(of_first.empty() || of_second.empty());
  EXPECT_EQ(Ask("tiny"), "1") << "without a session, what the alias names";
  EXPECT_EQ(Ask("tiny", "early"), "1");
  ASSERT_TRUE(Canary(100).ok());
  EXPECT_EQ(Ask("tiny"), "2");
  EXPECT_EQ(Ask("tiny", "new"), "2");
  EXPECT_EQ(Ask("tiny", of_first), "1");
  EXPECT_EQ(Ask("tiny", "early"), "1");

  ASSERT_TRUE(RollBack().ok());
  EXPECT_EQ(Ask("tiny"), "1");
  EXPECT_EQ(Ask("tiny", of_second), "1") << "who began with what was rolled back goes back";
  EXPECT_EQ(Ask("tiny:2"), "2");
  ASSERT_TRUE(Revoke("2").ok());
  EXPECT_EQ(Ask("tiny:2"), "MODEL_REVOKED");
  EXPECT_EQ(Load("tiny:2", second).error_code(), grpc::StatusCode::PERMISSION_DENIED);
  grpc::ClientContext context;
  v1::ListModelsResponse models;
  ASSERT_TRUE(daemon_->models().ListModels(&context, {}, &models).ok());
  ASSERT_EQ(models.models_size(), 1);
  EXPECT_EQ(models.models(0).ref().version(), "1");
  if (AuditInTests() && IsRoot()) {
    const std::vector<std::string> expected = {"registered",
                                               "loaded",
                                               "refused",
                                               "registered",
                                               "refused",
                                               "approved",
                                               "approved",
                                               "rollout_proposed",
                                               "rollout_approved",
                                               "loaded",
                                               "canary",
                                               "alias_moved",
                                               "rolled_back",
                                               "revoked",
                                               "unloaded",
                                               "refused"};
    EXPECT_EQ(ModelLeaves(), expected);
  }
}

TEST_F(RegistryTest, OtherBytesThanTheApprovedOnesAreNotLoaded) {
  const std::string path = ModelOf(8);
  Serve("2", path);
  grpc::ClientContext context;
  v1::UnloadModelRequest unload;
  unload.set_model("tiny:2");
  v1::UnloadModelResponse unloaded;
  ASSERT_TRUE(
      v1::ModelAdminService::NewStub(admin_)->UnloadModel(&context, unload, &unloaded).ok());
  EXPECT_EQ(Ask("tiny:2"), "MODEL_NOT_RESIDENT");
  // One byte of the last tensor.
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(-1, std::ios::end);
  file.put('\x01');
  file.close();
  EXPECT_EQ(Load("tiny:2", path).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(Ask("tiny:2"), "MODEL_NOT_RESIDENT");
  // The same bytes under another name are not what was approved either: the root binds no names.
  const std::string renamed = folder_ / "renamed.gguf";
  std::filesystem::copy_file(ModelOf(8), renamed);
  EXPECT_EQ(Load("tiny:2", renamed).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_TRUE(Load("tiny:2", ModelOf(8)).ok());
  EXPECT_EQ(Ask("tiny:2"), "2");
}

TEST_F(RegistryTest, ATenantsFileSaysWhatItMayUse) {
  Serve("2", ModelOf(8));
  WriteTenant("models: [\"tiny:2\"]\n");
  Reload();
  EXPECT_EQ(Ask("tiny"), "2") << "what a name alone stands for";
  EXPECT_EQ(Ask("tiny:1"), "MODEL_NOT_PERMITTED");
  EXPECT_EQ(Ask("tiny#default"), "MODEL_NOT_PERMITTED");
  EXPECT_EQ(Ask("other"), "MODEL_NOT_PERMITTED");
  grpc::ClientContext context;
  v1::ListModelsResponse models;
  ASSERT_TRUE(daemon_->models().ListModels(&context, {}, &models).ok());
  ASSERT_EQ(models.models_size(), 1);
  EXPECT_EQ(models.models(0).ref().version(), "2");
  WriteTenant("signed_models_only: true\n");
  Reload();
  EXPECT_EQ(Ask("tiny"), "MODEL_NOT_PERMITTED");
  WriteTenant("");
  Reload();
  EXPECT_EQ(Ask("tiny"), "1");
}

}  // namespace
}  // namespace inferd
