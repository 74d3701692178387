// What governance adds to the time to first token: the same request to two whole daemons, one with
// policies, quotas at every level and strict audit, one with none of them, in alternating pairs, on
// a device whose steps take a fixed time. Both find out who calls.
#include <cstdio>
#include <filesystem>
#include <string>

#include "base/log.h"
#include "bench/first_token.h"
#include "bench/statistics.h"

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

void Run(int pairs, Duration step) {
  SetLogLevel(LogLevel::kError);
  const TempFolder folder;
  const std::string path = WriteFirstTokenModel(folder);
  ServedDaemon governed(path, step, [](const std::string& state, Config& config) {
    config.audit.mode = "strict";
    CopyPolicies(state, config);
    AddQuotas(config);
  });
  ServedDaemon free(path, step, [](const std::string&, Config&) {});
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
