// What gRPC adds to the time to first token: the same request through the whole daemon and straight
// into an engine, in alternating pairs, on a device whose steps take a fixed time.
#include <grpcpp/channel.h>
#include <grpcpp/create_channel.h>

#include <condition_variable>
#include <cstdio>
#include <memory>
#include <optional>
#include <vector>

#include "base/check.h"
#include "base/log.h"
#include "base/thread_annotations.h"
#include "bench/first_token.h"
#include "bench/statistics.h"
#include "daemon/daemon.h"
#include "engine/engine.h"
#include "inferd/v1/generation.grpc.pb.h"
#include "model/model_file.h"
#include "tests/support/fake_device.h"

namespace inferd {
namespace {

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

double InProcess(Engine& engine, const ResidentModel& model, FirstTokenSink& sink) {
  GenerationRequest request;
  request.model = model.slot;
  request.sampling.temperature = 0;
  request.stopping.max_tokens = kFirstTokenOutputTokens;
  request.stopping.ignore_eos = true;
  const TimePoint start = SystemClock().Now();
  request.arrival = start;
  auto prompt = model.tokenizer->Encode(kFirstTokenText, SpecialTokens::kAsText);
  request.prompt = std::make_shared<const std::vector<TokenId>>(*std::move(prompt));
  CHECK(engine.Submit(std::move(request)).ok());
  return Milliseconds(sink.WaitForEnd() - start);
}

void Run(int pairs, Duration step) {
  SetLogLevel(LogLevel::kError);
  const TempFolder folder;
  const std::string path = WriteFirstTokenModel(folder);

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

  const PairedSamples samples = MeasurePairs(
      pairs, [&] { return FirstTokenMs(*stub); }, [&] { return InProcess(engine, **model, sink); });
  for (const double difference : samples.differences) {
    std::printf("SAMPLE grpc.overhead_ttft_ms %.4f\n", difference);
  }
  std::printf("grpc: median %.3f ms through gRPC, %.3f ms in process\n",
              Median(samples.a),
              Median(samples.b));
  std::printf("RESULT grpc.overhead_ttft_ms %.3f ms\n", Median(samples.differences));
}

}  // namespace
}  // namespace inferd

int main(int argc, char** argv) {
  return inferd::FirstTokenMain(
      argc, argv, "Time to first token through gRPC less that in process.", inferd::Run);
}
