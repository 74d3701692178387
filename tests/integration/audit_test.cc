// Goal: every answer leaves its two leaves, every refusal its one, receipts name them, nothing that
// a caller wrote is in any of them, and the whole log verifies once the daemon has stopped.
// Method: the whole daemon in the test's process; its log read by the verifier, which shares no
// code with the writer.
#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/file.h"
#include "base/file_system.h"
#include "governance/audit/audit_gate.h"
#include "governance/audit/commitment.h"
#include "governance/audit_index.h"
#include "governance/key_store.h"
#include "governance/keys/secret_files.h"
#include "governance/vault.h"
#include "governance/verify/merkle.h"
#include "governance/verify/proof_file.h"
#include "governance/verify/shard_reader.h"
#include "governance/verify/verifier.h"
#include "inferd/v1/audit.grpc.pb.h"
#include "tests/integration/test_daemon.h"

namespace inferd {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

constexpr char kCanary[] = "canary7f3a9c";

void TurnOn(Config& config) { config.audit.mode = "strict"; }

NoteVerifier VerifierOf(const std::string& state) {
  std::string key = *ReadSecretFile(state + "/keys/" + kNoteKeyFile);
  key.pop_back();
  return NoteSigner::Parse(key)->verifier();
}

// The leaves of the log's only shard.
std::vector<Json> Leaves(const std::string& state) {
  std::vector<Json> leaves;
  for (const auto& entry : fs::directory_iterator(state + "/log")) {
    auto shard = ShardReader::Open(
        SystemFiles(), entry.path().string(), TrustPolicy::OfLog(VerifierOf(state)));
    EXPECT_TRUE(shard.ok()) << shard.status();
    const uint64_t size = *(*shard)->Size();
    EXPECT_TRUE((*shard)
                    ->Visit(0,
                            size,
                            [&](uint64_t, std::string_view leaf) {
                              leaves.push_back(Json::parse(leaf));
                              return OkStatus();
                            })
                    .ok());
  }
  return leaves;
}

std::vector<Json> OfType(const std::vector<Json>& leaves, const std::string& prefix) {
  std::vector<Json> found;
  for (const Json& leaf : leaves) {
    if (leaf["t"].get<std::string>().starts_with(prefix)) {
      found.push_back(leaf);
    }
  }
  return found;
}

void ExpectSound(const std::string& state, uint64_t open_intents = 0) {
  const auto report = VerifyLog(
      SystemFiles(), state + "/log", TrustPolicy::OfLog(VerifierOf(state)), VerifyOptions{});
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->num_problems, 0u)
      << (report->problems.empty() ? "" : ToText(report->problems[0]));
  EXPECT_EQ(report->open_intents, open_intents);
}

TEST(Audit, AnAnswerHasTwoLeavesAndTwoReceipts) {
  TestDaemon daemon(TurnOn);
  const StreamResult result = Collect(daemon.generation(), LongRequest(5));
  ASSERT_TRUE(result.status.ok()) << result.status.error_message();
  const v1::AuditReceipt& receipt = result.messages.at(0).started().audit();
  daemon.Stop();
  ExpectSound(daemon.state_folder());
  const auto leaves = Leaves(daemon.state_folder());
  ASSERT_GT(leaves.size(), receipt.index());
  const Json& admitted = leaves[receipt.index()];
  EXPECT_EQ(admitted["t"], "inference.admitted");
  EXPECT_EQ(admitted["rid"], receipt.record_id());
  EXPECT_EQ(admitted["tenant"], "local");
  EXPECT_EQ(admitted["model"]["ref"], kTinyModel);
  EXPECT_EQ(receipt.leaf_hash(), "sha256:" + LeafHash(admitted.dump()).Hex());
  // The salt of the receipt opens the commitment; another prompt does not.
  ASSERT_EQ(receipt.salt().size(), sizeof(CommitmentSalt));
  CommitmentSalt salt{};
  std::copy(receipt.salt().begin(), receipt.salt().end(), salt.begin());
  EXPECT_EQ(admitted["in"]["c"], CommitTo(salt, "the rain in Spain").Text());
  EXPECT_NE(admitted["in"]["c"], CommitTo(salt, "the rain in Spaim").Text());
  const uint64_t last = std::stoull(result.trailers.at("audit-index"));
  EXPECT_EQ(result.trailers.at("audit-origin"), receipt.origin());
  const Json& completed = leaves.at(last);
  EXPECT_EQ(completed["t"], "inference.completed");
  EXPECT_EQ(result.trailers.at("audit-leaf"), "sha256:" + LeafHash(completed.dump()).Hex());
  EXPECT_EQ(completed["adm"], receipt.index());
  EXPECT_EQ(completed["status"], "OK");
  EXPECT_EQ(completed["use"]["out"], 5);
  std::string text;
  for (const auto& message : result.messages) {
    text += message.has_delta() ? message.delta().text() : message.finished().output().text();
  }
  std::string output{static_cast<char>(text.size()), 0, 0, 0};
  EXPECT_EQ(completed["out"]["c"], CommitTo(salt, output + text).Text());
}

