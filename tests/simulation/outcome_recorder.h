// OutcomeRecorder: what came of a simulated run: its report, and the checks on what was streamed.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "scheduler/scheduler.h"
#include "tests/simulation/checks.h"
#include "tests/simulation/fake_device.h"
#include "tests/simulation/report.h"
#include "tests/simulation/simulation.h"
#include "tests/simulation/workload.h"

namespace inferd::sim {

// What the time of a step depends on.
struct StepShape {
  int64_t prefill_tokens = 0;
  int64_t decode_rows = 0;
  int64_t context_tokens = 0;
};

// Told of everything that Simulation does, in order; `index` is a submission's. Owns the report;
// what is wrong goes to the checks. All that it is made of outlives it.
class OutcomeRecorder {
 public:
  OutcomeRecorder(const Workload& workload, const RunOptions& options, Checks& checks);

  const RequestOutcome& outcome(uint32_t index) const { return report_.requests[index]; }

  void Arrived(uint32_t index, Duration at) { report_.requests[index].arrival = at; }
  // A violation if it had ended before.
  void RecordEnd(uint32_t index, EndKind kind, Duration at);
  void Preempted(uint32_t index);

  // Every plan, those without rows too.
  void Planned(const StepPlan& plan);
  // A row of a step that starts now; adds what it takes to `shape`.
  void Started(const PlanRow& row, uint32_t index, Duration at, StepShape& shape);
  void StepTakes(Duration time);
  // How much service every tenant has had, and who waits.
  void SampleService(const Scheduler& scheduler, Duration at);

  // The token drawn, and those behind it as long as the draft comes true. Says in `result` how many
  // they are, and whether the last of them is the request's last.
  void TakeDraws(
      const PlanRow& row, uint32_t index, const RowDraws& draws, Duration at, RowResult& result);
  // A request's output is what it would be alone; on a sensitive device if chunks are canonical and
  // nothing of it was computed again.
  void CheckOutput(uint32_t index);

  // The run is over, and nothing is wrong so far unless the checks say so.
  Report Finish(const Scheduler& scheduler, Duration at);

 private:
  bool TakeToken(const PlanRow& row, uint32_t index, TokenId token, int64_t before, Duration at);

  const Workload& workload_;
  const RunOptions options_;
  Checks& checks_;
  Report report_;
  std::map<uint32_t, int64_t> high_water_;  // by submission: the most positions ever computed
  std::vector<Duration> last_token_;        // [submissions]
};

}  // namespace inferd::sim
