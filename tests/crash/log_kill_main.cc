// inferd_log_kill FOLDER [POINTS]: SIGKILL at many points under load, for `make crash`.
#include <cstdio>
#include <filesystem>

#include "governance/verify/base64.h"
#include "tests/crash/log_kill.h"

int main(int argc, char** argv) {
  const auto points = inferd::ParseDecimal(argc > 2 ? argv[2] : "2000");
  if (argc < 2 || !points.ok()) {
    std::fprintf(stderr, "usage: inferd_log_kill FOLDER [POINTS]\n");
    return 2;
  }
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe");
  const inferd::FaultCounts counts =
      inferd::KillAppenders({.appender = (self.parent_path() / "inferd_audit_appender").string(),
                             .folder = argv[1],
                             .points = *points,
                             .seed = 1});
  if (!counts.clean()) {
    std::fprintf(stderr, "%s\n", counts.first.c_str());
  }
  std::printf("WORKLOAD %llu kills, %llu leaves acknowledged\n",
              static_cast<unsigned long long>(counts.crashes),
              static_cast<unsigned long long>(counts.acked));
  std::printf("RESULT crash.lost_leaves %llu count\n",
              static_cast<unsigned long long>(counts.lost + counts.inconsistent));
  std::printf("RESULT crash.index_reuse %llu count\n",
              static_cast<unsigned long long>(counts.index_reuse));
  std::printf("RESULT crash.open_intents %llu count\n",
              static_cast<unsigned long long>(counts.open_intents));
  return counts.clean() ? 0 : 1;
}