TEST(Audit, TheDaemonsOwnActsAreRecorded) {
  TestDaemon daemon(TurnOn);
  daemon.Stop();
  std::vector<std::string> types;
  for (const Json& leaf : Leaves(daemon.state_folder())) {
    types.push_back(leaf["t"]);
  }
  EXPECT_THAT(types, ::testing::Contains("config.changed"));
  EXPECT_THAT(types, ::testing::Contains("model.loaded"));
  EXPECT_THAT(types, ::testing::Contains("model.unloaded"));
  EXPECT_EQ(types.front(), "log.genesis");
}

TEST(Audit, RefusalsAndCancelsHaveTheirLeaves) {
  TestDaemon daemon(TurnOn);
  v1::GenerateStreamRequest unknown = LongRequest(5);
  unknown.set_model("no-such-model");
  EXPECT_EQ(ReasonIn(Collect(daemon.generation(), unknown).status), "MODEL_NOT_FOUND");
  {
    grpc::ClientContext context;
    const auto reader = daemon.generation().GenerateStream(&context, LongRequest(900));
    v1::GenerateStreamResponse message;
    ASSERT_TRUE(reader->Read(&message));
    context.TryCancel();
    reader->Finish();
  }
  ASSERT_TRUE(Eventually([&] { return daemon.daemon().generations_in_flight() == 0; }));
  daemon.Stop();
  ExpectSound(daemon.state_folder());
  const auto leaves = OfType(Leaves(daemon.state_folder()), "inference.");
  ASSERT_EQ(leaves.size(), 3u);
  EXPECT_EQ(leaves[0]["t"], "inference.denied");
  EXPECT_EQ(leaves[0]["err"], "MODEL_NOT_FOUND");
  EXPECT_EQ(leaves[0].count("model"), 0u) << "what a caller wrote is no name of ours";
  EXPECT_EQ(leaves[1]["t"], "inference.admitted");
  EXPECT_EQ(leaves[2]["t"], "inference.completed");
  EXPECT_EQ(leaves[2]["status"], "CANCELLED");
}

TEST(Audit, AFloodOfRefusalsIsSummedUp) {
  TestDaemon daemon(TurnOn);
  v1::GenerateStreamRequest unknown = LongRequest(5);
  unknown.set_model("no-such-model");
  for (uint64_t i = 0; i < kFloodLeavesPerMinute + 50; ++i) {
    Collect(daemon.generation(), unknown);
  }
  daemon.Stop();
  const auto leaves = Leaves(daemon.state_folder());
  const auto denied = OfType(leaves, "inference.denied").size();
  EXPECT_GE(denied, kFloodLeavesPerMinute);
  uint64_t summed = 0;
  for (const Json& leaf : OfType(leaves, "denied.summary")) {
    EXPECT_EQ(leaf["d"]["reason"], "MODEL_NOT_FOUND");
    summed += leaf["d"]["count"].get<uint64_t>();
  }
  EXPECT_EQ(denied + summed, kFloodLeavesPerMinute + 50) << "none is dropped";
  EXPECT_GT(summed, 0u);
}

TEST(Audit, LevelsKeepWhatTheySay) {
  for (const std::string level : {"none", "metadata", "full"}) {
    SCOPED_TRACE(level);
    TestDaemon daemon([&](Config& config) {
      config.audit.mode = "strict";
      config.audit.level = level;
    });
    const StreamResult result = Collect(daemon.generation(), LongRequest(3));
    ASSERT_TRUE(result.status.ok()) << result.status.error_message();
    EXPECT_EQ(result.messages.at(0).started().audit().salt().empty(), level != "metadata");
    daemon.Stop();
    const auto leaves = OfType(Leaves(daemon.state_folder()), "inference.");
    ASSERT_EQ(leaves.size(), 2u);
    EXPECT_EQ(leaves[0]["alev"], level);
    EXPECT_EQ(leaves[0]["in"].count("c"), level == "none" ? 0u : 1u);
    EXPECT_EQ(leaves[1].count("vault"), level == "full" ? 1u : 0u);
    if (level == "full") {
      const std::string& state = daemon.state_folder();
      const auto keys = KeyStore::Open(state + "/keys/keystore.sqlite",
                                       *ReadKeyFile(state + "/keys/" + kRootKekFile));
      ASSERT_TRUE(keys.ok()) << keys.status();
      Vault vault(state + "/vault", **keys, SystemClock());
      const auto prompt = vault.Open(leaves[0]["d"]["vault"].get<std::string>());
      ASSERT_TRUE(prompt.ok()) << prompt.status();
      EXPECT_EQ(prompt->payload, "the rain in Spain");
      EXPECT_EQ(prompt->envelope.rid, leaves[0]["rid"]);
      EXPECT_EQ(CommitTo(prompt->salt, prompt->payload).Text(), leaves[0]["in"]["c"]);
      const auto answer = vault.Open(leaves[1]["vault"].get<std::string>());
      ASSERT_TRUE(answer.ok()) << answer.status();
      EXPECT_EQ(CommitTo(answer->salt, answer->payload).Text(), leaves[1]["out"]["c"]);
    }
  }
}

