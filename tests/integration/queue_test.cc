// Goal: an operator sees who uses the device and why a request waits, and a public prefix of the
// config is found by a request that begins with it.
// Method: the whole daemon in the test's process; the admin plane through its Unix socket.
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include <fstream>

#include "inferd/v1/queue.grpc.pb.h"
#include "tests/integration/test_daemon.h"

namespace inferd {
namespace {

std::unique_ptr<v1::QueueService::Stub> QueueOf(const TestDaemon& daemon) {
  return v1::QueueService::NewStub(grpc::CreateChannel(
      "unix:" + daemon.state_folder() + "/admin.sock", grpc::InsecureChannelCredentials()));
}

void WithAdmin(Config& config) {
  config.admin_address = "unix:" + config.state_directory + "/admin.sock";
}

TEST(Queue, SaysWhoUsesTheDeviceAndWhyARequestWaits) {
  TestDaemon daemon([](Config& config) {
    WithAdmin(config);
    config.scheduler.running_max = 1;
    config.scheduler.tenants = {{.name = "local", .weight = 5}, {.name = "absent", .weight = 2}};
  });
  daemon.device().set_step_time(std::chrono::milliseconds(2));
  const auto queue = QueueOf(daemon);
  grpc::ClientContext first;
  grpc::ClientContext second;
  v1::GenerateStreamRequest request = LongRequest(900);
  request.set_request_id("the-first");
  const auto running = daemon.generation().GenerateStream(&first, request);
  v1::GenerateStreamResponse message;
  ASSERT_TRUE(running->Read(&message));
  request.set_request_id("the-second");
  const auto waiting = daemon.generation().GenerateStream(&second, request);
  v1::ExplainQueueResponse why;
  ASSERT_TRUE(Eventually([&] {
    grpc::ClientContext context;
    v1::ExplainQueueRequest ask;
    ask.set_request_id("the-second");
    return queue->ExplainQueue(&context, ask, &why).ok();
  }));
  ASSERT_EQ(why.requests_size(), 1);
  EXPECT_EQ(why.requests(0).tenant(), "local");
  EXPECT_EQ(why.requests(0).model(), kTinyModel);
  ASSERT_EQ(why.requests(0).choices_size(), 1);
  EXPECT_EQ(why.requests(0).choices(0).reason(), v1::WAIT_REASON_MEMORY);
  EXPECT_EQ(why.requests(0).choices(0).position(), 0);  // the next one
  EXPECT_TRUE(why.requests(0).choices(0).has_starts_in());
  {
    grpc::ClientContext context;
    ASSERT_TRUE(queue->ExplainQueue(&context, {}, &why).ok());
    ASSERT_EQ(why.requests_size(), 2);
    EXPECT_EQ(why.requests(0).request_id(), "the-first");
    EXPECT_EQ(why.requests(0).choices(0).reason(), v1::WAIT_REASON_RUNNING);
  }
  grpc::ClientContext context;
  v1::GetLoadResponse load;
  ASSERT_TRUE(queue->GetLoad(&context, {}, &load).ok());
  ASSERT_EQ(load.tenants_size(), 2);
  EXPECT_EQ(load.tenants(0).tenant(), "absent");
  EXPECT_EQ(load.tenants(0).loads_size(), 0);
  EXPECT_EQ(load.tenants(1).weight(), 5);
  ASSERT_EQ(load.tenants(1).loads_size(), 1);
  EXPECT_EQ(load.tenants(1).loads(0).model(), kTinyModel);
  EXPECT_EQ(load.tenants(1).loads(0).running(), 1);
  EXPECT_EQ(load.tenants(1).loads(0).waiting(), 1);
  EXPECT_GT(load.tenants(1).loads(0).output_tokens(), 0u);
  ASSERT_EQ(load.models_size(), 1);
  EXPECT_GT(load.models(0).kv_tokens_max(), 0);
  first.TryCancel();
  second.TryCancel();
  running->Finish();
  waiting->Finish();
}

// On the serving plane: what a tenant may know.
TEST(Queue, ATenantSeesItsOwnRequestsAndNobodysLoad) {
  TestDaemon daemon([](Config& config) { config.scheduler.running_max = 1; });
  daemon.device().set_step_time(std::chrono::milliseconds(2));
  const auto queue = v1::QueueService::NewStub(daemon.channel());
  grpc::ClientContext first;
  grpc::ClientContext second;
  v1::GenerateStreamRequest request = LongRequest(900);
  const auto running = daemon.generation().GenerateStream(&first, request);
  v1::GenerateStreamResponse message;
  ASSERT_TRUE(running->Read(&message));
  request.set_request_id("the-second");
  const auto waiting = daemon.generation().GenerateStream(&second, request);
  v1::ExplainQueueResponse why;
  ASSERT_TRUE(Eventually([&] {
    grpc::ClientContext context;
    v1::ExplainQueueRequest ask;
    ask.set_request_id("the-second");
    return queue->ExplainQueue(&context, ask, &why).ok() && why.requests_size() == 1;
  }));
  EXPECT_EQ(why.requests(0).tenant(), "local");
  ASSERT_EQ(why.requests(0).choices_size(), 1);
  EXPECT_EQ(why.requests(0).choices(0).reason(), v1::WAIT_REASON_MEMORY);
  EXPECT_EQ(why.requests(0).choices(0).ahead_size(), 0);
  EXPECT_EQ(why.requests(0).choices(0).blocks_available(), 0);  // it would tell of others
  grpc::ClientContext context;
  v1::GetLoadResponse load;
  EXPECT_EQ(queue->GetLoad(&context, {}, &load).error_code(), grpc::StatusCode::PERMISSION_DENIED);
  first.TryCancel();
  second.TryCancel();
  running->Finish();
  waiting->Finish();
}

TEST(Queue, RefusesUnknownRequestsAndOddLimits) {
  TestDaemon daemon(WithAdmin);
  const auto queue = QueueOf(daemon);
  v1::ExplainQueueResponse why;
  v1::ExplainQueueRequest ask;
  ask.set_request_id("nobody");
  grpc::ClientContext first;
  EXPECT_EQ(queue->ExplainQueue(&first, ask, &why).error_code(), grpc::StatusCode::NOT_FOUND);
  ask.set_limit(-1);
  grpc::ClientContext second;
  EXPECT_EQ(queue->ExplainQueue(&second, ask, &why).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
}

TEST(Queue, APublicPrefixOfTheConfigIsFound) {
  std::string text;
  for (int i = 0; i < 20; ++i) {
    text += "the rain in Spain stays mainly in the plain; ";
  }
  TestDaemon daemon([&text](Config& config) {
    const std::string path = config.state_directory + "/prefix.txt";
    std::ofstream(path) << text;
    config.public_tokens_max = 2048;
    config.public_prefixes = {{.model = kTinyModel, .kind = "text", .path = path}};
  });
  v1::GenerateStreamRequest request = LongRequest(4);
  request.set_text(text.substr(0, 600));
  const StreamResult result = Collect(daemon.generation(), request);
  ASSERT_TRUE(result.status.ok()) << result.status.error_message();
  EXPECT_GE(result.messages[0].started().cached_tokens(), 64);
}

}  // namespace
}  // namespace inferd
