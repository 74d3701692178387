// Goal: whatever is asked wrongly is refused with its code, reason and field, before any message;
// nothing is left behind and the daemon serves on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "daemon/listen_address.h"
#include "tests/integration/http2_probe.h"
#include "tests/integration/test_daemon.h"

namespace inferd {
namespace {

using Change = std::function<void(v1::GenerateStreamRequest&)>;

struct BadRequest {
  const char* name;
  Change change;
  grpc::StatusCode code;
  const char* reason;
  const char* field;
};

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// A row for a field that is out of its bounds.
BadRequest Field(const char* field, Change change) {
  return {field, std::move(change), grpc::INVALID_ARGUMENT, "INVALID_FIELD", field};
}

std::vector<BadRequest> BadRequests() {
  using R = v1::GenerateStreamRequest;
  return {
      {"unknown model",
       [](R& r) { r.set_model("nobody"); },
       grpc::NOT_FOUND,
       "MODEL_NOT_FOUND",
       ""},
      {"no model", [](R& r) { r.clear_model(); }, grpc::NOT_FOUND, "MODEL_NOT_FOUND", ""},
      {"other digest",
       [](R& r) { r.set_model("tiny@sha256:" + std::string(64, '0')); },
       grpc::FAILED_PRECONDITION,
       "VERSION_PIN_MISMATCH",
       ""},
      {"other expected digest",
       [](R& r) { r.set_expected_digest("sha256:" + std::string(64, 'a')); },
       grpc::FAILED_PRECONDITION,
       "VERSION_PIN_MISMATCH",
       ""},
      {"prompt over the context",
       [](R& r) { r.mutable_token_ids()->mutable_ids()->Resize(kTinyContext, 5); },
       grpc::INVALID_ARGUMENT,
       "CONTEXT_LENGTH_EXCEEDED",
       ""},
      Field("model", [](R& r) { r.set_model("tiny@nonsense"); }),
      Field("expected_digest", [](R& r) { r.set_expected_digest("sha256:12"); }),
      Field("request_id", [](R& r) { r.set_request_id("two words"); }),
      Field("request_id", [](R& r) { r.set_request_id(std::string(129, 'x')); }),
      Field("prompt", [](R& r) { r.clear_prompt(); }),
      Field("prompt", [](R& r) { r.mutable_token_ids(); }),
      Field("token_ids", [](R& r) { r.mutable_token_ids()->add_ids(-1); }),
      Field("token_ids", [](R& r) { r.mutable_token_ids()->add_ids(1 << 30); }),
      Field("chat.messages", [](R& r) { r.mutable_chat(); }),
      Field("chat.messages.role", [](R& r) { r.mutable_chat()->add_messages(); }),
      Field("sampling.temperature", [](R& r) { r.mutable_sampling()->set_temperature(-1); }),
      Field("sampling.temperature", [](R& r) { r.mutable_sampling()->set_temperature(kNan); }),
      Field("sampling.temperature", [](R& r) { r.mutable_sampling()->set_temperature(kInfinity); }),
      Field("sampling.top_p", [](R& r) { r.mutable_sampling()->set_top_p(0); }),
      Field("sampling.top_p", [](R& r) { r.mutable_sampling()->set_top_p(1.5f); }),
      Field("sampling.top_k", [](R& r) { r.mutable_sampling()->set_top_k(-7); }),
      Field("sampling.min_p", [](R& r) { r.mutable_sampling()->set_min_p(2); }),
      Field("sampling.repetition_penalty",
            [](R& r) { r.mutable_sampling()->set_repetition_penalty(0); }),
      Field("sampling.presence_penalty",
            [](R& r) { r.mutable_sampling()->set_presence_penalty(-kInfinity); }),
      Field("sampling.frequency_penalty",
            [](R& r) { r.mutable_sampling()->set_frequency_penalty(3); }),
      Field("sampling.logprobs", [](R& r) { r.mutable_sampling()->set_logprobs(-1); }),
      Field("sampling.logprobs", [](R& r) { r.mutable_sampling()->set_logprobs(21); }),
      Field("sampling.n", [](R& r) { r.mutable_sampling()->set_n(0); }),
      Field("sampling.n", [](R& r) { r.mutable_sampling()->set_n(1'000'000); }),
      Field("sampling.logit_bias",
            [](R& r) { (*r.mutable_sampling()->mutable_logit_bias())[-5] = 1; }),
      Field("sampling.logit_bias",
            [](R& r) { (*r.mutable_sampling()->mutable_logit_bias())[5] = 1000; }),
      Field("stopping.max_tokens", [](R& r) { r.mutable_stopping()->set_max_tokens(0); }),
      Field("stopping.min_tokens", [](R& r) { r.mutable_stopping()->set_min_tokens(-1); }),
      Field("min_tokens", [](R& r) { r.mutable_stopping()->set_min_tokens(1 << 30); }),
      Field("stopping.stop", [](R& r) { r.mutable_stopping()->add_stop(""); }),
      Field("stopping.stop", [](R& r) { r.mutable_stopping()->add_stop(std::string(257, 'x')); }),
      Field("stopping.stop",
            [](R& r) {
              for (int i = 0; i < 17; ++i) {
                r.mutable_stopping()->add_stop("x");
              }
            }),
      Field("stopping.stop_token_ids",
            [](R& r) { r.mutable_stopping()->add_stop_token_ids(99999); }),
      Field("stopping.stop_token_ids",
            [](R& r) { r.mutable_stopping()->mutable_stop_token_ids()->Resize(65, 1); }),
      Field("output.max_tokens_per_message",
            [](R& r) { r.mutable_output()->set_max_tokens_per_message(0); }),
      Field("output.max_delay",
            [](R& r) { r.mutable_output()->mutable_max_delay()->set_seconds(INT64_MAX); }),
      Field("output.max_delay",
            [](R& r) { r.mutable_output()->mutable_max_delay()->set_nanos(-1); }),
  };
}

TEST(BadRequests, AreRefusedWithCodeReasonAndFieldBeforeAnyMessage) {
  TestDaemon test;
  for (const BadRequest& bad : BadRequests()) {
    SCOPED_TRACE(bad.name);
    v1::GenerateStreamRequest request = LongRequest(5);
    bad.change(request);
    const StreamResult result = Collect(test.generation(), request);
    EXPECT_EQ(result.status.error_code(), bad.code) << result.status.error_message();
    EXPECT_EQ(ReasonIn(result.status), bad.reason);
    EXPECT_EQ(FieldIn(result.status), bad.field);
    EXPECT_TRUE(result.messages.empty());
    grpc::ClientContext context;
    v1::GenerateResponse response;
    const grpc::Status unary = test.generation().Generate(&context, AsUnary(request), &response);
    EXPECT_EQ(unary.error_code(), bad.code);
    EXPECT_EQ(unary.error_message(), result.status.error_message());
  }
  EXPECT_EQ(test.daemon().generations_in_flight(), 0u);
  EXPECT_EQ(test.daemon().stats().kv_blocks_used, 0);
  EXPECT_TRUE(Collect(test.generation(), LongRequest(5)).status.ok());
}

TEST(BadRequests, TextThatIsNotUtf8IsRefused) {
  TestDaemon test;
  // model = "tiny", text = 0xff, each by the numbers of its message.
  const std::pair<const char*, std::string> calls[] = {
      {"/inferd.v1.GenerationService/Generate", "\x12\x04tiny\x1a\x01\xff"},
      {"/inferd.v1.GenerationService/Tokenize", "\x0a\x04tiny\x12\x01\xff"},
  };
  for (const auto& [method, bytes] : calls) {
    const grpc::Status status = CallRaw(test.channel(), method, bytes, nullptr);
    EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT) << method;
    EXPECT_EQ(ReasonIn(status), "INVALID_FIELD");
    EXPECT_EQ(status.error_message(),
              "the message does not parse: it is malformed, or a string is not valid UTF-8");
  }
  EXPECT_TRUE(Collect(test.generation(), LongRequest(5)).status.ok());
}

TEST(BadRequests, ARequestIdInFlightIsTaken) {
  TestDaemon test;
  test.device().set_step_time(std::chrono::milliseconds(10));
  v1::GenerateStreamRequest request = LongRequest(900);
  request.set_request_id("same");
  grpc::ClientContext context;
  const auto reader = test.generation().GenerateStream(&context, request);
  v1::GenerateStreamResponse message;
  ASSERT_TRUE(reader->Read(&message));
  const StreamResult second = Collect(test.generation(), request);
  EXPECT_EQ(second.status.error_code(), grpc::ALREADY_EXISTS);
  EXPECT_EQ(ReasonIn(second.status), "DUPLICATE_REQUEST_ID");
  context.TryCancel();
  reader->Finish();
  ASSERT_TRUE(Eventually([&] { return test.daemon().generations_in_flight() == 0; }));
  request.mutable_stopping()->set_max_tokens(3);
  EXPECT_TRUE(Collect(test.generation(), request).status.ok());
}

TEST(BadRequests, MoreGenerationsThanTheMaximumAreTurnedAway) {
  TestDaemon test([](Config& config) { config.requests.in_flight_max = 1; });
  test.device().set_step_time(std::chrono::milliseconds(10));
  grpc::ClientContext context;
  const auto reader = test.generation().GenerateStream(&context, LongRequest(900));
  v1::GenerateStreamResponse message;
  ASSERT_TRUE(reader->Read(&message));
  grpc::ClientContext second_context;
  v1::GenerateResponse response;
  const grpc::Status second =
      test.generation().Generate(&second_context, AsUnary(LongRequest(5)), &response);
  EXPECT_EQ(second.error_code(), grpc::UNAVAILABLE);
  EXPECT_EQ(ReasonIn(second), "QUEUE_FULL");
  const auto& trailers = second_context.GetServerTrailingMetadata();
  ASSERT_EQ(trailers.count("grpc-retry-pushback-ms"), 1u);
  EXPECT_EQ(trailers.find("grpc-retry-pushback-ms")->second, "500");
}

// A refusal is one HEADERS frame that ends the stream: proxies can then retry it.
TEST(BadRequests, RefusalsAreTrailersOnly) {
  TestDaemon test;
  const std::string& address = test.daemon().address();
  const int port = ParseListenAddress(address)->port;
  v1::GenerateStreamRequest request = LongRequest(2);
  const std::string stream = "/inferd.v1.GenerationService/GenerateStream";
  const std::string unary = "/inferd.v1.GenerationService/Generate";
  EXPECT_GT(ProbeCall(port, stream, request.SerializeAsString()).size(), 2u);
  request.set_model("nobody");
  for (const std::string& path : {stream, unary}) {
    const std::vector<Http2Frame> frames = ProbeCall(port, path, request.SerializeAsString());
    ASSERT_EQ(frames.size(), 1u) << path;
    EXPECT_EQ(frames[0].type, kHttp2Headers);
    EXPECT_NE(frames[0].flags & kHttp2EndStream, 0);
  }
}

TEST(BadRequests, ADeviceThatFailsEndsItsCallsAndTheDaemonStaysUp) {
  TestDaemon test;
  test.device().FailAfter(3);
  const StreamResult result = Collect(test.generation(), LongRequest(50));
  EXPECT_EQ(result.status.error_code(), grpc::UNAVAILABLE);
  EXPECT_EQ(ReasonIn(result.status), "DEVICE_LOST");
  const StreamResult later = Collect(test.generation(), LongRequest(5));
  EXPECT_EQ(ReasonIn(later.status), "DEVICE_LOST");
  v1::ListModelsResponse list;
  grpc::ClientContext context;
  EXPECT_TRUE(test.models().ListModels(&context, {}, &list).ok());
}

}  // namespace
}  // namespace inferd
