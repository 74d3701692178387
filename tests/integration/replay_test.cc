// Goal: what was answered under load is computed again to the last token, whoever may ask, and each
// replay is on record; what cannot be replayed says why. Method: the whole daemon, requests of
// every kind at once in a KV pool that is too small for them, then a replay of each.
#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include <map>
#include <thread>

#include "daemon/replay_record.h"
#include "inferd/v1/audit.grpc.pb.h"
#include "inferd/v1/queue.grpc.pb.h"
#include "inferd/v1/replay.grpc.pb.h"
#include "tests/integration/test_daemon.h"
#include "tests/support/replay_load.h"

namespace inferd {
namespace {

using testing::HasSubstr;

constexpr int32_t kVocabulary = 300;  // of the tiny model at least

// A daemon at level full, and the admin plane of a view that covers all of tenant "local".
class ReplayTest : public testing::Test {
 protected:
  explicit ReplayTest(std::string level = "full")
      : daemon_([&](Config& config) {
          config.audit.mode = "strict";
          config.audit.level = level;
          config.kv_cache_bytes_max = 24 * FakeDevice::kUnitBytes;
          config.scheduler.step_tokens_max = 64;
          view_ = ApproveReplays(config.state_directory, "local");
          model_path_ = config.models.at(0).path;
        }),
        admin_(grpc::CreateChannel("unix:" + daemon_.state_folder() + "/admin.sock",
                                   grpc::InsecureChannelCredentials())),
        stub_(v1::ReplayService::NewStub(admin_)) {}

