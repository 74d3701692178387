#include "governance/quota/usage.h"

namespace inferd {

void Usage::Roll(UtcDay to) {
  if (to <= day) {
    return;
  }
  day = to;
  of_day = {};
  if (const UtcMonth to_month = MonthOf(to); to_month > month) {
    month = to_month;
    of_month = {};
    num_admitted = 0;
    num_ended = 0;
  }
}

void Usage::Admit(UtcDay of, const QuotaAmounts& upper_bound) {
  Roll(of);
  if (of == day) {
    of_day.Add(upper_bound);
  }
  if (MonthOf(of) == month) {
    of_month.Add(upper_bound);
    ++num_admitted;
  }
}

void Usage::End(UtcDay of, const QuotaAmounts& upper_bound, const QuotaAmounts& settled) {
  if (of == day) {
    of_day.Subtract(upper_bound);
    of_day.Add(settled);
  }
  if (MonthOf(of) == month) {
    of_month.Subtract(upper_bound);
    of_month.Add(settled);
    ++num_ended;
  }
}

void Usage::Undo(UtcDay of, const QuotaAmounts& upper_bound) {
  if (of == day) {
    of_day.Subtract(upper_bound);
  }
  if (MonthOf(of) == month) {
    of_month.Subtract(upper_bound);
    --num_admitted;
  }
}

uint64_t CountedBy(QuotaMetric budget, const BudgetUse& use) {
  const bool spend = budget == QuotaMetric::kSpendPerDay || budget == QuotaMetric::kSpendPerMonth;
  return spend ? use.micro : use.tokens;
}

}  // namespace inferd
