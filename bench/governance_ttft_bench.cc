// What governance adds to the time to first token: the same request to two whole daemons, one with
// policies, quotas at every level and strict audit, one with none of them, in alternating pairs, on
// a device whose steps take a fixed time. Both find out who calls.
#include <grpcpp/channel.h>
#include <grpcpp/create_channel.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
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

namespace fs = std::filesystem;

// As deploy/policy has it, of a mode that the daemon takes.
void CopyPolicies(const std::string& folder, Config& config) {
  for (const char* name : {"inferd.cedarschema", "policies.cedar"}) {
    const std::string to = folder + "/" + name;
    fs::copy_file(std::string(INFERD_SOURCE "/deploy/policy/") + name, to);
    fs::permissions(to, fs::perms::owner_read | fs::perms::owner_write);
  }
  config.policy = {.schema = folder + "/inferd.cedarschema",
                   .policies = folder + "/policies.cedar"};
}

// Each metric at four levels, none of which ever refuses.
void AddQuotas(Config& config) {
  constexpr int64_t kPlenty = int64_t{1} << 40;
  for (const char* metric : {"rpm", "itpm", "otpm", "conc", "kv", "tok_day", "tok_month"}) {
    for (int level = 0; level < 4; ++level) {
      QuotaEntry quota;
      quota.id = absl::StrFormat("%s/%d", metric, level);
      quota.org = "local";
      quota.tenant = level >= 1 ? "local" : "";
      quota.model = level >= 2 ? "tiny" : "";
      quota.metric = metric;
      quota.limit = kPlenty;
      config.quotas.push_back(quota);
    }
  }
}

// A daemon and a connection to it.
class Served {
 public:
  Served(const std::string& model, bool governed, Duration step) {
    Config config;
    config.data.address = "127.0.0.1:0";
    config.models.push_back({.name = "tiny", .path = model, .context_tokens_max = 0});
    config.kv_cache_bytes_max = 64 * FakeDevice::kUnitBytes;
    config.state_directory = state_.path();
    config.audit.mode = governed ? "strict" : "off";
    config.audit.reserve_bytes = 0;
    if (governed) {
      CopyPolicies(state_.path(), config);
      AddQuotas(config);
    }
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
  Served governed(path, true, step);
  Served free(path, false, step);
  // The rates start spent; their burst is there again within a blink.
  const PairedSamples samples = MeasurePairs(
      pairs, [&] { return governed.FirstTokenMs(); }, [&] { return free.FirstTokenMs(); });
  std::printf("governance: median %.3f ms with it, %.3f ms without\n",
              Median(samples.a),
              Median(samples.b));
  std::printf("RESULT governance.ttft_cost_ms %.3f ms\n", Median(samples.differences));
}

}  // namespace
}  // namespace inferd

int main(int argc, char** argv) {
  return inferd::FirstTokenMain(
      argc,
      argv,
      "Time to first token with policy, quota and strict audit less that without.",
      inferd::Run);
}
