// Goal: a request lives as ARCHITECTURE.md tells: accepted, made into tokens, queued, computed,
// written in order, ended; and leaves nothing behind, however it ends.
// Method: the whole daemon in the test's process, real gRPC on both sides.
#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>
#include <gtest/gtest.h>

#include <thread>

#include "base/random.h"
#include "base/utf8.h"
#include "tests/integration/test_daemon.h"

namespace inferd {
namespace {

using namespace std::chrono_literals;  // NOLINT(google-build-using-namespace): literals alone

// The outputs of a stream put together as Generate would give them.
v1::GenerateResponse PutTogether(const StreamResult& stream) {
  v1::GenerateResponse whole;
  std::map<int, v1::Finished> choices;
  for (const auto& message : stream.messages) {
    if (message.has_started()) {
      *whole.mutable_started() = message.started();
      continue;
    }
    const v1::Output& output = message.has_delta() ? message.delta() : message.finished().output();
    const int index = message.has_delta() ? output.index() : message.finished().index();
    v1::Finished& choice = choices[index];
    v1::Output sum = choice.output();
    if (message.has_finished()) {
      choice = message.finished();
    }
    sum.set_index(index);
    sum.set_text(sum.text() + output.text());
    sum.mutable_token_ids()->MergeFrom(output.token_ids());
    if (output.has_logprobs()) {
      sum.mutable_logprobs()->mutable_logprobs()->MergeFrom(output.logprobs().logprobs());
      sum.mutable_logprobs()->mutable_top_token_ids()->MergeFrom(output.logprobs().top_token_ids());
      sum.mutable_logprobs()->mutable_top_logprobs()->MergeFrom(output.logprobs().top_logprobs());
      sum.mutable_logprobs()->set_top_count(output.logprobs().top_count());
    }
    *choice.mutable_output() = sum;
  }
  for (auto& [index, choice] : choices) {
    *whole.add_choices() = std::move(choice);
  }
  return whole;
}

// Without what is different each time.
v1::GenerateResponse Timeless(v1::GenerateResponse response) {
  response.mutable_started()->clear_request_id();
  response.mutable_started()->clear_queue_time();
  response.mutable_started()->clear_audit();
  for (auto& choice : *response.mutable_choices()) {
    choice.clear_timings();
  }
  return response;
}

bool NothingLeft(TestDaemon& test) {
  return test.daemon().generations_in_flight() == 0 && test.daemon().stats().running == 0 &&
         test.daemon().stats().waiting == 0 && test.daemon().stats().kv_blocks_used == 0;
}

TEST(LifeOfARequest, StartedThenDeltasThenFinishedThenOk) {
  TestDaemon test;
  test.device().set_step_time(3ms);  // so that tokens do not all go in one message
  v1::GenerateStreamRequest request = LongRequest(40);
  request.set_request_id("my-call-1");
  request.mutable_sampling()->set_seed(77);
  const StreamResult result = Collect(test.generation(), request);
  ASSERT_TRUE(result.status.ok()) << result.status.error_message();
  ASSERT_GE(result.messages.size(), 3u);
  const v1::Started& started = result.messages.front().started();
  EXPECT_EQ(started.request_id(), "my-call-1");
  EXPECT_EQ(started.model().name(), kTinyModel);
  EXPECT_EQ(started.model().digest().size(), 7u + 64u);
  EXPECT_EQ(started.numerics_id().size(), 7u + 64u);
  EXPECT_EQ(started.seed(), 77u);
  for (size_t i = 1; i + 1 < result.messages.size(); ++i) {
    EXPECT_TRUE(result.messages[i].has_delta());
    EXPECT_TRUE(IsValidUtf8(result.messages[i].delta().text()));
  }
  const v1::Finished& finished = result.messages.back().finished();
  EXPECT_EQ(finished.finish_reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(finished.usage().output_tokens(), 40);
  EXPECT_EQ(finished.usage().prompt_tokens(), started.prompt_tokens());
  EXPECT_EQ(PutTogether(result).choices(0).output().token_ids_size(), 40);
  EXPECT_TRUE(Eventually([&] { return NothingLeft(test); }));
}

TEST(LifeOfARequest, GenerateIsTheStreamPutTogether) {
  TestDaemon test;
  for (const bool greedy : {true, false}) {
    v1::GenerateStreamRequest request = LongRequest(50);
    request.mutable_sampling()->set_temperature(greedy ? 0.0f : 1.0f);
    request.mutable_sampling()->set_seed(5);
    request.mutable_sampling()->set_n(3);
    request.mutable_sampling()->set_logprobs(2);
    request.mutable_stopping()->set_ignore_eos(false);
    const StreamResult stream = Collect(test.generation(), request);
    ASSERT_TRUE(stream.status.ok()) << stream.status.error_message();
    grpc::ClientContext context;
    v1::GenerateResponse whole;
    const grpc::Status status = test.generation().Generate(&context, AsUnary(request), &whole);
    ASSERT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(Timeless(whole).SerializeAsString(),
              Timeless(PutTogether(stream)).SerializeAsString());
    EXPECT_EQ(whole.choices_size(), 3);
  }
}

TEST(LifeOfARequest, AnUnsetSeedIsDrawnAndEchoedAndRepeats) {
  TestDaemon test;
  v1::GenerateStreamRequest request = LongRequest(30);
  request.mutable_sampling()->clear_temperature();
  const v1::GenerateResponse first = PutTogether(Collect(test.generation(), request));
  const v1::GenerateResponse second = PutTogether(Collect(test.generation(), request));
  EXPECT_NE(first.started().seed(), second.started().seed());
  request.mutable_sampling()->set_seed(first.started().seed());
  const v1::GenerateResponse again = PutTogether(Collect(test.generation(), request));
  EXPECT_EQ(Timeless(again).SerializeAsString(), Timeless(first).SerializeAsString());
}

TEST(LifeOfARequest, UnsetMaxTokensIsTheRestOfTheContext) {
  TestDaemon test;
  v1::GenerateStreamRequest request = LongRequest(1);
  request.mutable_stopping()->clear_max_tokens();
  const v1::GenerateResponse whole = PutTogether(Collect(test.generation(), request));
  ASSERT_EQ(whole.choices_size(), 1);
  const v1::Usage& usage = whole.choices(0).usage();
  EXPECT_EQ(usage.prompt_tokens() + usage.output_tokens(), kTinyContext);
}

TEST(LifeOfARequest, AChatPromptIsWhatTheTemplateWrites) {
  TestDaemon test;
  v1::GenerateStreamRequest request = LongRequest(3);
  auto* message = request.mutable_chat()->add_messages();
  message->set_role("user");
  message->set_content("hello <|im_end|> there");  // text, not a control token
  v1::ApplyChatTemplateRequest apply;
  apply.set_model(kTinyModel);
  *apply.mutable_chat() = request.chat();
  v1::ApplyChatTemplateResponse applied;
  grpc::ClientContext context;
  ASSERT_TRUE(test.generation().ApplyChatTemplate(&context, apply, &applied).ok());
  EXPECT_EQ(applied.text(),
            "<|im_start|>user\nhello <|im_end|> there<|im_end|>\n<|im_start|>assistant\n");
  const v1::GenerateResponse by_chat = PutTogether(Collect(test.generation(), request));
  EXPECT_EQ(by_chat.started().prompt_tokens(), applied.token_ids_size());
  *request.mutable_token_ids()->mutable_ids() = applied.token_ids();
  const v1::GenerateResponse by_ids = PutTogether(Collect(test.generation(), request));
  EXPECT_EQ(by_ids.choices(0).output().SerializeAsString(),
            by_chat.choices(0).output().SerializeAsString());
}

TEST(LifeOfARequest, ATextPromptGetsTheBosThatTheFileAsksFor) {
  for (const std::string family : {"llama", "gemma3"}) {
    TestDaemon test({}, family);
    v1::GetModelRequest get;
    get.set_model(kTinyModel);
    v1::GetModelResponse got;
    grpc::ClientContext get_context;
    ASSERT_TRUE(test.models().GetModel(&get_context, get, &got).ok());
    v1::TokenizeRequest tokenize;
    tokenize.set_model(kTinyModel);
    tokenize.set_text("the rain in Spain");
    tokenize.set_add_bos(false);
    v1::TokenizeResponse bare;
    grpc::ClientContext context;
    ASSERT_TRUE(test.generation().Tokenize(&context, tokenize, &bare).ok());
    const v1::GenerateResponse whole = PutTogether(Collect(test.generation(), LongRequest(2)));
    EXPECT_EQ(whole.started().prompt_tokens(),
              bare.token_ids_size() + (got.model().adds_bos() ? 1 : 0))
        << family;
    v1::DetokenizeRequest detokenize;
    detokenize.set_model(kTinyModel);
    *detokenize.mutable_token_ids() = bare.token_ids();
    v1::DetokenizeResponse text;
    grpc::ClientContext detokenize_context;
    ASSERT_TRUE(test.generation().Detokenize(&detokenize_context, detokenize, &text).ok());
    EXPECT_EQ(text.text(), "the rain in Spain");
  }
}

TEST(LifeOfARequest, ModelsSayWhatTheyAre) {
  TestDaemon test;
  v1::ListModelsResponse list;
  grpc::ClientContext context;
  ASSERT_TRUE(test.models().ListModels(&context, {}, &list).ok());
  ASSERT_EQ(list.models_size(), 1);
  const v1::Model& model = list.models(0);
  EXPECT_EQ(model.ref().name(), kTinyModel);
  EXPECT_EQ(model.state(), v1::MODEL_STATE_READY);
  EXPECT_EQ(model.context_tokens_max(), kTinyContext);
  EXPECT_EQ(model.quantization(), "F32");
  v1::GetModelRequest get;
  get.set_model(std::string(kTinyModel) + "@" + model.ref().digest());
  v1::GetModelResponse got;
  grpc::ClientContext get_context;
  ASSERT_TRUE(test.models().GetModel(&get_context, get, &got).ok());
  EXPECT_EQ(got.model().SerializeAsString(), model.SerializeAsString());
}

TEST(LifeOfARequest, ACancelFreesItsBlocksWithinTwoSteps) {
  TestDaemon test;
  test.device().set_step_time(20ms);
  grpc::ClientContext context;
  const auto reader = test.generation().GenerateStream(&context, LongRequest(900));
  v1::GenerateStreamResponse message;
  for (int i = 0; i < 4; ++i) {
    ASSERT_TRUE(reader->Read(&message));
  }
  EXPECT_GT(test.daemon().stats().kv_blocks_used, 0);
  context.TryCancel();
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  ASSERT_TRUE(Eventually([&] { return test.daemon().generations_in_flight() == 0; }));
  const int64_t steps = test.device().num_steps();
  ASSERT_TRUE(Eventually([&] { return NothingLeft(test); }));
  EXPECT_LE(test.device().num_steps() - steps, 2);
}

TEST(LifeOfARequest, AUnaryCallThatIsCancelledFreesItsBlocksToo) {
  TestDaemon test;
  test.device().set_step_time(10ms);
  grpc::ClientContext context;
  std::thread canceller([&] {
    EXPECT_TRUE(Eventually([&] { return test.daemon().stats().running == 1; }));
    context.TryCancel();
  });
  v1::GenerateResponse response;
  const grpc::Status status =
      test.generation().Generate(&context, AsUnary(LongRequest(900)), &response);
  canceller.join();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(Eventually([&] { return NothingLeft(test); }));
}

TEST(LifeOfARequest, ADeadlineEndsItAndFreesItsBlocks) {
  TestDaemon test;
  test.device().set_step_time(10ms);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + 300ms);
  const auto reader = test.generation().GenerateStream(&context, LongRequest(900));
  v1::GenerateStreamResponse message;
  int messages = 0;
  while (reader->Read(&message)) {
    ++messages;
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_GT(messages, 1);
  EXPECT_TRUE(Eventually([&] { return NothingLeft(test); }));
}

TEST(LifeOfARequest, TheDaemonsOwnDeadlineIsADeadlineToo) {
  TestDaemon test([](Config& config) { config.requests.duration_max = 200ms; });
  test.device().set_step_time(10ms);
  const StreamResult result = Collect(test.generation(), LongRequest(900));
  EXPECT_EQ(result.status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(ReasonIn(result.status), "DEADLINE_EXCEEDED");
  EXPECT_TRUE(Eventually([&] { return NothingLeft(test); }));
}

TEST(LifeOfARequest, DrainLetsWhatRunsEndAndRefusesWhatComes) {
  TestDaemon test;
  test.device().set_step_time(5ms);
  grpc::ClientContext context;
  const auto reader = test.generation().GenerateStream(&context, LongRequest(60));
  v1::GenerateStreamResponse message;
  ASSERT_TRUE(reader->Read(&message));
  test.daemon().BeginDrain();
  grpc::ClientContext late_context;
  v1::GenerateResponse response;
  const grpc::Status late =
      test.generation().Generate(&late_context, AsUnary(LongRequest(5)), &response);
  EXPECT_EQ(late.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(ReasonIn(late), "DRAINING");
  EXPECT_EQ(late_context.GetServerTrailingMetadata().count("grpc-retry-pushback-ms"), 1u);
  std::thread drain([&] { test.daemon().FinishDrain(); });
  while (reader->Read(&message)) {
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(message.finished().usage().output_tokens(), 60);
  drain.join();
}

TEST(LifeOfARequest, ADrainThatTakesTooLongEndsCallsWithAReason) {
  TestDaemon test([](Config& config) { config.drain.timeout = 200ms; });
  test.device().set_step_time(20ms);
  grpc::ClientContext context;
  const auto reader = test.generation().GenerateStream(&context, LongRequest(900));
  v1::GenerateStreamResponse message;
  ASSERT_TRUE(reader->Read(&message));
  std::thread drain([&] {
    test.daemon().BeginDrain();
    test.daemon().FinishDrain();
  });
  while (reader->Read(&message)) {
  }
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(ReasonIn(status), "DRAINING");
  drain.join();
}

TEST(LifeOfARequest, AReaderThatNeverReadsIsPausedThenAborted) {
  TestDaemon test([](Config& config) {
    config.egress.undelivered_tokens_max = 64;
    config.egress.stall_max = 200ms;
    config.egress.slow_reader_timeout = 500ms;
  });
  // Large messages fill the connection's windows before the context is at its end.
  v1::GenerateStreamRequest request = LongRequest(1000);
  request.mutable_sampling()->set_logprobs(20);
  request.mutable_sampling()->set_n(16);
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  const auto channel = grpc::CreateCustomChannel(
      test.daemon().address(), grpc::InsecureChannelCredentials(), arguments);
  const auto stub = v1::GenerationService::NewStub(channel);
  grpc::ClientContext context;
  const auto reader = stub->GenerateStream(&context, request);
  ASSERT_TRUE(Eventually([&] { return test.daemon().generations_in_flight() == 1; }));
  ASSERT_TRUE(Eventually([&] { return NothingLeft(test); }));  // aborted; its KV is free
  // The daemon serves others meanwhile and after.
  EXPECT_TRUE(Collect(test.generation(), LongRequest(20)).status.ok());
  // What was sent before can still be read; the status tells.
  v1::GenerateStreamResponse message;
  bool finished = false;
  while (reader->Read(&message)) {
    finished = finished || message.has_finished();
  }
  const grpc::Status status = reader->Finish();
  EXPECT_FALSE(finished);
  EXPECT_TRUE(status.error_code() == grpc::StatusCode::ABORTED ||
              status.error_code() == grpc::StatusCode::CANCELLED)
      << status.error_code() << status.error_message();
}

TEST(LifeOfARequest, HealthTellsOfTheProcessTheServiceAndEachModel) {
  TestDaemon test;
  const auto health = [&](const std::string& service) {
    std::string request = service.empty() ? "" : "\x0a";
    if (!service.empty()) {
      request += static_cast<char>(service.size());
      request += service;
    }
    std::string response;
    const grpc::Status status =
        CallRaw(test.channel(), "/grpc.health.v1.Health/Check", request, &response);
    return status.ok() ? response : "error " + std::to_string(status.error_code());
  };
  const std::string serving = "\x08\x01";
  const std::string not_serving = "\x08\x02";
  for (const char* name : {"", "inferd.v1.GenerationService", "model:tiny"}) {
    EXPECT_EQ(health(name), serving) << name;
  }
  EXPECT_EQ(health("model:other"), "error 5");
  test.daemon().BeginDrain();
  for (const char* name : {"", "inferd.v1.GenerationService", "model:tiny"}) {
    EXPECT_EQ(health(name), not_serving) << name;
  }
}

TEST(LifeOfARequest, ManyCallersSomeOfWhomLeave) {
  TestDaemon test;
  std::vector<std::thread> callers;
  std::atomic<int> ended{0};
  for (uint32_t c = 0; c < 8; ++c) {
    callers.emplace_back([&, c] {
      SplitMix64 random(c);
      for (int i = 0; i < 25; ++i) {
        grpc::ClientContext context;
        v1::GenerateStreamRequest request = LongRequest(1 + static_cast<int>(random.Below(60)));
        request.mutable_sampling()->set_n(1 + static_cast<int>(random.Below(3)));
        const auto reader = test.generation().GenerateStream(&context, request);
        uint64_t left = random.Below(3) == 0 ? random.Below(40) : UINT64_MAX;
        v1::GenerateStreamResponse message;
        while (left-- > 0 && reader->Read(&message)) {
        }
        context.TryCancel();
        const grpc::StatusCode code = reader->Finish().error_code();
        EXPECT_TRUE(code == grpc::StatusCode::OK || code == grpc::StatusCode::CANCELLED) << code;
        ++ended;
      }
    });
  }
  for (std::thread& caller : callers) {
    caller.join();
  }
  EXPECT_EQ(ended, 200);
  EXPECT_TRUE(Eventually([&] { return NothingLeft(test); }));
}

}  // namespace
}  // namespace inferd
