// Goal: whatever 64 threads spend when their process is killed, no interval holds more than the
// rate and no day more than its budget, and the next process counts what the log says. Method:
// quota_kill.h at a few points; `make crash` does many.
#include "tests/crash/quota_kill.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace inferd {
namespace {

TEST(QuotaKill, NothingIsOverspentOrForgotten) {
  const QuotaKillCounts counts =
      KillSpenders({.folder = testing::TempDir() + "inferd_quota_kill_" + std::to_string(getpid()),
                    .points = 10,
                    .seed = 1});
  EXPECT_EQ(counts.overrun, 0u) << counts.first;
  EXPECT_EQ(counts.difference, 0u) << counts.first;
  EXPECT_EQ(counts.inconsistent, 0u) << counts.first;
  EXPECT_EQ(counts.kills, 10u);
  EXPECT_GT(counts.admitted, 100u);
  EXPECT_GT(counts.aborted, 0u);
}

}  // namespace
}  // namespace inferd
