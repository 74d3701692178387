// Goal: no crash, power cut or fault of the file system loses an acknowledged leaf, gives an index
// twice, leaves a request open or the log inconsistent. Method: log_faults.h; and the same with an
// fdatasync that does nothing, which must be seen.
#include "tests/crash/log_faults.h"

#include <gtest/gtest.h>

namespace inferd {
namespace {

constexpr uint64_t kHistories = 50;

FaultCounts RunMany(uint64_t first_seed, uint64_t count, const FaultOptions& options) {
  FaultCounts counts;
  for (uint64_t seed = first_seed; seed < first_seed + count; ++seed) {
    counts.Add(RunCrashes(seed, options));
  }
  return counts;
}

TEST(LogFaults, PowerCutsLoseNothing) {
  const FaultCounts counts = RunMany(1, kHistories, {.cut_power = true});
  EXPECT_TRUE(counts.clean()) << counts.first;
  EXPECT_GT(counts.acked, 500u);
}

TEST(LogFaults, KillsLoseNothing) {
  const FaultCounts counts = RunMany(10'000, kHistories, {.cut_power = false});
  EXPECT_TRUE(counts.clean()) << counts.first;
  EXPECT_GT(counts.acked, 500u);
}

TEST(LogFaults, ALyingFdatasyncIsSeen) {
  const FaultCounts counts =
      RunMany(20'000, kHistories, {.cut_power = true, .ignore_sync_data = true});
  EXPECT_GT(counts.lost + counts.inconsistent, 0u);
}

// Every call of one history: each seventh here, all in `make bench`.
TEST(LogFaults, AnErrorAtAnyCallLeavesTheLogWhole) {
  for (const bool kill : {false, true}) {
    FaultCounts counts;
    uint64_t call = 1;
    while (RunFault(call, kill, counts)) {
      call += 7;
    }
    EXPECT_GT(call, 100u);
    EXPECT_TRUE(counts.clean()) << (kill ? "kill: " : "error: ") << counts.first;
  }
}

}  // namespace
}  // namespace inferd
