// Goal: the audit commands ask the admin plane for what was asked for, and their JSON documents do
// not change. Method: an AuditService in this process on a Unix socket that answers from a script;
// documents against golden files (UPDATE_GOLDEN=1 rewrites them).
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "base/file.h"
#include "client/commands.h"
#include "inferd/v1/audit.grpc.pb.h"
#include "tests/support/temp_folder.h"

namespace inferd {
namespace {

using grpc::ServerContext;
using ::testing::HasSubstr;

constexpr char kId[] = "01JD0000000000000000000000";

void FillRow(v1::LeafRow& row) {
  row.mutable_place()->set_origin("example.org/log/2026q4.0");
  row.mutable_place()->set_index(7);
  row.set_time("2026-11-21T13:35:22.000001Z");
  row.set_type("inference.completed");
  row.set_tenant("acme");
  row.set_rid(kId);
  row.set_actor("acme");
  row.set_model("m");
  row.set_digest("sha256:01");
  row.set_status("OK");
  row.set_finish("stop");
  row.set_input_tokens(5);
  row.set_output_tokens(6);
}

class FakeAudit final : public v1::AuditService::Service {
 public:
  grpc::Status GetLog(ServerContext*, const v1::GetLogRequest*, v1::GetLogResponse* out) override {
    out->set_folder("/none");
    out->set_verifier_key("example.org/log+00+AA");
    out->set_origin("example.org/log/2026q4.0");
    out->set_checkpoint("example.org/log/2026q4.0\n8\nroot\n");
    return grpc::Status::OK;
  }
  grpc::Status SearchLeaves(ServerContext*,
                            const v1::SearchLeavesRequest* request,
                            v1::SearchLeavesResponse* out) override {
    search = *request;
    FillRow(*out->add_rows());
    return grpc::Status::OK;
  }
  grpc::Status GetLeaf(ServerContext*,
                       const v1::GetLeafRequest* request,
                       v1::GetLeafResponse* out) override {
    place = request->place();
    out->set_leaf(R"({"t":"inference.completed"})");
    out->set_leaf_hash("sha256:02");
    out->set_proof("c2sp.org/tlog-proof@v1\n");
    return grpc::Status::OK;
  }
  grpc::Status ListWitnesses(ServerContext*,
                             const v1::ListWitnessesRequest*,
                             v1::ListWitnessesResponse* out) override {
    v1::WitnessState& witness = *out->add_witnesses();
    witness.set_name("w1");
    witness.set_verifier_key("w1.example.org+00+BA");
    witness.set_url("http://127.0.0.1:8760");
    witness.set_origin("example.org/log/2026q4.0");
    witness.set_cosigned_size(8);
    witness.set_log_size(9);
    witness.set_cosigned_at("2026-11-21T13:35:22.000001Z");
    witness.set_error(witness_error);
    return grpc::Status::OK;
  }
  static void FillView(v1::PayloadView& view) {
    view.set_id(kId);
    view.set_tenant("acme");
    view.set_rid(kId);
    view.set_basis("case-7");
    view.set_requested_by("uid:1");
    view.set_requested_at("2026-11-21T13:35:22.000001Z");
  }
  grpc::Status RequestPayload(ServerContext*,
                              const v1::RequestPayloadRequest* request,
                              v1::RequestPayloadResponse* out) override {
    payload = *request;
    FillView(*out->mutable_view());
    return grpc::Status::OK;
  }
  grpc::Status OpenPayload(ServerContext*,
                           const v1::OpenPayloadRequest* request,
                           v1::OpenPayloadResponse* out) override {
    if (request->id() != kId) {
      return {grpc::StatusCode::PERMISSION_DENIED, "for another"};
    }
    FillView(*out->mutable_view());
    out->set_prompt("the prompt");
    out->add_answers("the answer");
    out->add_answers(std::string("\xff\x00", 2));
    return grpc::Status::OK;
  }
  grpc::Status RequestErasure(ServerContext*,
                              const v1::RequestErasureRequest* request,
                              v1::RequestErasureResponse* out) override {
    v1::Erasure& erasure = *out->mutable_erasure();
    erasure.set_id(kId);
    erasure.set_tenant(request->tenant());
    erasure.set_subject("hash");
    erasure.set_basis(request->basis());
    erasure.set_state("requested");
    erasure.set_requested_by("uid:1");
    return grpc::Status::OK;
  }
  grpc::Status SetHold(ServerContext*,
                       const v1::SetHoldRequest* request,
                       v1::SetHoldResponse* out) override {
    v1::Hold& hold = *out->mutable_hold();
    hold.set_id(kId);
    hold.set_tenant(request->tenant());
    hold.mutable_rids()->CopyFrom(request->rids());
    hold.set_basis(request->basis());
    hold.set_set_by("uid:1");
    return grpc::Status::OK;
  }

