// Checks: the scheduler's invariants, each by name, held after every event of a simulated run.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "base/clock.h"
#include "scheduler/scheduler.h"
#include "tests/simulation/fairness_monitor.h"
#include "tests/simulation/report.h"
#include "tests/simulation/workload.h"

namespace inferd::sim {

// Names of checks, as violations bear them; docs/simulator.md has the list with what each means.
namespace check {
inline constexpr char kIntegrity[] = "integrity";
inline constexpr char kState[] = "state-is-the-sequences-own";
inline constexpr char kInFlight[] = "units-in-flight-are-kept";
inline constexpr char kTables[] = "tables-only-grow";
inline constexpr char kBudget[] = "step-budget";
inline constexpr char kChunks[] = "canonical-chunks";
inline constexpr char kFairness[] = "fairness-bound";
inline constexpr char kLift[] = "lift-into-window";
inline constexpr char kWork[] = "work-conservation";
inline constexpr char kCaps[] = "tenant-caps";
inline constexpr char kLease[] = "within-lease";
inline constexpr char kSettle[] = "settled-once";
inline constexpr char kStream[] = "streams-only-grow";
inline constexpr char kCancel[] = "cancel-ends-grants";
inline constexpr char kOverdue[] = "nothing-overdue";
inline constexpr char kQueueTimeout[] = "queue-timeout-holds";
inline constexpr char kDrain[] = "drains";
inline constexpr char kOutput[] = "output-as-alone";
inline constexpr char kReserved[] = "reserved-is-not-preempted";
inline constexpr char kInterference[] = "others-change-nothing";
inline constexpr char kReplay[] = "same-log-same-plans";
}  // namespace check

// Reads the scheduler from outside, through its public interface alone.
class Checks {
 public:
  Checks(const Workload& workload, const Scheduler& scheduler);

  // The first thing that is wrong is kept.
  const std::optional<Violation>& violation() const { return violation_; }
  void Fail(const char* check, std::string what);

  void OnSubmit(SequenceId id) { live_.insert(id); }
  // Ended, whatever the reason: it must get no grant any more.
  void OnEnd(SequenceId id);
  void OnPause(SequenceId id, TimePoint now) { paused_since_.try_emplace(id, now); }
  void OnResume(SequenceId id) { paused_since_.erase(id); }
  // Before Plan is called.
  void BeforePlan();
  // `at_lease_edge`: sequences that may not compute a further token.
  void OnPlan(const StepPlan& plan, TimePoint now, const std::set<SequenceId>& at_lease_edge);
  void OnCommit(uint64_t epoch);
  // After every event.
  void AfterEvent(TimePoint now);

  const FairnessMonitor& fairness() const { return fairness_; }

 private:
  // Units that a plan in flight reads and writes, and for whom.
  using UnitKey = std::tuple<uint32_t, size_t, BlockIndex>;  // model, group, unit
  struct InUse {
    uint64_t epoch = 0;
    std::map<UnitKey, std::set<SequenceId>> units;
  };

  void CheckBudget(const StepPlan& plan);
  void CheckRow(const StepPlan& plan, const PlanRow& row);
  void CheckTables(const PlanRow& row, size_t n_groups);
  void CheckInFlight(const StepPlan& plan);
  void CheckWork(const StepPlan& plan, const std::set<SequenceId>& at_lease_edge);
  void CheckOverdue();
  void CheckLift();
  void RememberBacklog();
  void CheckCaps();

  const Workload& workload_;
  const Scheduler& scheduler_;
  FairnessMonitor fairness_;
  std::optional<Violation> violation_;
  TimePoint now_{};
  uint64_t steps_ = 0;
  uint64_t events_ = 0;
  std::set<SequenceId> live_;
  std::set<SequenceId> ended_;
  std::vector<bool> backlogged_;  // [flows] after the last event
  bool anyone_waited_ = false;    // before the plan
  std::map<SequenceId, std::vector<std::vector<BlockIndex>>> tables_;
  std::map<SequenceId, int32_t> preemptions_;
  std::map<SequenceId, TimePoint> paused_since_;
  std::vector<InUse> in_flight_;
};

}  // namespace inferd::sim
