// What a step costs the engine's thread to hand its tokens over: 256 streams over real gRPC in one
// process, one token each every 10 ms, and the time that Publish takes on the publishing thread.
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/impl/service_type.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <memory>
#include <thread>
#include <vector>

#include "base/check.h"
#include "base/file_system.h"
#include "base/thread_annotations.h"
#include "daemon/egress_thread.h"
#include "daemon/generation_service.h"
#include "daemon/grpc_server.h"
#include "daemon/request_governor.h"
#include "inferd/v1/generation.grpc.pb.h"
#include "tests/support/temp_folder.h"

namespace inferd {
namespace {

constexpr Duration kPace = std::chrono::milliseconds(10);

// Takes requests and remembers their streams; the bench publishes for them.
class PacedBackend final : public GenerationBackend {
 public:
  StatusOr<StreamHandle> Submit(GenerationRequest /*request*/) override {
    MutexLock lock(mutex_);
    streams_.push_back(streams_.size() + 1);
    return streams_.back();
  }
  void Cancel(StreamHandle /*stream*/) override {}
  void Pause(StreamHandle /*stream*/) override { ++pauses; }
  void Resume(StreamHandle /*stream*/) override {}
  EngineStats stats() const override { return {}; }
  std::vector<StreamHandle> streams() {
    MutexLock lock(mutex_);
    return streams_;
  }

  std::atomic<int> pauses{0};

 private:
  Mutex mutex_;
  std::vector<StreamHandle> streams_ GUARDED_BY(mutex_);
};

// Reads one stream to its end, on gRPC's threads.
class Reader final : public grpc::ClientReadReactor<v1::GenerateStreamResponse> {
 public:
  Reader(v1::GenerationService::Stub& stub,
         const v1::GenerateStreamRequest& request,
         std::atomic<int>& open)
      : open_(open) {
    stub.async()->GenerateStream(&context_, &request, this);
    StartRead(&message_);
    StartCall();
  }
  int64_t tokens() const { return tokens_; }

 private:
  void OnReadDone(bool ok) override {
    if (!ok) {
      return;
    }
    tokens_ += message_.delta().token_ids_size() + message_.finished().output().token_ids_size();
    StartRead(&message_);
  }
  void OnDone(const grpc::Status& status) override {
    CHECK(status.ok());
    --open_;
  }

