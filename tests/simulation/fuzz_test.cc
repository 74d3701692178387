// A few random workloads with every invariant, as an ordinary test; `make sim` runs many.
#include <gtest/gtest.h>

#include "tests/simulation/fuzz_runs.h"

namespace inferd::sim {
namespace {

TEST(Simulation, RandomWorkloadsKeepEveryInvariant) {
  const FuzzResult result = RunSeeds({.seeds = 60, .threads = 1});
  EXPECT_EQ(result.failures, 0) << result.text;
}

// Seeds that once found a bug: a plan that preempted and then granted nobody anything; a sequence
// that was shed and cancelled, and ended twice.
TEST(Simulation, SeedsThatFoundBugs) {
  for (const uint64_t seed : {1496u, 24478u}) {
    const FuzzResult result = RunSeeds({.first_seed = seed, .seeds = 1, .threads = 1});
    EXPECT_EQ(result.failures, 0) << result.text;
  }
}

}  // namespace
}  // namespace inferd::sim
