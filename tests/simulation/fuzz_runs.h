// Many random workloads, side by side, and what a failure among them is reduced to.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "tests/simulation/random_workload.h"
#include "tests/simulation/report.h"

namespace inferd::sim {

struct FuzzOptions {
  WorkloadKind kind = WorkloadKind::kFuzz;
  uint64_t first_seed = 1;
  int64_t seeds = 2000;
  int threads = 0;          // 0: one a core
  bool first_only = false;  // stop at a failure
  bool shrink = true;       // reduce the first failure's log
};

struct FuzzResult {
  int64_t failures = 0;
  std::string text;       // a summary, and for the first failure how to see it again
  double bound_used = 0;  // of the fairness theorem, the most of any run
  double pair_gap = 0;
};

// Runs one workload with every check; also checks what needs two runs: the same log gives the same
// plans, and on a device that is sensitive to chunks deterministic requests say what they say
// alone.
Report RunChecked(const Workload& workload);

FuzzResult RunSeeds(const FuzzOptions& options);

// The smallest workload found that breaks the same check, by leaving requests and disturbances out.
Workload Shrink(Workload workload, const std::string& check, int runs_max);

// The commit that this was built from, or "unknown".
std::string BuildCommit();

}  // namespace inferd::sim