  v1::SearchLeavesRequest search;
  v1::LeafPlace place;
  v1::RequestPayloadRequest payload;
  std::string witness_error;
};

class AuditCalls : public testing::Test {
 protected:
  AuditCalls() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort(endpoint_, grpc::InsecureServerCredentials());
    builder.RegisterService(&audit_);
    server_ = builder.BuildAndStart();
  }
  ~AuditCalls() override { server_->Shutdown(); }

  ExitCode Run(std::vector<std::string> arguments, bool plane = true) {
    if (plane) {
      arguments.insert(arguments.end(), {"--admin", endpoint_});
    }
    out_.str("");
    err_.str("");
    std::istringstream in;
    Terminal terminal{in, out_, err_};
    return RunInferctl(arguments, terminal);
  }
  void ExpectGolden(const std::string& name) {
    const std::string path = INFERD_SOURCE_DIR "/client/golden/" + name;
    if (std::getenv("UPDATE_GOLDEN") != nullptr) {
      std::ofstream(path) << out_.str();
    }
    EXPECT_EQ(ReadFile(path, 1 << 20).value_or("(no file)"), out_.str()) << name;
  }

  TempFolder folder_;
  const std::string endpoint_ = "unix:" + (folder_ / "admin.sock");
  FakeAudit audit_;
  std::unique_ptr<grpc::Server> server_;
  std::ostringstream out_, err_;
};

TEST_F(AuditCalls, DocumentsOfReading) {
  EXPECT_EQ(Run({"audit", "log", "-o", "json"}), ExitCode::kOk) << err_.str();
  ExpectGolden("audit_log.json");
  EXPECT_EQ(Run({"audit",
                 "search",
                 "--tenant",
                 "acme",
                 "--end-user",
                 "anna",
                 "--limit",
                 "1",
                 "-o",
                 "json"}),
            ExitCode::kOk);
  ExpectGolden("audit_search.json");
  EXPECT_EQ(audit_.search.filter().tenant(), "acme");
  EXPECT_EQ(audit_.search.filter().end_user(), "anna");
  EXPECT_EQ(audit_.search.page_size(), 1);
  EXPECT_EQ(Run({"audit", "show", "7", "-o", "json"}), ExitCode::kOk);
  ExpectGolden("audit_show.json");
  EXPECT_EQ(audit_.place.index(), 7u);
  EXPECT_EQ(Run({"audit", "prove", "7", "-o", "json"}), ExitCode::kOk);
  ExpectGolden("audit_prove.json");
  EXPECT_EQ(Run({"audit", "prove", "7"}), ExitCode::kOk);
  EXPECT_EQ(out_.str(), "c2sp.org/tlog-proof@v1\n");
}

TEST_F(AuditCalls, WitnessesThatLagAreAnExitCode) {
  EXPECT_EQ(Run({"audit", "witness", "-o", "json"}), ExitCode::kOk) << err_.str();
  ExpectGolden("audit_witness.json");
  audit_.witness_error = "away";
  EXPECT_EQ(Run({"audit", "witness"}), ExitCode::kUnavailable);
  EXPECT_THAT(out_.str(), HasSubstr("away"));
}

TEST_F(AuditCalls, DocumentsOfActs) {
  EXPECT_EQ(Run({"erase",
                 "request",
                 "--tenant",
                 "acme",
                 "--end-user",
                 "anna",
                 "--basis",
                 "case-7",
                 "-o",
                 "json"}),
            ExitCode::kOk)
      << err_.str();
  ExpectGolden("erase_request.json");
  EXPECT_EQ(
      Run({"hold", "set", "--tenant", "acme", "--rid", kId, "--basis", "court-1", "-o", "json"}),
      ExitCode::kOk);
  ExpectGolden("hold_set.json");
  EXPECT_EQ(Run({"payload",
                 "request",
                 "--tenant",
                 "acme",
                 "--rid",
                 kId,
                 "--basis",
                 "case-7",
                 "-o",
                 "json"}),
            ExitCode::kOk);
  ExpectGolden("payload_request.json");
  EXPECT_EQ(audit_.payload.rid(), kId);
}

TEST_F(AuditCalls, APayloadSaysWhoSawIt) {
  EXPECT_EQ(Run({"payload", "open", kId}), ExitCode::kOk) << err_.str();
  EXPECT_THAT(out_.str(), HasSubstr("shown to uid:1 at "));
  EXPECT_THAT(out_.str(), HasSubstr("-- prompt --\nthe prompt\n-- answer --\nthe answer\n"));
  EXPECT_THAT(out_.str(), HasSubstr("(bytes, in base64) /wA="));
  EXPECT_EQ(Run({"payload", "open", "other"}), ExitCode::kDenied);
}

// The bundle that tests/fuzz keeps, and the keys of tests/support/example_keys.h.
TEST_F(AuditCalls, ABundleNeedsNoDaemon) {
  const std::string bundle = INFERD_SOURCE_DIR "/tests/fuzz/corpus/evidence/chain.tar";
  const std::string key =
      "example.com/inferd-audit/n1+7788b1cb+AZsfhHkc/HZjBFhU04netcqVRJ2HXydqg4QLBgqznPxx";
  const std::string exporter =
      "auditor.example.com+402c8988+AcHan3+GIcfr9NzSwyu74b8mZ/vB9exn/5UDw3T0RpJ3";
  server_->Shutdown();
  EXPECT_EQ(Run({"audit",
                 "verify",
                 "--bundle",
                 bundle,
                 "--key",
                 key,
                 "--exporter",
                 exporter,
                 "-o",
                 "json"},
                false),
            ExitCode::kOk)
      << err_.str();
  ExpectGolden("audit_verify_bundle.json");
  EXPECT_EQ(Run({"audit", "verify", "--bundle", bundle, "--key", key, "--exporter", key}, false),
            ExitCode::kVerificationFailed);
  EXPECT_THAT(out_.str(), HasSubstr("DOES NOT VERIFY"));
  EXPECT_EQ(Run({"audit", "verify", "--bundle", bundle}, false), ExitCode::kUsage);
  EXPECT_EQ(Run({"audit", "verify", "--bundle", folder_ / "none", "--key", key}, false),
            ExitCode::kNotFound);
}

TEST_F(AuditCalls, ASignersKeyIsMadeOnce) {
  const std::string path = folder_ / "alice.key";
  EXPECT_EQ(Run({"keys", "signer", "--name", "alice", "--out", path}, false), ExitCode::kOk);
  EXPECT_THAT(out_.str(), ::testing::StartsWith("alice+"));
  EXPECT_NE(Run({"keys", "signer", "--name", "alice", "--out", path}, false), ExitCode::kOk);
  EXPECT_NE(Run({"keys", "signer", "--name", "a b", "--out", folder_ / "x"}, false), ExitCode::kOk);
}

}  // namespace
}  // namespace inferd
