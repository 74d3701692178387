// How exactly a rollout splits sessions, and whether any session changes its version: 20,000
// sessions of 100 tenants through the resolver, the registry and the map of sessions, at 5 %, then
// at 25 %. Each session asks at both, and again.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "base/check.h"
#include "daemon/model_resolver.h"
#include "tests/support/temp_folder.h"

namespace inferd {
namespace {

constexpr int kSessions = 20'000;
constexpr int kTenants = 100;

ModelContents ContentsOf(const std::string& text) {
  const ModelRead read = [&](size_t, uint64_t at, size_t size) {
    return StatusOr<std::span<const std::byte>>(
        std::as_bytes(std::span(text)).subspan(static_cast<size_t>(at), size));
  };
  return HashModel({{"m.gguf", text.size()}}, read, {}).value();
}

void Add(ModelDirectory& directory, const std::string& version, const Digest& digest) {
  auto model = std::make_shared<ResidentModel>();
  model->name = "m";
  model->version = version;
  model->digest = digest;
  directory.SetReady("none", std::move(model));
}

// Which version answers each session.
std::vector<std::string> AskAll(const ModelResolver& resolver) {
  std::vector<std::string> versions;
  for (int i = 0; i < kSessions; ++i) {
    const TenantId tenant("tenant-" + std::to_string(i % kTenants));
    const auto model = resolver.Resolve(
        {.reference = "m", .tenant = tenant, .session = "session-" + std::to_string(i)});
    CHECK(model.ok());
    versions.push_back((*model)->version);
  }
  return versions;
}

double PercentOf(const std::vector<std::string>& versions, const std::string& wanted) {
  return 100.0 * static_cast<double>(std::count(versions.begin(), versions.end(), wanted)) /
         static_cast<double>(versions.size());
}

int64_t Switches(const std::vector<std::string>& before, const std::vector<std::string>& after) {
  int64_t switches = 0;
  for (size_t i = 0; i < before.size(); ++i) {
    switches += before[i] == after[i] ? 0 : 1;
  }
  return switches;
}

void Run() {
  const TempFolder folder;
  ManualClock clock;
  const auto registry =
      ModelRegistry::Open({.files = SystemFiles(),
                           .clock = clock,
                           .folder = folder / "registry",
                           .record = [](const RegistryChange&) { return OkStatus(); }})
          .value();
  SessionVersions sessions(clock, SessionVersions::Limits());
  ModelDirectory directory;
  const ModelResolver resolver(
      *registry, sessions, directory, [](const TenantId&) { return TenantModels(); });
  CHECK(registry->StartWith("configuration", "m", "1", ContentsOf("1"), "").ok());
  CHECK(registry->Register("eve", "m", "2", ContentsOf("2"), "").ok());
  CHECK(registry->Approve("ann", "m", "2").ok() && registry->Approve("bob", "m", "2").ok());
  Add(directory, "1", ContentsOf("1").root);
  Add(directory, "2", ContentsOf("2").root);
  CHECK(registry->ProposeRollout("ann", "m", "default", "2").ok());
  CHECK(registry->ApproveRollout("bob", "m", "default").ok());
  // What new sessions of each percentage get: sessions that began earlier keep what they have.
  CHECK(registry->SetPercent("ann", "m", "default", 5).ok());
  const auto at_5 = AskAll(resolver);
  CHECK(registry->SetPercent("ann", "m", "default", 25).ok());
  const auto still = AskAll(resolver);
  clock.Advance(std::chrono::hours(25));  // beyond the TTL: all begin anew
  const auto at_25 = AskAll(resolver);
  const auto again = AskAll(resolver);
  // Monotone: whoever had the new version at 5 % has it at 25 %.
  int64_t lost = 0;
  for (size_t i = 0; i < at_5.size(); ++i) {
    lost += at_5[i] == "2" && at_25[i] != "2" ? 1 : 0;
  }
  const double error =
      std::max(std::abs(PercentOf(at_5, "2") - 5), std::abs(PercentOf(at_25, "2") - 25));
  std::printf("canary: %.2f %% at 5 %%, %.2f %% at 25 %%, %d sessions\n",
              PercentOf(at_5, "2"),
              PercentOf(at_25, "2"),
              kSessions);
  std::printf("RESULT canary.split_error_points %.3f points\n", error);
  std::printf("RESULT canary.session_switches %lld count\n",
              static_cast<long long>(Switches(at_5, still) + Switches(at_25, again) + lost));
}

}  // namespace
}  // namespace inferd

int main() { inferd::Run(); }
