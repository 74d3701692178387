// inferd_log_faults [SEEDS]: the histories of log_faults.h in numbers for `make bench`, and a fault
// at every single call.
#include <cstdio>
#include <cstdlib>
#include <string>

#include "base/log.h"
#include "governance/verify/base64.h"
#include "tests/crash/log_faults.h"

int main(int argc, char** argv) {
  const auto seeds = inferd::ParseDecimal(argc > 1 ? argv[1] : "3000");
  if (!seeds.ok()) {
    std::fprintf(stderr, "usage: inferd_log_faults [SEEDS]\n");
    return 2;
  }
  inferd::FaultCounts power;
  for (uint64_t seed = 1; seed <= *seeds; ++seed) {
    power.Add(inferd::RunCrashes(seed, {.cut_power = true}));
  }
  inferd::FaultCounts lying;
  for (uint64_t seed = 1; seed <= *seeds / 20 + 20; ++seed) {
    lying.Add(inferd::RunCrashes(seed, {.cut_power = true, .ignore_sync_data = true}));
  }
  inferd::FaultCounts faults;
  uint64_t calls = 0;
  for (const bool kill : {false, true}) {
    for (uint64_t call = 1; inferd::RunFault(call, kill, faults); ++call) {
      ++calls;
    }
  }
  for (const inferd::FaultCounts* counts : {&power, &faults}) {
    if (!counts->clean()) {
      std::fprintf(stderr, "%s\n", counts->first.c_str());
    }
  }
  std::printf("WORKLOAD %llu power cuts, %llu leaves acknowledged; %llu calls failed\n",
              static_cast<unsigned long long>(power.crashes),
              static_cast<unsigned long long>(power.acked),
              static_cast<unsigned long long>(calls));
  std::printf("RESULT crash.powercut_lost %llu count\n",
              static_cast<unsigned long long>(power.lost + power.index_reuse + power.open_intents +
                                              power.inconsistent));
  std::printf("RESULT crash.powercut_seen_without_fdatasync %llu count\n",
              static_cast<unsigned long long>(lying.lost + lying.inconsistent));
  std::printf("RESULT faults.inconsistent %llu count\n",
              static_cast<unsigned long long>(faults.lost + faults.index_reuse +
                                              faults.open_intents + faults.inconsistent));
  return power.clean() && faults.clean() && lying.lost + lying.inconsistent > 0 ? 0 : 1;
}