TEST(Audit, MissingOrOpenSecretsRefuseToStart) {
  const StateFolder state;
  const TinyModelPath model;
  Config config;
  config.data.address = "127.0.0.1:0";
  config.state_directory = state.path();
  config.audit.reserve_bytes = 0;
  config.models.push_back({.name = kTinyModel, .path = model.path(), .context_tokens_max = 0});
  for (const char* secret : {kNoteKeyFile, kRootKekFile, kSubjectPepperFile}) {
    const std::string path = state.path() + "/keys/" + secret;
    fs::permissions(path, fs::perms::group_read, fs::perm_options::add);
    const auto open = Daemon::Start(config, std::make_unique<FakeDevice>());
    EXPECT_THAT(std::string(Message(open.status())), HasSubstr(secret));
    fs::permissions(path, fs::perms::group_read, fs::perm_options::remove);
    fs::rename(path, path + ".away");
    const auto missing = Daemon::Start(config, std::make_unique<FakeDevice>());
    EXPECT_THAT(std::string(Message(missing.status())), HasSubstr("keys init"));
    fs::rename(path + ".away", path);
  }
  EXPECT_TRUE(Daemon::Start(config, std::make_unique<FakeDevice>()).ok());
}

// The admin plane over its socket, as this process's uid.
class AdminPlane {
 public:
  explicit AdminPlane(const TestDaemon& daemon)
      : stub_(v1::AuditService::NewStub(grpc::CreateChannel(
            "unix:" + daemon.state_folder() + "/admin.sock", grpc::InsecureChannelCredentials()))) {
  }

  template <typename Request, typename Response>
  grpc::Status Call(grpc::Status (v1::AuditService::Stub::*method)(grpc::ClientContext*,
                                                                   const Request&,
                                                                   Response*),
                    const Request& request,
                    Response& response) {
    grpc::ClientContext context;
    return (stub_.get()->*method)(&context, request, &response);
  }

 private:
  std::unique_ptr<v1::AuditService::Stub> stub_;
};

using AuditStub = v1::AuditService::Stub;

