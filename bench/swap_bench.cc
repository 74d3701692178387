// swap_bench [--switches N]: what a change of versions costs those who are served. A whole daemon
// with two tiny models on a device whose steps take 5 ms, eight streams at a time; a version is
// loaded, takes over the alias, and the other one is drained and unloaded, 50 times.
//   swap.failed_requests  requests that did not end well, of all
//   swap.gap_ms           longest pause between two tokens of a stream, less the longest of as long
//                         a time without a switch
#include <grpcpp/create_channel.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/check.h"
#include "base/log.h"
#include "daemon/daemon.h"
#include "inferd/v1/generation.grpc.pb.h"
#include "inferd/v1/queue.grpc.pb.h"
#include "inferd/v1/registry.grpc.pb.h"
#include "tests/support/fake_device.h"
#include "tests/support/random_model.h"
#include "tests/support/state_folder.h"

namespace inferd {
namespace {

constexpr int kStreams = 8;
constexpr int kTokens = 40;
constexpr Duration kStep = std::chrono::milliseconds(5);
constexpr Duration kBetweenSwitches = std::chrono::milliseconds(100);

// Streams that come one after another, and the longest pause that any of them saw.
class Load {
 public:
  explicit Load(const std::shared_ptr<grpc::Channel>& channel) {
    for (int i = 0; i < kStreams; ++i) {
      threads_.emplace_back([this, channel] {
        const auto stub = v1::GenerationService::NewStub(channel);
        while (!stop_) {
          Stream(*stub);
        }
      });
    }
  }
  ~Load() { Stop(); }
  void Stop() {
    stop_ = true;
    for (std::thread& thread : threads_) {
      thread.join();
    }
    threads_.clear();
  }
  double longest_ms() const { return static_cast<double>(longest_ns_) / 1e6; }
  int64_t requests() const { return requests_; }
  int64_t failed() const { return failed_; }

 private:
  void Stream(v1::GenerationService::Stub& stub) {
    v1::GenerateStreamRequest request;
    request.set_model("tiny");
    request.set_text("the rain in Spain");
    request.mutable_stopping()->set_max_tokens(kTokens);
    request.mutable_stopping()->set_ignore_eos(true);
    request.mutable_output()->set_max_tokens_per_message(1);
    grpc::ClientContext context;
    const auto reader = stub.GenerateStream(&context, request);
    v1::GenerateStreamResponse message;
    TimePoint last{};
    while (reader->Read(&message)) {
      const TimePoint now = SystemClock().Now();
      if (message.has_delta()) {
        const int64_t gap = last == TimePoint() ? 0 : (now - last).count();
        int64_t longest = longest_ns_;
        while (longest < gap && !longest_ns_.compare_exchange_weak(longest, gap)) {
        }
        last = now;
      }
    }
    ++requests_;
    failed_ += reader->Finish().ok() ? 0 : 1;
  }

  std::atomic<bool> stop_{false};
  std::atomic<int64_t> longest_ns_{0}, requests_{0}, failed_{0};
  std::vector<std::thread> threads_;
};

class Served {
 public:
  Served() {
    for (uint64_t seed = 1; seed <= 2; ++seed) {
      paths_.push_back(folder_ / absl::StrFormat("model-%d.gguf", seed));
      RandomModelSpec spec = TinyModel("llama", seed, QuantFormat::kF32);
      spec.context = 256;
      CHECK(WriteRandomModel(spec, paths_.back()).ok());
    }
    Config config;
    config.data.address = "127.0.0.1:0";
    config.models.push_back({.name = "tiny", .path = paths_[0], .context_tokens_max = 0});
    config.kv_cache_bytes_max = 64 * FakeDevice::kUnitBytes;
    config.state_directory = state_.path();
    config.audit.reserve_bytes = 0;
    config.registry.two_persons = false;
    auto device = std::make_unique<FakeDevice>();
    device->set_step_time(kStep);
    auto started = Daemon::Start(config, std::move(device));
    CHECK(started.ok());
    daemon_ = *std::move(started);
    CHECK(daemon_->LoadModels([](const std::string&) {}).ok());
    channel_ = grpc::CreateChannel(daemon_->address(), grpc::InsecureChannelCredentials());
    const auto admin = grpc::CreateChannel("unix:" + state_.path() + "/admin.sock",
                                           grpc::InsecureChannelCredentials());
    registry_ = v1::RegistryService::NewStub(admin);
    models_ = v1::ModelAdminService::NewStub(admin);
    v1::AddModelRequest add;
    add.set_model("tiny");
    add.set_version("2");
    add.set_path(paths_[1]);
    grpc::ClientContext context;
    const auto reader = registry_->AddModel(&context, add);
    v1::AddModelResponse message;
    while (reader->Read(&message)) {
    }
    CHECK(reader->Finish().ok());
  }

  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }

  // Version `to`, 1 or 2, takes the place of the other one.
  void SwitchTo(int to) {
    const std::string version = std::to_string(to);
    v1::LoadModelRequest load;
    load.set_model("tiny:" + version);
    load.set_path(paths_[static_cast<size_t>(to - 1)]);
    Call(*models_, &v1::ModelAdminService::Stub::LoadModel, load, v1::LoadModelResponse());
    v1::ProposeAliasRequest propose;
    propose.set_model("tiny");
    propose.set_alias("default");
    propose.set_version(version);
    Call(*registry_, &v1::RegistryService::Stub::ProposeAlias, propose, v1::ProposeAliasResponse());
    v1::ApproveAliasRequest approve;
    approve.set_model("tiny");
    approve.set_alias("default");
    Call(*registry_, &v1::RegistryService::Stub::ApproveAlias, approve, v1::ApproveAliasResponse());
    v1::SetCanaryRequest all;
    all.set_model("tiny");
    all.set_alias("default");
    all.set_percent(100);
    Call(*registry_, &v1::RegistryService::Stub::SetCanary, all, v1::SetCanaryResponse());
    v1::UnloadModelRequest unload;
    unload.set_model("tiny:" + std::to_string(3 - to));
    Call(*models_, &v1::ModelAdminService::Stub::UnloadModel, unload, v1::UnloadModelResponse());
  }

 private:
  template <typename Stub, typename Method, typename Request, typename Response>
  static void Call(Stub& stub, Method method, const Request& request, Response response) {
    grpc::ClientContext context;
    const grpc::Status status = (stub.*method)(&context, request, &response);
    if (!status.ok()) {
      std::fprintf(stderr, "swap_bench: %s\n", status.error_message().c_str());
    }
    CHECK(status.ok());
  }

  const TempFolder folder_;
  const StateFolder state_;
  std::vector<std::string> paths_;
  std::unique_ptr<Daemon> daemon_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::RegistryService::Stub> registry_;
  std::unique_ptr<v1::ModelAdminService::Stub> models_;
};

void Run(int switches) {
  SetLogLevel(LogLevel::kError);
  Served served;
  Load load(served.channel());
  const TimePoint start = SystemClock().Now();
  for (int i = 0; i < switches; ++i) {
    served.SwitchTo(2 - i % 2);
    std::this_thread::sleep_for(kBetweenSwitches);
  }
  const Duration took = SystemClock().Now() - start;
  load.Stop();
  Load quiet(served.channel());
  std::this_thread::sleep_for(took);
  quiet.Stop();
  std::printf("swap: %d switches in %.1f s, %lld requests; longest pause %.1f ms, %.1f without\n",
              switches,
              std::chrono::duration<double>(took).count(),
              static_cast<long long>(load.requests()),
              load.longest_ms(),
              quiet.longest_ms());
  std::printf("RESULT swap.failed_requests %lld count\n", static_cast<long long>(load.failed()));
  std::printf("RESULT swap.gap_ms %.1f ms\n",
              std::max(0.0, load.longest_ms() - quiet.longest_ms()));
}

}  // namespace
}  // namespace inferd

int main(int argc, char** argv) {
  CLI::App app{"What a change of versions costs those who are served."};
  int switches = 50;
  app.add_option("--switches", switches, "how many")
      ->check(CLI::Range(1, 10'000))
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  inferd::Run(switches);
}
