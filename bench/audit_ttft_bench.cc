// What the audit log adds to the time to first token: the same request to two whole daemons, one
// with strict audit, one with none, in alternating pairs, on a device whose steps take a fixed
// time.
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "base/check.h"
#include "base/log.h"
#include "daemon/daemon.h"
#include "inferd/v1/generation.grpc.pb.h"
#include "tests/support/fake_device.h"
#include "tests/support/random_model.h"
#include "tests/support/state_folder.h"

namespace inferd {
namespace {

// A daemon and a connection to it.
class Served {
 public:
  Served(const std::string& model, const std::string& audit_mode, Duration step) {
    Config config;
    config.data.address = "127.0.0.1:0";
    config.models.push_back({.name = "tiny", .path = model, .context_tokens_max = 0});
    config.kv_cache_bytes_max = 64 * FakeDevice::kUnitBytes;
    config.state_directory = state_.path();
    config.audit.mode = audit_mode;
    config.audit.reserve_bytes = 0;
    auto device = std::make_unique<FakeDevice>();
    device->set_step_time(step);
    auto started = Daemon::Start(config, std::move(device));
    CHECK(started.ok());
    daemon_ = *std::move(started);
    CHECK(daemon_->LoadModels([](const std::string&) {}).ok());
    stub_ = v1::GenerationService::NewStub(
        grpc::CreateChannel(daemon_->address(), grpc::InsecureChannelCredentials()));
  }

  double FirstTokenMs() {
    v1::GenerateStreamRequest request;
    request.set_model("tiny");
    request.set_text("the rain in Spain stays mainly in the plain");
    request.mutable_sampling()->set_temperature(0);
    request.mutable_stopping()->set_max_tokens(2);
    request.mutable_stopping()->set_ignore_eos(true);
    request.mutable_output()->set_token_ids(true);
    grpc::ClientContext context;
    const TimePoint start = SystemClock().Now();
    const auto reader = stub_->GenerateStream(&context, request);
    v1::GenerateStreamResponse message;
    std::optional<TimePoint> first;
    while (reader->Read(&message)) {
      if (!message.has_started() && !first.has_value()) {
        first = SystemClock().Now();
      }
    }
    CHECK(reader->Finish().ok() && first.has_value());
    return static_cast<double>((*first - start).count()) / 1e6;
  }

 private:
  const StateFolder state_;
  std::unique_ptr<Daemon> daemon_;
  std::unique_ptr<v1::GenerationService::Stub> stub_;
};

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void Run(int pairs, Duration step) {
  SetLogLevel(LogLevel::kError);
  const std::string path =
      (std::filesystem::temp_directory_path() / "inferd-audit-ttft.gguf").string();
  CHECK(WriteRandomModel(TinyModel("llama", 7, QuantFormat::kF32), path).ok());
  Served strict(path, "strict", step);
  Served off(path, "off", step);
  std::filesystem::remove(path);
  constexpr int kWarmUp = 20;
  std::vector<double> strict_ms, off_ms, differences;
  for (int i = 0; i < pairs + kWarmUp; ++i) {
    // The order alternates too, so that neither is always the one after the other.
    const bool strict_first = i % 2 == 0;
    const double first = (strict_first ? strict : off).FirstTokenMs();
    const double second = (strict_first ? off : strict).FirstTokenMs();
    if (i >= kWarmUp) {
      strict_ms.push_back(strict_first ? first : second);
      off_ms.push_back(strict_first ? second : first);
      differences.push_back(strict_ms.back() - off_ms.back());
    }
  }
  std::printf("audit: median %.3f ms with strict audit, %.3f ms without\n",
              Median(strict_ms),
              Median(off_ms));
  std::printf("RESULT audit.ttft_cost_ms %.3f ms\n", Median(differences));
}

}  // namespace
}  // namespace inferd

int main(int argc, char** argv) {
  CLI::App app("Time to first token with strict audit less that without.");
  int pairs = 1000;
  int step_ms = 2;
  app.add_option("--pairs", pairs, "Alternating pairs")->capture_default_str();
  app.add_option("--step-ms", step_ms, "What a step of the device takes")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  std::printf("WORKLOAD %d alternating pairs, one stream, device steps of %d ms\n", pairs, step_ms);
  inferd::Run(pairs, std::chrono::milliseconds(step_ms));
  return 0;
}