  std::atomic<int>& open_;
  grpc::ClientContext context_;
  v1::GenerateStreamResponse message_;
  int64_t tokens_ = 0;
};

std::vector<GenerationEvent> Batch(const std::vector<StreamHandle>& streams,
                                   GenerationEvent::Kind kind) {
  std::vector<GenerationEvent> events(streams.size());
  for (size_t i = 0; i < streams.size(); ++i) {
    events[i].stream = streams[i];
    events[i].kind = kind;
    if (kind != GenerationEvent::Kind::kStarted) {
      events[i].text = " token";
      events[i].tokens = {42};
    }
    events[i].last = kind == GenerationEvent::Kind::kFinished;
  }
  return events;
}

void Run(int num_streams, int num_steps) {
  const Clock& clock = SystemClock();
  PacedBackend backend;
  ModelDirectory models;
  ModelContents contents{.files = {{"paced.gguf", 1}}, .resources = {{"paced.gguf:0:1", {}}}};
  contents.root = RootDigest(contents.resources);
  const TempFolder folder;
  const auto approved =
      ModelRegistry::Open({.files = SystemFiles(),
                           .clock = clock,
                           .folder = folder / "registry",
                           .record = [](const RegistryChange&) { return OkStatus(); }});
  CHECK(approved.ok() && (*approved)->StartWith("bench", "paced", "1", contents, "").ok());
  SessionVersions sessions(clock, {});
  const ModelResolver resolver(
      **approved, sessions, models, [](const TenantId&) { return TenantModels(); });
  auto model = std::make_shared<ResidentModel>();
  model->name = "paced";
  model->version = "1";
  model->digest = contents.root;
  model->config.vocab_size = 100;
  model->config.context_tokens_max = model->kv_tokens_max = 1 << 20;
  models.SetReady("none", model);
  StreamRegistry registry(static_cast<size_t>(num_streams));
  EgressThread egress(registry,
                      nullptr,
                      clock,
                      {.undelivered_tokens_max = 1024,
                       .stall_max = std::chrono::seconds(10),
                       .slow_reader_timeout = std::chrono::seconds(30),
                       .record_wait = {}});
  WorkerPool workers(2, 1024);
  const Config config;
  const TenantClasses classes{config};
  const Authenticator authenticator(std::make_shared<const Identities>());
  const auto governor = RequestGovernor::Open(config, nullptr, clock);
  CHECK(governor.ok());
  std::vector<std::unique_ptr<grpc::Service>> services;
  services.push_back(MakeGenerationService({.models = resolver,
                                            .backend = backend,
                                            .registry = registry,
                                            .egress = egress,
                                            .workers = workers,
                                            .clock = clock,
                                            .gate = CallGate(authenticator, clock, nullptr),
                                            .classes = classes,
                                            .delivery = {.message_tokens_max = 1},
                                            .duration_max = std::chrono::hours(1),
                                            .governor = **governor}));
  auto server = GrpcServer::Start(
      {.address = *ParseListenAddress("127.0.0.1:0"), .credentials = nullptr}, std::move(services));
  CHECK(server.ok());

  v1::GenerateStreamRequest request;
  request.set_model("paced");
  request.mutable_token_ids()->add_ids(1);
  request.mutable_output()->set_token_ids(true);
  constexpr int kStreamsPerChannel = 64;
  std::vector<std::unique_ptr<v1::GenerationService::Stub>> stubs;
  std::vector<std::unique_ptr<Reader>> readers;
  std::atomic<int> open{num_streams};
  for (int i = 0; i < num_streams; ++i) {
    if (i % kStreamsPerChannel == 0) {
      grpc::ChannelArguments arguments;
      arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
      stubs.push_back(v1::GenerationService::NewStub(grpc::CreateCustomChannel(
          (*server)->address(), grpc::InsecureChannelCredentials(), arguments)));
    }
    readers.push_back(std::make_unique<Reader>(*stubs.back(), request, open));
  }
  while (backend.streams().size() < static_cast<size_t>(num_streams)) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }

  const std::vector<StreamHandle> streams = backend.streams();
  egress.Publish(Batch(streams, GenerationEvent::Kind::kStarted));
  std::vector<double> step_us;
  TimePoint next = clock.Now();
  for (int step = 0; step < num_steps; ++step) {
    std::this_thread::sleep_until(next += kPace);
    const bool end = step + 1 == num_steps;
    auto batch =
        Batch(streams, end ? GenerationEvent::Kind::kFinished : GenerationEvent::Kind::kDelta);
    const TimePoint before = clock.Now();
    egress.Publish(std::move(batch));
    step_us.push_back(static_cast<double>((clock.Now() - before).count()) / 1000);
  }
  while (open > 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  int64_t tokens = 0;
  for (const auto& reader : readers) {
    tokens += reader->tokens();
  }
  CHECK(tokens == int64_t{num_streams} * num_steps);
  (*server)->Shutdown(std::chrono::seconds(5));

  double sum = 0;
  for (const double us : step_us) {
    sum += us;
    std::printf("SAMPLE egress.step_us_%d %.2f\n", num_streams, us);
  }
  std::sort(step_us.begin(), step_us.end());
  // The median is the figure: the mean also holds the steps in which the kernel took the publishing
  // thread off its core, which says how busy this host was.
  const auto print = [num_streams](const char* which, double us) {
    std::printf("RESULT egress.step_us_%d%s %.1f us\n", num_streams, which, us);
  };
  print("", step_us[step_us.size() / 2]);
  print("_mean", sum / static_cast<double>(num_steps));
  print("_p99", step_us[step_us.size() * 99 / 100]);
  std::printf(
      "# %d steps, most %.1f us, %d pauses\n", num_steps, step_us.back(), backend.pauses.load());
}

}  // namespace
}  // namespace inferd

int main(int argc, char** argv) {
  CLI::App app("Engine-thread time that a step spends handing over the tokens of many streams.");
  int streams = 256;
  int steps = 1000;
  app.add_option("--streams", streams, "Streams, one token each a step")->capture_default_str();
  app.add_option("--steps", steps, "Steps of 10 ms")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  std::printf("WORKLOAD %d streams over gRPC on loopback, one token each every 10 ms, %d steps\n",
              streams,
              steps);
  inferd::Run(streams, steps);
  return 0;
}
