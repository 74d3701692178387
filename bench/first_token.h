// Time to first token of one small request, for the programs that compare it.
#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/check.h"
#include "base/clock.h"
#include "daemon/daemon.h"
#include "inferd/v1/generation.grpc.pb.h"
#include "tests/support/fake_device.h"
#include "tests/support/random_model.h"
#include "tests/support/state_folder.h"
#include "tests/support/temp_folder.h"

namespace inferd {

inline constexpr char kFirstTokenText[] = "the rain in Spain stays mainly in the plain";
inline constexpr int kFirstTokenOutputTokens = 2;

inline double Milliseconds(Duration duration) {
  return static_cast<double>(duration.count()) / 1e6;
}

// Writes the model that is asked, "tiny", and returns its path.
inline std::string WriteFirstTokenModel(const TempFolder& folder) {
  const std::string path = folder / "tiny.gguf";
  CHECK(WriteRandomModel(TinyModel("llama", 7, QuantFormat::kF32), path).ok());
  return path;
}

// Milliseconds from the call to the first output, through a connection that is open.
inline double FirstTokenMs(v1::GenerationService::Stub& stub) {
  v1::GenerateStreamRequest request;
  request.set_model("tiny");
  request.set_text(kFirstTokenText);
  request.mutable_sampling()->set_temperature(0);
  request.mutable_stopping()->set_max_tokens(kFirstTokenOutputTokens);
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

// A whole daemon on loopback that serves "tiny" from a device whose steps take `step`, and a
// connection to it.
class ServedDaemon {
 public:
  // `adjust` changes the configuration, whose audit log is off; it gets the state folder, too.
  ServedDaemon(const std::string& model,
               Duration step,
               const std::function<void(const std::string& folder, Config&)>& adjust) {
    Config config;
    config.data.address = "127.0.0.1:0";
    config.models.push_back({.name = "tiny", .path = model, .context_tokens_max = 0});
    config.kv_cache_bytes_max = 64 * FakeDevice::kUnitBytes;
    config.state_directory = state_.path();
    config.audit.mode = "off";
    config.audit.reserve_bytes = 0;
    adjust(state_.path(), config);
    auto device = std::make_unique<FakeDevice>();
    device->set_step_time(step);
    auto started = Daemon::Start(config, std::move(device));
    CHECK(started.ok());
    daemon_ = *std::move(started);
    CHECK(daemon_->LoadModels([](const std::string&) {}).ok());
    stub_ = v1::GenerationService::NewStub(
        grpc::CreateChannel(daemon_->address(), grpc::InsecureChannelCredentials()));
  }

  double FirstTokenMs() { return inferd::FirstTokenMs(*stub_); }

 private:
  const StateFolder state_;
  std::unique_ptr<Daemon> daemon_;
  std::unique_ptr<v1::GenerationService::Stub> stub_;
};

// The main function of such a program; run(pairs, time of a device's step).
template <typename Run>
int FirstTokenMain(int argc, char** argv, const std::string& description, const Run& run) {
  CLI::App app(description);
  int pairs = 1000;
  int step_ms = 2;
  app.add_option("--pairs", pairs, "Alternating pairs")->capture_default_str();
  app.add_option("--step-ms", step_ms, "What a step of the device takes")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  std::printf("WORKLOAD %d alternating pairs, one stream, device steps of %d ms\n", pairs, step_ms);
  run(pairs, std::chrono::milliseconds(step_ms));
  return 0;
}

}  // namespace inferd
