// What gRPC adds to the time to first token: the same request through the whole daemon and straight
// into an engine, in alternating pairs, on a device whose steps take a fixed time.
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "base/check.h"
#include "base/log.h"
#include "base/thread_annotations.h"
#include "daemon/daemon.h"
#include "engine/engine.h"
#include "inferd/v1/generation.grpc.pb.h"
#include "model/model_file.h"
#include "tests/support/fake_device.h"
#include "tests/support/random_model.h"

namespace inferd {
namespace {

constexpr char kText[] = "the rain in Spain stays mainly in the plain";
constexpr int kOutputTokens = 2;

// Tells when the first token of each request came.
class FirstTokenSink final : public EventSink {
 public:
  void Publish(std::vector<GenerationEvent>&& events) override {
    MutexLock lock(mutex_);
    for (const GenerationEvent& event : events) {
      if (!event.tokens.empty() && !first_.has_value()) {
        first_ = SystemClock().Now();
      }
      ended_ = ended_ || event.last;
    }
    ready_.notify_one();
  }
  // When the first token came, once the request has ended.
  TimePoint WaitForEnd() {
    MutexLock lock(mutex_);
    ready_.wait(lock.std_lock(), [this]() NO_THREAD_SAFETY_ANALYSIS { return ended_; });
    const TimePoint first = *first_;
    first_.reset();
    ended_ = false;
    return first;
  }

 private:
  Mutex mutex_;
  std::condition_variable ready_;
  std::optional<TimePoint> first_ GUARDED_BY(mutex_);
  bool ended_ GUARDED_BY(mutex_) = false;
};

double Milliseconds(Duration duration) { return static_cast<double>(duration.count()) / 1e6; }

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

double ThroughGrpc(v1::GenerationService::Stub& stub) {
  v1::GenerateStreamRequest request;
  request.set_model("tiny");
  request.set_text(kText);
  request.mutable_sampling()->set_temperature(0);
  request.mutable_stopping()->set_max_tokens(kOutputTokens);
  request.mutable_stopping()->set_ignore_eos(true);
  request.mutable_output()->set_token_ids(true);
  grpc::ClientContext context;
  const TimePoint start = SystemClock().Now();
  const auto reader = stub.GenerateStream(&context, request);
  v1::GenerateStreamResponse message;
  std::optional<TimePoint> first;
  while (reader->Read(&message)) {
    if (!message.has_started() && !first.has_value()) {
      first = SystemClock().Now();
    }
  }
  CHECK(reader->Finish().ok() && first.has_value());
  return Milliseconds(*first - start);
}

double InProcess(Engine& engine, const ResidentModel& model, FirstTokenSink& sink) {
  GenerationRequest request;
  request.model = model.slot;
  request.sampling.temperature = 0;
  request.stopping.max_tokens = kOutputTokens;
  request.stopping.ignore_eos = true;
  const TimePoint start = SystemClock().Now();
  request.arrival = start;
  auto prompt = model.tokenizer->Encode(kText, SpecialTokens::kAsText);
  request.prompt = std::make_shared<const std::vector<TokenId>>(*std::move(prompt));
  CHECK(engine.Submit(std::move(request)).ok());
  return Milliseconds(sink.WaitForEnd() - start);
}

void Run(int pairs, Duration step) {
  SetLogLevel(LogLevel::kError);
  const std::string path =
      (std::filesystem::temp_directory_path() / "inferd-grpc-overhead.gguf").string();
  CHECK(WriteRandomModel(TinyModel("llama", 7, QuantFormat::kF32), path).ok());

  Config config;
  config.data.address = "127.0.0.1:0";
  config.audit.mode = "off";  // audit_ttft_bench says what it costs
  config.models.push_back({.name = "tiny", .path = path, .context_tokens_max = 0});
  config.kv_cache_bytes_max = 64 * FakeDevice::kUnitBytes;
  auto served_device = std::make_unique<FakeDevice>();
  served_device->set_step_time(step);
  auto daemon = Daemon::Start(config, std::move(served_device));
  CHECK(daemon.ok());
  CHECK((*daemon)->LoadModels([](const std::string&) {}).ok());
  const auto stub = v1::GenerationService::NewStub(
      grpc::CreateChannel((*daemon)->address(), grpc::InsecureChannelCredentials()));

  FakeDevice device;
  device.set_step_time(step);
  FirstTokenSink sink;
  Engine engine(
      device, SystemClock(), sink, {.kv_bytes = config.kv_cache_bytes_max, .prefix_cache = false});
  const auto file = ModelFile::Open(path);
  CHECK(file.ok());
  const auto model = engine.LoadModel("tiny", Digest(), **file);
  CHECK(model.ok());
  engine.Start();
  std::filesystem::remove(path);

  constexpr int kWarmUp = 20;
  std::vector<double> differences, grpc_ms, direct_ms;
  for (int i = 0; i < pairs + kWarmUp; ++i) {
    // The order alternates too, so that neither is always the one after the other.
    double grpc_time = 0;
    double direct_time = 0;
    if (i % 2 == 0) {
      grpc_time = ThroughGrpc(*stub);
      direct_time = InProcess(engine, **model, sink);
    } else {
      direct_time = InProcess(engine, **model, sink);
      grpc_time = ThroughGrpc(*stub);
    }
    if (i >= kWarmUp) {
      grpc_ms.push_back(grpc_time);
      direct_ms.push_back(direct_time);
      differences.push_back(grpc_time - direct_time);
      std::printf("SAMPLE grpc.overhead_ttft_ms %.4f\n", differences.back());
    }
  }
  std::printf("grpc: median %.3f ms through gRPC, %.3f ms in process\n",
              Median(grpc_ms),
              Median(direct_ms));
  std::printf("RESULT grpc.overhead_ttft_ms %.3f ms\n", Median(differences));
}

}  // namespace
}  // namespace inferd

int main(int argc, char** argv) {
  CLI::App app("Time to first token through gRPC less that in process.");
  int pairs = 1000;
  int step_ms = 2;
  app.add_option("--pairs", pairs, "Alternating pairs")->capture_default_str();
  app.add_option("--step-ms", step_ms, "What a step of the device takes")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  std::printf("WORKLOAD %d alternating pairs, one stream, device steps of %d ms\n", pairs, step_ms);
  inferd::Run(pairs, std::chrono::milliseconds(step_ms));
  return 0;
}