  grpc::Status Replay(const std::string& view,
                      const std::string& rid,
                      v1::ReplayResponse& response) {
    grpc::ClientContext context;
    v1::ReplayRequest request;
    request.set_view_id(view);
    request.set_rid(rid);
    return stub_->Replay(&context, request, &response);
  }
  v1::ReplayResponse Replay(const std::string& rid) {
    v1::ReplayResponse response;
    const grpc::Status status = Replay(view_, rid, response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }
  // Asks all, `width` at a time. The rid of each.
  std::vector<std::string> Serve(const std::vector<v1::GenerateStreamRequest>& requests,
                                 size_t width) {
    std::vector<std::string> rids(requests.size());
    std::vector<std::thread> callers;
    for (size_t first = 0; first < width; ++first) {
      callers.emplace_back([&, first] {
        for (size_t i = first; i < requests.size(); i += width) {
          const StreamResult result = Collect(daemon_.generation(), requests[i]);
          EXPECT_TRUE(result.status.ok()) << result.status.error_message();
          rids[i] = result.messages.at(0).started().audit().record_id();
        }
      });
    }
    for (std::thread& caller : callers) {
      caller.join();
    }
    return rids;
  }

  std::string view_, model_path_;
  TestDaemon daemon_;
  const std::shared_ptr<grpc::Channel> admin_;
  const std::unique_ptr<v1::ReplayService::Stub> stub_;
};

TEST_F(ReplayTest, MixedAnswersAreTheSameAgain) {
  const auto requests = MixedRequests({.model = kTinyModel,
                                       .seed = 5,
                                       .vocab_size = kVocabulary,
                                       .prompt_tokens_max = 300,
                                       .output_tokens_max = 60},
                                      40);
  const std::vector<std::string> rids = Serve(requests, 8);
  for (size_t i = 0; i < rids.size(); ++i) {
    const v1::ReplayResponse response = Replay(rids[i]);
    EXPECT_EQ(response.result(), v1::REPLAY_RESULT_MATCH)
        << i << ": " << response.reason() << " at " << response.first_diff_choice() << ':'
        << response.first_diff_token() << ' ' << requests[i].ShortDebugString();
    EXPECT_GT(response.tokens(), 0u);
    EXPECT_EQ(response.choices(), std::max(1, requests[i].sampling().n()));
    EXPECT_TRUE(response.has_audit());
  }
}

TEST_F(ReplayTest, WhatACallerLeftIsComparedAsFarAsItCame) {
  daemon_.device().set_step_time(std::chrono::milliseconds(2));
  grpc::ClientContext context;
  const auto reader = daemon_.generation().GenerateStream(&context, LongRequest(900));
  v1::GenerateStreamResponse message;
  std::string rid;
  for (int deltas = 0; deltas < 5 && reader->Read(&message);) {
    rid = message.has_started() ? message.started().audit().record_id() : rid;
    deltas += message.has_delta();
  }
  context.TryCancel();
  EXPECT_FALSE(reader->Finish().ok());
  v1::ReplayResponse response;
  EXPECT_TRUE(Eventually([&] {
    response = Replay(rid);
    return response.result() != v1::REPLAY_RESULT_NOT_KEPT;
  })) << response.reason();
  EXPECT_EQ(response.result(), v1::REPLAY_RESULT_PREFIX_MATCH) << response.reason();
  EXPECT_GE(response.tokens(), 5u);
}

TEST_F(ReplayTest, SaysWhyNot) {
  const std::vector<std::string> rids = Serve({LongRequest(5), LongRequest(60)}, 2);
  v1::ReplayResponse response;
  EXPECT_EQ(Replay("01JD0000000000000000000000", rids[0], response).error_code(),
            grpc::StatusCode::NOT_FOUND)
      << "no such view";
  EXPECT_EQ(Replay("01JD0000000000000000000000").result(), v1::REPLAY_RESULT_NOT_KEPT);
  EXPECT_EQ(Replay(rids[0]).result(), v1::REPLAY_RESULT_MATCH);
  const auto models = v1::ModelAdminService::NewStub(admin_);
  grpc::ClientContext context;
  v1::UnloadModelRequest unload;
  unload.set_model(kTinyModel);
  v1::UnloadModelResponse unloaded;
  const grpc::Status status = models->UnloadModel(&context, unload, &unloaded);
  ASSERT_TRUE(status.ok()) << status.error_message();
  response = Replay(rids[0]);
  EXPECT_EQ(response.result(), v1::REPLAY_RESULT_NOT_RESIDENT);
  EXPECT_THAT(response.reason(), HasSubstr("load that version"));
  // The same bytes, with less context than the second answer has: an end that comes too early would
  // look like a difference.
  grpc::ClientContext again;
  v1::LoadModelRequest load;
  load.set_model(kTinyModel);
  load.set_path(model_path_);
  load.set_context_tokens_max(64);
  v1::LoadModelResponse loaded;
  const grpc::Status reloaded = models->LoadModel(&again, load, &loaded);
  ASSERT_TRUE(reloaded.ok()) << reloaded.error_message();
  EXPECT_EQ(Replay(rids[0]).result(), v1::REPLAY_RESULT_MATCH);
  response = Replay(rids[1]);
  EXPECT_EQ(response.result(), v1::REPLAY_RESULT_NOT_RESIDENT);
  EXPECT_THAT(response.reason(), HasSubstr("with room for 64"));
}

class MetadataReplayTest : public ReplayTest {
 protected:
  MetadataReplayTest() : ReplayTest("metadata") {}
};

TEST_F(MetadataReplayTest, NamesTheLevel) {
  const std::vector<std::string> rids = Serve({LongRequest(5)}, 1);
  const v1::ReplayResponse response = Replay(rids[0]);
  EXPECT_EQ(response.result(), v1::REPLAY_RESULT_NOT_KEPT);
  EXPECT_THAT(response.reason(), HasSubstr("the level was metadata"));
  EXPECT_FALSE(response.has_audit()) << "nothing was opened";
}

// A comparison that could not fail would show nothing.
TEST(ReplayComparison, SeesEveryDifference) {
  v1::ReplayRecord record;
  for (int32_t choice = 0; choice < 2; ++choice) {
    v1::ReplayChoice* out = record.add_choices();
    for (int32_t token = 0; token < 4; ++token) {
      out->add_tokens(10 * choice + token);
    }
    out->set_finish(v1::FINISH_REASON_STOP);
  }
  const std::vector<AnsweredChoice> same = {
      {.tokens = {0, 1, 2, 3}, .finish = FinishReason::kStop},
      {.tokens = {10, 11, 12, 13}, .finish = FinishReason::kStop}};
  EXPECT_EQ(CompareReplay(record, same).result, v1::REPLAY_RESULT_MATCH);
  EXPECT_EQ(CompareReplay(record, same).tokens, 8u);
  const auto differs = [&](const std::function<void(std::vector<AnsweredChoice>&)>& change,
                           int32_t choice,
                           int32_t token) {
    std::vector<AnsweredChoice> again = same;
    change(again);
    const ReplayComparison found = CompareReplay(record, again);
    return found.result == v1::REPLAY_RESULT_DIFFERS && found.first_diff->choice == choice &&
           found.first_diff->token == token;
  };
  EXPECT_TRUE(differs([](auto& again) { again[1].tokens[2] = 7; }, 1, 2));
  EXPECT_TRUE(differs([](auto& again) { again[0].tokens.pop_back(); }, 0, 3));
  EXPECT_TRUE(differs([](auto& again) { again[0].tokens.push_back(4); }, 0, 4));
  EXPECT_TRUE(differs([](auto& again) { again[1].finish = FinishReason::kLength; }, 1, 4));
  EXPECT_TRUE(differs([](auto& again) { again.pop_back(); }, 1, 0));
  record.mutable_choices(1)->set_finish(v1::FINISH_REASON_UNSPECIFIED);
  std::vector<AnsweredChoice> longer = same;
  longer[1].tokens.push_back(14);
  EXPECT_EQ(CompareReplay(record, longer).result, v1::REPLAY_RESULT_PREFIX_MATCH);
  longer[1].tokens = {10, 11, 12};
  EXPECT_EQ(CompareReplay(record, longer).result, v1::REPLAY_RESULT_DIFFERS);
}

}  // namespace
}  // namespace inferd
