// Simulate: runs the real Scheduler on a virtual clock, with a FakeDevice in place of a device.
#pragma once

#include <cstdint>

#include "tests/simulation/report.h"
#include "tests/simulation/workload.h"

namespace inferd::sim {

struct RunOptions {
  bool check = true;                 // hold every invariant after every event
  bool check_reads = true;           // and every read of state
  bool sensitive_to_chunks = false;  // a device whose results depend on how prompts are cut
  bool record_service = false;       // Report::service
  bool record_token_gaps = false;
};

// Runs a workload until everything has ended, or to the first violation. Deterministic.
Report Simulate(const Workload& workload, const RunOptions& options = {});

}  // namespace inferd::sim
