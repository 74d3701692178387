// What the audit log adds to the time to first token: the same request to two whole daemons, one
// with strict audit, one with none, in alternating pairs, on a device whose steps take a fixed
// time.
#include <cstdio>
#include <string>

#include "base/log.h"
#include "bench/first_token.h"
#include "bench/statistics.h"

namespace inferd {
namespace {

void Run(int pairs, Duration step) {
  SetLogLevel(LogLevel::kError);
  const TempFolder folder;
  const std::string path = WriteFirstTokenModel(folder);
  ServedDaemon strict(
      path, step, [](const std::string&, Config& config) { config.audit.mode = "strict"; });
  ServedDaemon off(path, step, [](const std::string&, Config&) {});
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
