// The experiments behind the simulator's figures; docs/simulator.md says what each shows.
#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"
#include "tests/simulation/traces.h"
#include "tests/simulation/workload.h"

namespace inferd::sim {

// A device like that of the VTC authors: Llama-2-7B on an A10G, room for 10,000 tokens.
Workload VtcDevice(PolicyKind policy, int64_t theta_units);
// Host memory for preempted state, as much as the pool, the daemon's default: 32 MiB a unit of a 7B
// model at 24 GB/s.
void AddHostMemory(Workload& workload);
// Adds a trace's requests; every tenant of the trace becomes one of the workload.
void AddTrace(const std::vector<TraceRequest>& trace, Workload& workload);

// Each prints what it saw, then its RESULT lines. `traces` is the folder of the traces; kNotFound
// if one is not there. theta_units: the fairness window; 0: the service of a whole
// request, 95th percentile. The baselines evict nobody: they reserve all that a request declares.
Status RunFairness(int64_t workloads, int threads);  // the theorem on random workloads
Status RunTwoClients(const std::string& traces, int64_t theta_units);          // E1
Status RunTwentySevenTenants(const std::string& traces, int64_t theta_units);  // E2
Status RunHog(int64_t theta_units);                                            // E3
Status RunPrefixIsolation(const std::string& traces);                          // E5
Status RunLeakTest();                                                          // E11
Status RunAzure(const std::string& traces);   // E4: two services' traces at rising load
Status RunOverload();                         // E6: three times what the device does
Status RunCancelStorm();                      // E7
Status RunDrain();                            // E8
Status RunThreeModels();                      // E9
Status RunSweeps(const std::string& traces);  // E10: parameters one at a time

}  // namespace inferd::sim
