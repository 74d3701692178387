// What the audit log adds to the time to first token: the same request to two whole daemons, one
// with strict audit, one with none, in alternating pairs, on a device whose steps take a fixed
// time.
#include <grpcpp/channel.h>
#include <grpcpp/create_channel.h>

#include <cstdio>
#include <memory>
#include <string>

#include "base/check.h"
#include "base/log.h"
#include "bench/first_token.h"
#include "bench/statistics.h"
#include "daemon/daemon.h"
#include "inferd/v1/generation.grpc.pb.h"
#include "tests/support/fake_device.h"
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

  double FirstTokenMs() { return inferd::FirstTokenMs(*stub_); }

 private:
  const StateFolder state_;
  std::unique_ptr<Daemon> daemon_;
  std::unique_ptr<v1::GenerationService::Stub> stub_;
};

void Run(int pairs, Duration step) {
  SetLogLevel(LogLevel::kError);
  const TempFolder folder;
  const std::string path = WriteFirstTokenModel(folder);
  Served strict(path, "strict", step);
  Served off(path, "off", step);
  const PairedSamples samples = MeasurePairs(
      pairs, [&] { return strict.FirstTokenMs(); }, [&] { return off.FirstTokenMs(); });
  std::printf("audit: median %.3f ms with strict audit, %.3f ms without\n",
              Median(samples.a),
              Median(samples.b));
  std::printf("RESULT audit.ttft_cost_ms %.3f ms\n", Median(samples.differences));
}

}  // namespace
}  // namespace inferd

int main(int argc, char** argv) {
  return inferd::FirstTokenMain(
      argc, argv, "Time to first token with strict audit less that without.", inferd::Run);
}
