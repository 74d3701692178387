// Goal: a SIGKILL at any moment loses no acknowledged leaf. Method: log_kill.h at 200 points, in
// eight slices that run side by side; `make crash` does 2,000.
#include "tests/crash/log_kill.h"

#include <gtest/gtest.h>

namespace inferd {
namespace {

class LogKill : public testing::TestWithParam<uint64_t> {};

TEST_P(LogKill, LosesNothing) {
  const FaultCounts counts =
      KillAppenders({.appender = INFERD_BINARY_DIR "/tests/crash/inferd_audit_appender",
                     .folder = testing::TempDir() + "inferd_log_kill_" + std::to_string(getpid()),
                     .points = 25,
                     .seed = GetParam()});
  EXPECT_TRUE(counts.clean()) << counts.first;
  EXPECT_EQ(counts.crashes, 25u);
  EXPECT_GT(counts.acked, 100u);
}

INSTANTIATE_TEST_SUITE_P(Slices, LogKill, testing::Range(uint64_t{1}, uint64_t{9}));

}  // namespace
}  // namespace inferd
