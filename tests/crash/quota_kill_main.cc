// inferd_quota_kill FOLDER [POINTS]: a ledger's process killed at many points, for `make crash`.
#include <cstdio>

#include "governance/verify/base64.h"
#include "tests/crash/quota_kill.h"

int main(int argc, char** argv) {
  const auto points = inferd::ParseDecimal(argc > 2 ? argv[2] : "500");
  if (argc < 2 || !points.ok()) {
    std::fprintf(stderr, "usage: inferd_quota_kill FOLDER [POINTS]\n");
    return 2;
  }
  const inferd::QuotaKillCounts counts =
      inferd::KillSpenders({.folder = argv[1], .points = *points, .seed = 1});
  if (!counts.first.empty()) {
    std::fprintf(stderr, "%s\n", counts.first.c_str());
  }
  std::printf("WORKLOAD %llu kills under 64 threads, %llu requests, %llu of them cut off\n",
              static_cast<unsigned long long>(counts.kills),
              static_cast<unsigned long long>(counts.admitted),
              static_cast<unsigned long long>(counts.aborted));
  std::printf("RESULT crash.quota_overrun_tokens %llu tokens\n",
              static_cast<unsigned long long>(counts.overrun));
  std::printf("RESULT crash.quota_difference %llu tokens\n",
              static_cast<unsigned long long>(counts.difference + counts.inconsistent));
  return counts.overrun + counts.difference + counts.inconsistent == 0 ? 0 : 1;
}
