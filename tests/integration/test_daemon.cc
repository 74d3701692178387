#include "tests/integration/test_daemon.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/impl/client_unary_call.h>

#include <thread>

#include "base/check.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "tests/support/random_model.h"

namespace inferd {
namespace {

template <typename Detail>
Detail DetailIn(const grpc::Status& status) {
  google::rpc::Status rich;
  Detail detail;
  if (rich.ParseFromString(status.error_details())) {
    for (const auto& any : rich.details()) {
      if (any.UnpackTo(&detail)) {
        return detail;
      }
    }
  }
  return {};
}

}  // namespace

TinyModelPath::TinyModelPath(const std::string& family) {
  RandomModelSpec spec = TinyModel(family, 7, QuantFormat::kF32);
  spec.context = static_cast<int32_t>(kTinyContext);
  CHECK(WriteRandomModel(spec, path_).ok());
}

bool AuditInTests() {
  const char* const choice = std::getenv("INFERD_TEST_AUDIT");
  return choice == nullptr || std::string_view(choice) != "off";
}

TestDaemon::TestDaemon(const std::function<void(Config&)>& change, const std::string& family)
    : model_(family) {
  Config config;
  config.data.address = "127.0.0.1:0";
  config.models.push_back({.name = kTinyModel, .path = model_.path(), .context_tokens_max = 0});
  config.kv_cache_bytes_max = 256 * FakeDevice::kUnitBytes;
  config.drain = {.delay = Duration(0), .timeout = std::chrono::seconds(20)};
  config.state_directory = state_.path();
  config.audit.mode = AuditInTests() ? "strict" : "off";
  config.audit.reserve_bytes = 0;
  config.audit.wait_max = std::chrono::seconds(30);  // slow disks under sanitizers
  if (change) {
    change(config);
  }
  auto device = std::make_unique<FakeDevice>();
  device_ = device.get();
  auto started = Daemon::Start(config, std::move(device));
  CHECK(started.ok());
  daemon_ = *std::move(started);
  CHECK(daemon_->LoadModels([](const std::string&) {}).ok());
  daemon_->Tick();
  channel_ = grpc::CreateChannel(daemon_->address(), grpc::InsecureChannelCredentials());
  generation_ = v1::GenerationService::NewStub(channel_);
  models_ = v1::ModelService::NewStub(channel_);
}

v1::GenerateStreamRequest LongRequest(int max_tokens) {
  v1::GenerateStreamRequest request;
  request.set_model(kTinyModel);
  request.set_text("the rain in Spain");
  request.mutable_sampling()->set_temperature(0);
  request.mutable_stopping()->set_max_tokens(max_tokens);
  request.mutable_stopping()->set_ignore_eos(true);
  request.mutable_output()->set_token_ids(true);
  request.mutable_output()->set_max_tokens_per_message(1);
  return request;
}

v1::GenerateRequest AsUnary(const v1::GenerateStreamRequest& request) {
  v1::GenerateRequest unary;
  CHECK(unary.ParseFromString(request.SerializeAsString()));
  return unary;
}

StreamResult Collect(v1::GenerationService::Stub& stub, const v1::GenerateStreamRequest& request) {
  grpc::ClientContext context;
  StreamResult result;
  const auto reader = stub.GenerateStream(&context, request);
  v1::GenerateStreamResponse message;
  while (reader->Read(&message)) {
    result.messages.push_back(message);
  }
  result.status = reader->Finish();
  for (const auto& [key, value] : context.GetServerTrailingMetadata()) {
    result.trailers.emplace(std::string(key.data(), key.size()),
                            std::string(value.data(), value.size()));
  }
  return result;
}

std::string ReasonIn(const grpc::Status& status) {
  return DetailIn<google::rpc::ErrorInfo>(status).reason();
}

std::string FieldIn(const grpc::Status& status) {
  const auto bad = DetailIn<google::rpc::BadRequest>(status);
  return bad.field_violations().empty() ? "" : bad.field_violations(0).field();
}

bool Eventually(const std::function<bool()>& condition) {
  for (int i = 0; i < 10'000; ++i) {
    if (condition()) {
      return true;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

grpc::Status CallRaw(const std::shared_ptr<grpc::Channel>& channel,
                     const char* method,
                     const std::string& request,
                     std::string* response) {
  grpc::ClientContext context;
  const grpc::internal::RpcMethod rpc(method, grpc::internal::RpcMethod::NORMAL_RPC);
  const grpc::Slice slice(request);
  const grpc::ByteBuffer in(&slice, 1);
  grpc::ByteBuffer out;
  const grpc::Status status = grpc::internal::BlockingUnaryCall<grpc::ByteBuffer, grpc::ByteBuffer>(
      channel.get(), rpc, &context, in, &out);
  if (status.ok() && response != nullptr) {
    grpc::Slice whole;
    CHECK(out.DumpToSingleSlice(&whole).ok());
    response->assign(whole.begin(), whole.end());
  }
  return status;
}

}  // namespace inferd
