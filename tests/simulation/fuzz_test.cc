// A few random workloads with every invariant, as an ordinary test; `make sim` runs many.
#include <gtest/gtest.h>

#include "tests/simulation/fuzz_runs.h"

namespace inferd::sim {
namespace {

TEST(Simulation, RandomWorkloadsKeepEveryInvariant) {
  const FuzzResult result = RunSeeds({.seeds = 60, .threads = 1});
  EXPECT_EQ(result.failures, 0) << result.text;
}

}  // namespace
}  // namespace inferd::sim
