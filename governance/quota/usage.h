// Usage: what an account used of its budgets' windows. The ledger keeps it as it happens, the fold
// (usage_fold.h) computes it from the audit log, and both must agree.
#pragma once

#include <cstdint>
#include <map>

#include "governance/quota/quota_amounts.h"
#include "governance/quota/quota_limit.h"
#include "governance/quota/utc_window.h"

namespace inferd {

// Open requests count with their upper bound, ended ones with what they were settled at.
struct BudgetUse {
  uint64_t tokens = 0;
  uint64_t micro = 0;
  friend bool operator==(const BudgetUse&, const BudgetUse&) = default;

  void Add(const QuotaAmounts& amounts) {
    tokens += amounts.in + amounts.out;
    micro += amounts.micro;
  }
  void Subtract(const QuotaAmounts& amounts) {
    tokens -= amounts.in + amounts.out;
    micro -= amounts.micro;
  }
};

// Of one account. Windows only go forward: what comes late for an older one is not counted here.
struct Usage {
  UtcDay day = 0;
  BudgetUse of_day{};
  UtcMonth month = 0;
  BudgetUse of_month{};
  // Requests of the month, begun and ended: two accounts of one use that agree in these must agree
  // in all, and where they do not, one of them has not heard of the last requests yet.
  uint64_t num_admitted = 0;
  uint64_t num_ended = 0;
  friend bool operator==(const Usage&, const Usage&) = default;

  // Makes `to` the current day if it is later.
  void Roll(UtcDay to);
  void Admit(UtcDay of, const QuotaAmounts& upper_bound);
  // `of` is the day that it was admitted in.
  void End(UtcDay of, const QuotaAmounts& upper_bound, const QuotaAmounts& settled);
  // Takes an admission back, as if it had never been.
  void Undo(UtcDay of, const QuotaAmounts& upper_bound);
};

using UsageByAccount = std::map<QuotaAccount, Usage>;

// The part of `use` that a budget counts.
uint64_t CountedBy(QuotaMetric budget, const BudgetUse& use);

}  // namespace inferd
