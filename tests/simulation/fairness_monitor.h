// FairnessMonitor: holds the accounts of a Scheduler to the theorem of docs/simulator.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "scheduler/tenant_table.h"
#include "tests/simulation/statistics.h"

namespace inferd::sim {

// Watches the flows of a policy that keeps one flow a tenant. Units are service units of a tenant
// of weight 1; G is the largest normalised charge to one tenant in one step so far.
class FairnessMonitor {
 public:
  explicit FairnessMonitor(double theta) : theta_(theta) {}

  // After an event other than a plan: who is backlogged may have changed.
  void AfterEvent(const TenantTable& table);
  // After a plan has charged its grants. Returns what is wrong, if anything is.
  std::optional<std::string> AfterPlan(const TenantTable& table);

  double lemma_excess() const { return lemma_excess_; }
  double pair_gap() const { return pair_gap_; }
  double largest_grant() const { return largest_grant_; }
  double bound_used() const { return bound_used_; }

 private:
  void Grow(size_t flows);
  void MeasureGrants(const TenantTable& table);
  std::optional<std::string> CheckLemma(const TenantTable& table);
  std::optional<std::string> CheckPairs(const TenantTable& table);
  void ForgetIdle(const TenantTable& table);
  Swing& SwingOf(size_t f, size_t g) { return swings_[f * kPairsMax + g]; }

  static constexpr size_t kPairsMax = 64;  // tenants whose pairs are watched
  const double theta_;
  std::vector<uint64_t> charged_;  // [flows] before this plan
  std::vector<Swing> swings_;      // [kPairsMax * kPairsMax]
  double lemma_excess_ = 0;
  double pair_gap_ = 0;
  double largest_grant_ = 0;
  double bound_used_ = 0;
};

}  // namespace inferd::sim
