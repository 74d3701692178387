// Goal: replays are asked for one after another, and the report says what was found. Method: a
// daemon that knows four requests, at the other end of a socket.
#include "client/replay_commands.h"

#include <gmock/gmock.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "client/commands.h"
#include "inferd/v1/audit.grpc.pb.h"
#include "inferd/v1/replay.grpc.pb.h"
#include "tests/support/temp_folder.h"

namespace inferd {
namespace {

using testing::HasSubstr;

// rid "m": a match; "d": differs; "k": not kept; "o": outside the view; "x": damaged; "t": takes
// too long.
class FakeReplays final : public v1::ReplayService::Service {
 public:
  grpc::Status Replay(grpc::ServerContext*,
                      const v1::ReplayRequest* request,
                      v1::ReplayResponse* response) override {
    response->set_rid(request->rid());
    if (request->rid() == "o" || request->view_id() != "v") {
      return {grpc::StatusCode::PERMISSION_DENIED, "the view does not cover it"};
    }
    if (request->rid() == "x" || request->rid() == "t") {
      return {
          request->rid() == "x" ? grpc::StatusCode::DATA_LOSS : grpc::StatusCode::DEADLINE_EXCEEDED,
          "no answer"};
    }
    response->set_choices(1);
    response->set_tokens(12);
    if (request->rid() == "m") {
      response->set_result(v1::REPLAY_RESULT_MATCH);
    } else if (request->rid() == "d") {
      response->set_result(v1::REPLAY_RESULT_DIFFERS);
      response->set_first_diff_choice(0);
      response->set_first_diff_token(12);
    } else {
      response->set_result(v1::REPLAY_RESULT_NOT_KEPT);
      response->set_reason("the level was metadata");
    }
    return grpc::Status::OK;
  }
};

class FakeSearch final : public v1::AuditService::Service {
 public:
  grpc::Status SearchLeaves(grpc::ServerContext*,
                            const v1::SearchLeavesRequest* request,
                            v1::SearchLeavesResponse* response) override {
    asked = *request;
    for (const char* rid : rids) {
      response->add_rows()->set_rid(rid);
    }
    return grpc::Status::OK;
  }
  v1::SearchLeavesRequest asked;
  std::vector<const char*> rids = {"m", "k", "o", "m"};
};

class ReplayCommandsTest : public testing::Test {
 protected:
  ReplayCommandsTest() : address_("unix:" + (folder_ / "admin.sock")) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort(address_, grpc::InsecureServerCredentials());
    builder.RegisterService(&replays_);
    builder.RegisterService(&search_);
    server_ = builder.BuildAndStart();
  }
  ExitCode Run(std::vector<std::string> arguments) {
    out_.str("");
    err_.str("");
    arguments.insert(arguments.end(), {"--admin", address_});
    std::istringstream in;
    Terminal terminal{.in = in, .out = out_, .err = err_};
    return RunInferctl(arguments, terminal);
  }
  ExitCode RunAll() {
    return Run({"replay",
                "--all",
                "--view",
                "v",
                "--tenant",
                "acme",
                "--from",
                "2026-11-01",
                "--to",
                "2026-11-02",
                "--per-second-max",
                "0",
                "--json"});
  }

  TempFolder folder_;
  const std::string address_;
  FakeReplays replays_;
  FakeSearch search_;
  std::unique_ptr<grpc::Server> server_;
  std::ostringstream out_, err_;
};

TEST_F(ReplayCommandsTest, OneRequest) {
  EXPECT_EQ(Run({"replay", "m", "--view", "v"}), ExitCode::kOk) << err_.str();
  EXPECT_THAT(out_.str(), HasSubstr("match"));
  EXPECT_EQ(Run({"replay", "d", "--view", "v"}), ExitCode::kVerificationFailed);
  EXPECT_THAT(out_.str(), HasSubstr("0:12"));
  EXPECT_EQ(Run({"replay", "k", "--view", "v"}), ExitCode::kFailure);
  EXPECT_THAT(out_.str(), HasSubstr("the level was metadata"));
  EXPECT_EQ(Run({"replay", "m", "--view", "other"}), ExitCode::kDenied);
}

TEST_F(ReplayCommandsTest, AllOfATenantAndATime) {
  EXPECT_EQ(RunAll(), ExitCode::kOk) << err_.str();
  const auto report = nlohmann::json::parse(out_.str());
  EXPECT_EQ(report["replays"], 4);
  EXPECT_EQ(report["counts"], (nlohmann::json{{"match", 2}, {"not_kept", 1}, {"not_covered", 1}}));
  EXPECT_EQ(report["requests"][1]["reason"], "the level was metadata");
  EXPECT_EQ(search_.asked.filter().tenant(), "acme");
  EXPECT_EQ(search_.asked.filter().type(), "inference.completed");
  EXPECT_EQ(search_.asked.filter().to(), "2026-11-02");
  EXPECT_TRUE(search_.asked.oldest_first());
  // One that cannot be opened ends the run for itself alone.
  search_.rids = {"m", "x", "t", "m"};
  EXPECT_EQ(RunAll(), ExitCode::kVerificationFailed) << err_.str();
  const auto damaged = nlohmann::json::parse(out_.str());
  EXPECT_EQ(damaged["counts"], (nlohmann::json{{"match", 2}, {"damaged", 1}, {"timed_out", 1}}));
  search_.rids = {"m", "d"};
  EXPECT_EQ(RunAll(), ExitCode::kVerificationFailed);
}

TEST_F(ReplayCommandsTest, SaysWhatIsMissing) {
  EXPECT_EQ(Run({"replay", "--view", "v"}), ExitCode::kUsage);
  EXPECT_EQ(Run({"replay", "m"}), ExitCode::kUsage);
  EXPECT_EQ(Run({"replay", "--all", "--view", "v", "--tenant", "acme"}), ExitCode::kUsage);
  EXPECT_EQ(Run({"replay", "m", "--all", "--view", "v"}), ExitCode::kUsage);
}

}  // namespace
}  // namespace inferd
