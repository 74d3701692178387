// Random workloads, everything of them drawn from one seed.
#pragma once

#include <cstdint>

#include "tests/simulation/workload.h"

namespace inferd::sim {

// What the random workloads of a run may contain.
enum class WorkloadKind : uint8_t {
  // Small devices under pressure: several models, preemptions, cancels, slow readers, deadlines,
  // shared prefixes. For the invariants.
  kFuzz,
  // One model, tenants that are backlogged for long, no disturbance. For the fairness theorem.
  kFairness,
};

Workload RandomWorkload(WorkloadKind kind, uint64_t seed);

}  // namespace inferd::sim