// Every error that a caller can get by writing the canary where it may write anything, as "message
// and details" texts. Labels, grammars and sessions are not served yet; API keys come as metadata.
std::vector<std::string> ErrorsWithCanary(TestDaemon& daemon,
                                          const v1::GenerateStreamRequest& good) {
  std::vector<v1::GenerateStreamRequest> requests(9, good);
  requests[0].set_model(kCanary);
  requests[1].set_model(std::string(kTinyModel) + "@sha256:" + kCanary);
  requests[2].set_expected_digest(kCanary);
  requests[3].mutable_chat()->add_messages()->set_role(kCanary);
  requests[3].mutable_chat()->mutable_messages(0)->set_content(kCanary);
  requests[4].mutable_sampling()->set_top_p(7);
  requests[5].set_request_id(std::string(kCanary) + '\n');
  requests[6].set_end_user(kCanary + std::string(200, 'x'));
  requests[7].mutable_stopping()->add_stop(kCanary + std::string(100'000, 'x'));
  requests[8].set_text(kCanary + std::string(1 << 20, ' '));
  std::vector<std::string> errors;
  for (const v1::GenerateStreamRequest& request : requests) {
    const grpc::Status status = Collect(daemon.generation(), request).status;
    EXPECT_FALSE(status.ok()) << request.ShortDebugString().substr(0, 200);
    errors.push_back(status.error_message() + status.error_details());
    v1::GenerateResponse response;
    grpc::ClientContext context;
    context.AddMetadata("authorization", std::string("Bearer ik_live_1_") + kCanary);
    context.AddMetadata("x-api-key", kCanary);
    const grpc::Status unary = daemon.generation().Generate(&context, AsUnary(request), &response);
    errors.push_back(unary.error_message() + unary.error_details());
  }
  grpc::ClientContext context;
  v1::GetModelRequest unknown;
  unknown.set_model(kCanary);
  v1::GetModelResponse response;
  const grpc::Status status = daemon.models().GetModel(&context, unknown, &response);
  EXPECT_FALSE(status.ok());
  errors.push_back(status.error_message() + status.error_details());
  return errors;
}

// secrets.found: what callers write is in no log line, error, leaf or file, at any level.
TEST(Audit, CanariesAreFoundNowhere) {
  testing::internal::CaptureStderr();
  int found = 0;
  for (const std::string level : {"none", "metadata", "full"}) {
    TestDaemon daemon([&](Config& config) {
      config.audit.mode = "strict";
      config.audit.level = level;
      config.log_level = "debug";
    });
    const auto count_in = [&found](const std::string& text, const std::string& where) {
      if (text.find(kCanary) != std::string::npos) {
        ++found;
        ADD_FAILURE() << "the canary is in " << where;
      }
    };
    v1::GenerateStreamRequest request = LongRequest(3);
    request.set_text(std::string("my secret is ") + kCanary);
    request.set_end_user(kCanary);
    request.set_request_id(kCanary);
    request.mutable_stopping()->add_stop(kCanary);
    const StreamResult result = Collect(daemon.generation(), request);
    ASSERT_TRUE(result.status.ok());
    for (const auto& [key, value] : result.trailers) {
      count_in(value, "trailer " + key);
    }
    for (const std::string& error : ErrorsWithCanary(daemon, request)) {
      count_in(error, "an error: " + error.substr(0, 200));
    }
    AdminPlane admin(daemon);
    v1::SearchLeavesRequest search;
    search.mutable_filter()->set_tenant("local");
    search.mutable_filter()->set_end_user(kCanary);
    v1::SearchLeavesResponse rows;
    ASSERT_TRUE(admin.Call(&AuditStub::SearchLeaves, search, rows).ok());
    EXPECT_GE(rows.rows_size(), 2) << "the person is found by the keyed hash";
    count_in(rows.SerializeAsString(), "the search index");
    daemon.Stop();
    for (const auto& entry : fs::recursive_directory_iterator(daemon.state_folder())) {
      if (entry.is_regular_file()) {
        count_in(*ReadFile(entry.path().string(), 1 << 28), entry.path().string());
      }
    }
  }
  const std::string log = testing::internal::GetCapturedStderr();
  EXPECT_NE(log.find("audit log open"), std::string::npos) << "the log was looked at";
  if (const size_t at = log.find(kCanary); at != std::string::npos) {
    ++found;
    ADD_FAILURE() << log.substr(at - std::min<size_t>(at, 200), 400);
  }
  std::printf("RESULT secrets.found %d count\n", found);
}

TEST(Admin, FindsAndProvesALeafAndRecordsTheReader) {
  TestDaemon daemon(TurnOn);
  const StreamResult result = Collect(daemon.generation(), LongRequest(3));
  ASSERT_TRUE(result.status.ok());
  AdminPlane admin(daemon);
  v1::SearchLeavesRequest search;
  search.mutable_filter()->set_type("inference.");
  search.mutable_filter()->set_rid(result.messages.at(0).started().audit().record_id());
  v1::SearchLeavesResponse found;
  const grpc::Status status = admin.Call(&AuditStub::SearchLeaves, search, found);
  ASSERT_TRUE(status.ok()) << status.error_message();
  ASSERT_EQ(found.rows_size(), 2);
  EXPECT_EQ(found.rows(0).type(), "inference.completed");
  EXPECT_EQ(found.rows(0).output_tokens(), 3u);
  v1::GetLeafRequest get;
  *get.mutable_place() = found.rows(1).place();
  v1::GetLeafResponse leaf;
  ASSERT_TRUE(admin.Call(&AuditStub::GetLeaf, get, leaf).ok());
  EXPECT_EQ(leaf.leaf_hash(), result.messages.at(0).started().audit().leaf_hash());
  const auto proof = ParseProof(leaf.proof());
  ASSERT_TRUE(proof.ok()) << proof.status();
  const TrustPolicy policy = TrustPolicy::OfLog(VerifierOf(daemon.state_folder()));
  EXPECT_TRUE(CheckProof(*proof, leaf.leaf(), policy).ok());
  EXPECT_FALSE(CheckProof(*proof, leaf.leaf() + " ", policy).ok());
  v1::GetReportResponse report;
  ASSERT_TRUE(admin.Call(&AuditStub::GetReport, v1::GetReportRequest(), report).ok());
  ASSERT_EQ(report.uses_size(), 1);
  EXPECT_EQ(report.uses(0).completed(), 1u);
  daemon.Stop();
  const auto reviews = OfType(Leaves(daemon.state_folder()), "review.");
  ASSERT_EQ(reviews.size(), 3u);
  EXPECT_EQ(reviews[0]["actor"]["id"], absl::StrFormat("uid:%d", getuid()));
  EXPECT_EQ(reviews[0]["actor"]["authn"], "peercred");
}

TEST(Admin, OnePersonDoesNotLookAtAPayload) {
  TestDaemon daemon([](Config& config) {
    config.audit.mode = "strict";
    config.audit.level = "full";
  });
  const StreamResult result = Collect(daemon.generation(), LongRequest(3));
  ASSERT_TRUE(result.status.ok());
  AdminPlane admin(daemon);
  v1::RequestPayloadRequest ask;
  ask.set_tenant("local");
  ask.set_rid(result.messages.at(0).started().audit().record_id());
  ask.set_basis("case-7");
  v1::RequestPayloadResponse asked;
  const grpc::Status status = admin.Call(&AuditStub::RequestPayload, ask, asked);
  ASSERT_TRUE(status.ok()) << status.error_message();
  v1::ApprovePayloadRequest approve;
  approve.set_id(asked.view().id());
  v1::ApprovePayloadResponse approved;
  EXPECT_EQ(admin.Call(&AuditStub::ApprovePayload, approve, approved).error_code(),
            grpc::StatusCode::PERMISSION_DENIED);
  v1::OpenPayloadRequest open;
  open.set_id(asked.view().id());
  v1::OpenPayloadResponse opened;
  EXPECT_EQ(admin.Call(&AuditStub::OpenPayload, open, opened).error_code(),
            grpc::StatusCode::FAILED_PRECONDITION);
  v1::ListPayloadsResponse list;
  ASSERT_TRUE(admin.Call(&AuditStub::ListPayloads, v1::ListPayloadsRequest(), list).ok());
  EXPECT_EQ(list.views_size(), 1);
  daemon.Stop();
  const auto reviews = OfType(Leaves(daemon.state_folder()), "review.");
  ASSERT_EQ(reviews.size(), 1u) << "neither an approval nor a look";
  EXPECT_EQ(reviews[0]["rid"], ask.rid());
  EXPECT_EQ(reviews[0]["tenant"], "local");
}

TEST(Admin, OnePersonNeitherErasesNorReleases) {
  TestDaemon daemon([](Config& config) {
    config.audit.mode = "strict";
    config.audit.level = "full";
  });
  v1::GenerateStreamRequest request = LongRequest(3);
  request.set_end_user("anna");
  ASSERT_TRUE(Collect(daemon.generation(), request).status.ok());
  AdminPlane admin(daemon);
  v1::RequestErasureRequest erase;
  erase.set_tenant("local");
  erase.set_end_user("nobody");
  erase.set_basis("case-7");
  v1::RequestErasureResponse asked;
  EXPECT_EQ(admin.Call(&AuditStub::RequestErasure, erase, asked).error_code(),
            grpc::StatusCode::NOT_FOUND);
  erase.set_end_user("anna");
  ASSERT_TRUE(admin.Call(&AuditStub::RequestErasure, erase, asked).ok());
  v1::ApproveErasureRequest approve;
  approve.set_id(asked.erasure().id());
  v1::ApproveErasureResponse approved;
  EXPECT_EQ(admin.Call(&AuditStub::ApproveErasure, approve, approved).error_code(),
            grpc::StatusCode::PERMISSION_DENIED);
  v1::SetHoldRequest set;
  set.set_tenant("local");
  set.set_basis("court-1");
  v1::SetHoldResponse hold;
  ASSERT_TRUE(admin.Call(&AuditStub::SetHold, set, hold).ok());
  v1::ReleaseHoldRequest release;
  release.set_id(hold.hold().id());
  v1::ReleaseHoldResponse released;
  ASSERT_TRUE(admin.Call(&AuditStub::ReleaseHold, release, released).ok());
  EXPECT_FALSE(released.hold().released());
  EXPECT_EQ(admin.Call(&AuditStub::ReleaseHold, release, released).error_code(),
            grpc::StatusCode::PERMISSION_DENIED);
  const auto mode = fs::status(daemon.state_folder() + "/admin.sock").permissions();
  EXPECT_EQ(mode & fs::perms::others_all, fs::perms::none);
}

}  // namespace
}  // namespace inferd
