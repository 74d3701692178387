#include "governance/quota/quota_book.h"

#include <tuple>
#include <utility>

#include "base/check.h"

namespace inferd {
namespace {

int Depth(const QuotaAccount& scope) {
  return static_cast<int>(!scope.tenant.empty()) + static_cast<int>(!scope.project.empty()) * 2 +
         static_cast<int>(!scope.key.empty()) * 4 + static_cast<int>(!scope.model.empty()) * 8;
}

bool SameCounter(const QuotaLimit& a, const QuotaLimit& b) {
  return a.metric == b.metric && a.scope == b.scope;
}

// What a charge came to.
uint64_t ActualCost(const QuotaCounter::Charge& charge,
                    const QuotaAmounts& settled,
                    uint64_t cached) {
  const QuotaLimit& limit = charge.counter->limit();
  const uint64_t cost = std::min(charge.cost, CostOf(limit.metric, settled));
  return limit.cached_free ? cost - std::min(cost, cached) : cost;
}

void Conclude(QuotaRefusal& refusal) {
  Duration latest{0};
  bool known = true;
  for (const QuotaViolation& violation : refusal.violations) {
    refusal.never = refusal.never || violation.never;
    known = known && violation.retry_after.has_value();
    latest = std::max(latest, violation.retry_after.value_or(Duration(0)));
  }
  if (known && !refusal.never && !refusal.violations.empty()) {
    refusal.retry_after = latest;
  }
}

}  // namespace

void QuotaBook::SetLimits(std::vector<QuotaLimit> limits, const QuotaNow& now) {
  Advance(now);
  auto old = std::exchange(counters_, {});
  for (QuotaLimit& limit : limits) {
    CHECK(limit.scope.org == org_);
    const auto found = old.find(limit.id);
    if (found != old.end() && SameCounter(found->second->limit(), limit)) {
      found->second->Replace(limit, day_, now);
      counters_[limit.id] = std::move(found->second);
      old.erase(found);
    } else {
      AddCounter(std::move(limit), now);
    }
  }
  for (auto& [id, counter] : old) {
    retired_.push_back(std::move(counter));
  }
  DropRetired();
  wide_.clear();
  by_tenant_.clear();
  for (const auto& [id, counter] : counters_) {
    const std::string& tenant = counter->limit().scope.tenant;
    (tenant.empty() ? wide_ : by_tenant_[tenant]).push_back(counter.get());
  }
  ++generation_;
}

void QuotaBook::AddCounter(QuotaLimit limit, const QuotaNow& now) {
  auto counter = std::make_unique<QuotaCounter>(limit, *options_.rights, day_, now);
  Preload(*counter);
  const bool added = counters_.try_emplace(limit.id, std::move(counter)).second;
  CHECK(added);
}

uint64_t QuotaBook::UsageCoveredBy(const QuotaLimit& limit) const {
  const bool monthly = IsMonthly(limit.metric);
  uint64_t used = 0;
  for (const auto& [text, account] : accounts_) {
    const Usage& usage = account->usage;
    const bool current = monthly ? usage.month == MonthOf(day_) : usage.day == day_;
    if (current && limit.scope.Covers(account->name)) {
      used += CountedBy(limit.metric, monthly ? usage.of_month : usage.of_day);
    }
  }
  return used;
}

// A rate starts spent instead.
void QuotaBook::Preload(QuotaCounter& counter) {
  const QuotaLimit& limit = counter.limit();
  const QuotaKind kind = KindOf(limit.metric);
  if (kind == QuotaKind::kRate) {
    return;
  }
  if (kind == QuotaKind::kBudget) {
    counter.Preload(UsageCoveredBy(limit));
  }
  for (QuotaOpen* open : open_) {
    const bool current =
        kind == QuotaKind::kSemaphore ||
        (IsMonthly(limit.metric) ? MonthOf(open->day) == MonthOf(day_) : open->day == day_);
    if (current && limit.scope.Covers(open->account->name)) {
      open->charges.push_back(counter.Adopt(CostOf(limit.metric, open->upper_bound)));
    }
  }
}

uint64_t QuotaBook::BudgetDifference(const QuotaNow& now) {
  Advance(now);
  uint64_t difference = 0;
  for (const auto& [id, counter] : counters_) {
    if (KindOf(counter->limit().metric) == QuotaKind::kBudget) {
      counter->Advance(day_, now.mono);
      const uint64_t used = UsageCoveredBy(counter->limit());
      difference += std::max(used, counter->used()) - std::min(used, counter->used());
    }
  }
  return difference;
}

void QuotaBook::DropRetired() {
  std::erase_if(retired_, [](const auto& counter) { return counter->num_open() == 0; });
}

void QuotaBook::RefreshRights(const QuotaNow& now) {
  Advance(now);
  for (const auto& [id, counter] : counters_) {
    counter->Advance(day_, now.mono);
    counter->RefreshRight();
  }
}

void QuotaBook::Restore(const QuotaAccount& account, const Usage& usage) {
  CHECK(open_.empty());
  auto& known = accounts_[account.Text()];
  known = std::make_unique<QuotaOpen::Account>();
  known->name = account;
  known->usage = usage;
  RaiseDay(usage.day);
}

QuotaOpen::Account* QuotaBook::FindAccount(const QuotaAccount& account, std::string_view text) {
  if (const auto found = accounts_.find(text); found != accounts_.end()) {
    return found->second.get();
  }
  if (accounts_.size() >= options_.accounts_max && !MakeRoomForAccount()) {
    return nullptr;
  }
  auto added = std::make_unique<QuotaOpen::Account>();
  added->name = account;
  added->generation = generation_ - 1;
  return accounts_.emplace(text, std::move(added)).first->second.get();
}

// Accounts without use in this month count nowhere.
bool QuotaBook::MakeRoomForAccount() {
  const UtcMonth month = MonthOf(day_);
  std::erase_if(accounts_, [month](const auto& entry) {
    return entry.second->num_open == 0 && entry.second->usage.month < month;
  });
  return accounts_.size() < options_.accounts_max;
}

QuotaBook::Counters QuotaBook::Covering(const QuotaAccount& account) const {
  Counters counters;
  const auto add = [&](const Counters& some) {
    for (QuotaCounter* counter : some) {
      if (counter->limit().scope.Covers(account)) {
        counters.push_back(counter);
      }
    }
  };
  add(wide_);
  if (const auto found = by_tenant_.find(account.tenant); found != by_tenant_.end()) {
    add(found->second);
  }
  std::stable_sort(counters.begin(), counters.end(), [](const auto* a, const auto* b) {
    return Depth(a->limit().scope) < Depth(b->limit().scope);
  });
  return counters;
}

const QuotaBook::Counters& QuotaBook::CountersOf(QuotaOpen::Account& account) {
  if (account.generation != generation_) {
    account.counters = Covering(account.name);
    account.generation = generation_;
  }
  return account.counters;
}

std::optional<QuotaRefusal> QuotaBook::Reserve(const QuotaAccount& account,
                                               std::string_view account_text,
                                               const QuotaAmounts& upper_bound,
                                               const QuotaNow& now,
                                               QuotaOpen& open,
                                               std::vector<QuotaViolation>& notices) {
  Advance(now);
  QuotaOpen::Account* const known =
      open_.size() < options_.open_max ? FindAccount(account, account_text) : nullptr;
  if (known == nullptr) {
    return QuotaRefusal{.ledger_full = true};
  }
  const Counters& counters = CountersOf(*known);
  QuotaRefusal refusal;
  for (QuotaCounter* counter : counters) {
    const uint64_t cost = CostOf(counter->limit().metric, upper_bound);
    counter->Advance(day_, now.mono);
    if (!counter->Fits(cost)) {
      const bool enforced = counter->limit().mode == QuotaMode::kEnforce;
      (enforced ? refusal.violations : notices).push_back(counter->Violation(cost, now));
    }
  }
  if (!refusal.violations.empty()) {
    Conclude(refusal);
    return refusal;
  }
  open.account = known;
  open.day = day_;
  open.upper_bound = upper_bound;
  for (QuotaCounter* counter : counters) {
    const uint64_t cost = CostOf(counter->limit().metric, upper_bound);
    // What warns or watches counts what it would have let through; budgets count all use.
    if (cost > 0 &&
        (counter->Fits(cost) || KindOf(counter->limit().metric) == QuotaKind::kBudget)) {
      open.charges.push_back(counter->Take(cost));
    }
  }
  known->usage.Admit(day_, upper_bound);
  ++known->num_open;
  open.slot = open_.size();
  open_.push_back(&open);
  return std::nullopt;
}

QuotaRefusal QuotaBook::Explain(const QuotaAccount& account,
                                const QuotaAmounts& upper_bound,
                                const QuotaNow& now) {
  Advance(now);
  QuotaRefusal refusal;
  for (QuotaCounter* counter : Covering(account)) {
    const uint64_t cost = CostOf(counter->limit().metric, upper_bound);
    counter->Advance(day_, now.mono);
    if (!counter->Fits(cost) && counter->limit().mode == QuotaMode::kEnforce) {
      refusal.violations.push_back(counter->Violation(cost, now));
    }
  }
  Conclude(refusal);
  return refusal;
}

bool QuotaBook::IsClosed(const QuotaOpen& open, const QuotaNow& now) {
  Advance(now);
  const Counters& counters = CountersOf(*open.account);
  return std::any_of(counters.begin(), counters.end(), [&](QuotaCounter* counter) {
    counter->Advance(day_, now.mono);
    return counter->closed() && counter->limit().mode == QuotaMode::kEnforce;
  });
}

void QuotaBook::End(QuotaOpen& open,
                    const QuotaAmounts& settled,
                    uint64_t cached,
                    const QuotaNow& now) {
  Advance(now);
  for (const QuotaCounter::Charge& charge : open.charges) {
    charge.counter->Advance(day_, now.mono);
    QuotaCounter::Settle(charge, ActualCost(charge, settled, cached));
  }
  open.account->usage.End(open.day, open.upper_bound, settled);
  Close(open);
}

void QuotaBook::Undo(QuotaOpen& open, const QuotaNow& now) {
  Advance(now);
  for (const QuotaCounter::Charge& charge : open.charges) {
    charge.counter->Advance(day_, now.mono);
    QuotaCounter::Settle(charge, 0);
  }
  open.account->usage.Undo(open.day, open.upper_bound);
  Close(open);
}

void QuotaBook::Close(QuotaOpen& open) {
  open_[open.slot] = open_.back();
  open_[open.slot]->slot = open.slot;
  open_.pop_back();
  --open.account->num_open;
  open.charges.clear();
  if (!retired_.empty()) {
    DropRetired();
  }
}

std::vector<QuotaState> QuotaBook::Show(const QuotaAccount& account, const QuotaNow& now) {
  Advance(now);
  Counters counters;
  if (account.tenant.empty()) {
    for (const auto& [id, counter] : counters_) {
      counters.push_back(counter.get());
    }
  } else {
    counters = Covering(account);
  }
  std::vector<QuotaState> states;
  for (QuotaCounter* counter : counters) {
    counter->Advance(day_, now.mono);
    states.push_back(counter->State(now));
  }
  return states;
}

void QuotaBook::AppendUsage(UsageByAccount& usage) const {
  for (const auto& [text, account] : accounts_) {
    usage[account->name] = account->usage;
  }
}

}  // namespace inferd
