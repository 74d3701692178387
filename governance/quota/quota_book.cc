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

// A semaphore that only watched has counted what it would have let through: one that enforces
// counts all that is open.
bool SameCounter(const QuotaLimit& a, const QuotaLimit& b) {
  const bool counts_alike = KindOf(a.metric) != QuotaKind::kSemaphore ||
                            (a.mode == QuotaMode::kEnforce) == (b.mode == QuotaMode::kEnforce);
  return a.metric == b.metric && a.scope == b.scope && counts_alike;
}

// What a charge came to.
uint64_t ActualCost(const QuotaCounter::Charge& charge,
                    const QuotaAmounts& settled,
                    uint64_t cached) {
  const QuotaLimit& limit = charge.counter->limit();
  const uint64_t cost = std::min(charge.cost, CostOf(limit.metric, settled));
  return limit.cached_free ? cost - std::min(cost, cached) : cost;
}

// From the org down.
bool IsWider(const QuotaCounter* a, const QuotaCounter* b) {
  return Depth(a->limit().scope) < Depth(b->limit().scope);
}
void SortByLevel(std::vector<QuotaViolation>& violations) {
  std::stable_sort(violations.begin(), violations.end(), [](const auto& a, const auto& b) {
    return Depth(a.state.scope) < Depth(b.state.scope);
  });
}

void Conclude(QuotaRefusal& refusal) {
  SortByLevel(refusal.violations);
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

// What does not fit, into `violations` where it is enforced, else into `notices`.
void Judge(const std::vector<QuotaCounter*>& counters,
           const QuotaAmounts& upper_bound,
           UtcDay day,
           const QuotaNow& now,
           std::vector<QuotaViolation>& violations,
           std::vector<QuotaViolation>* notices) {
  for (QuotaCounter* counter : counters) {
    const uint64_t cost = CostOf(counter->metric(), upper_bound);
    counter->Advance(day, now.mono);
    if (counter->Fits(cost)) {
      continue;
    }
    if (counter->limit().mode == QuotaMode::kEnforce) {
      violations.push_back(counter->Violation(cost, now));
    } else if (notices != nullptr) {
      notices->push_back(counter->Violation(cost, now));
    }
  }
}

void Take(const std::vector<QuotaCounter*>& counters,
          const QuotaAmounts& upper_bound,
          std::vector<QuotaCounter::Charge>& charges) {
  for (QuotaCounter* counter : counters) {
    const uint64_t cost = CostOf(counter->metric(), upper_bound);
    // What warns or watches counts what it would have let through; budgets count all use.
    if (cost > 0 && (counter->Fits(cost) || counter->kind() == QuotaKind::kBudget)) {
      charges.push_back(counter->Take(cost));
    }
  }
}

// Ends charges at what `actual` says of each.
template <typename ActualOf>
void Settle(std::vector<QuotaCounter::Charge>& charges,
            UtcDay day,
            TimePoint now,
            const ActualOf& actual) {
  for (const QuotaCounter::Charge& charge : charges) {
    charge.counter->Advance(day, now);
    QuotaCounter::Settle(charge, actual(charge));
  }
  charges.clear();
}

bool AnyClosed(const std::vector<QuotaCounter*>& counters, UtcDay day, TimePoint now) {
  return std::any_of(counters.begin(), counters.end(), [&](QuotaCounter* counter) {
    counter->Advance(day, now);
    return counter->closed() && counter->limit().mode == QuotaMode::kEnforce;
  });
}

void DropEnded(std::vector<std::unique_ptr<QuotaCounter>>& retired) {
  if (!retired.empty()) {
    std::erase_if(retired, [](const auto& counter) { return counter->num_open() == 0; });
  }
}

}  // namespace

// All of a book's locks, and no new part while they are held.
class QuotaBook::AllLocks {
 public:
  explicit AllLocks(const QuotaBook& book) NO_THREAD_SAFETY_ANALYSIS : book_(book) {
    book_.parts_mutex_.Lock();
    book_.ForEachPart([](Part& part) NO_THREAD_SAFETY_ANALYSIS { part.mutex.Lock(); });
    book_.wide_mutex_.Lock();
  }
  ~AllLocks() NO_THREAD_SAFETY_ANALYSIS {
    book_.wide_mutex_.Unlock();
    book_.ForEachPart([](Part& part) NO_THREAD_SAFETY_ANALYSIS { part.mutex.Unlock(); });
    book_.parts_mutex_.Unlock();
  }

 private:
  const QuotaBook& book_;
};

QuotaBook::QuotaBook(std::string org, const Clock& clock, const QuotaBookOptions& options)
    : org_(std::move(org)), clock_(clock), options_(options) {}

QuotaBook::~QuotaBook() {
  ForEachPart([](Part& part) { delete &part; });
}

template <typename Visit>
void QuotaBook::ForEachPart(const Visit& visit) const {
  for (const std::atomic<Part*>& place : parts_) {
    if (Part* const part = place.load(std::memory_order_acquire)) {
      visit(*part);
    }
  }
}

QuotaBook::Part& QuotaBook::PartOf(const std::string& tenant) {
  std::atomic<Part*>& place = parts_[std::hash<std::string>{}(tenant) % kParts];
  if (Part* const part = place.load(std::memory_order_acquire)) {
    return *part;
  }
  MutexLock lock(parts_mutex_);
  Part* part = place.load(std::memory_order_relaxed);
  if (part == nullptr) {
    part = new Part();
    place.store(part, std::memory_order_release);
  }
  return *part;
}

void QuotaBook::RaiseDay(UtcDay day) {
  MutexLock lock(wide_mutex_);
  day_ = std::max(day_.load(), day);
}

UtcDay QuotaBook::DayOn(const QuotaNow& now) {
  const UtcDay day = DayOf(now.wall);
  if (day > day_.load()) {
    RaiseDay(day);
  }
  return day_.load();
}

void QuotaBook::SetLimits(std::vector<QuotaLimit> limits) NO_THREAD_SAFETY_ANALYSIS {
  (void)DayOn(Now());
  for (const QuotaLimit& limit : limits) {
    (void)PartOf(limit.scope.tenant);
  }
  AllLocks lock(*this);
  const QuotaNow now = Now();
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
    if (counter->num_open() > 0) {
      const std::string& tenant = counter->limit().scope.tenant;
      Part* const part = parts_[std::hash<std::string>{}(tenant) % kParts].load();
      (counter->wide() ? retired_ : part->retired).push_back(std::move(counter));
    }
  }
  wide_.clear();
  by_tenant_.clear();
  for (const auto& [id, counter] : counters_) {
    (counter->wide() ? wide_ : by_tenant_[counter->limit().scope.tenant]).push_back(counter.get());
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
  const UtcDay day = day_;
  uint64_t used = 0;
  ForEachPart([&](const Part& part) NO_THREAD_SAFETY_ANALYSIS {
    for (const auto& [text, account] : part.accounts) {
      const Usage& usage = account->usage;
      const bool current = monthly ? usage.month == MonthOf(day) : usage.day == day;
      if (current && limit.scope.Covers(account->name)) {
        used += CountedBy(limit.metric, monthly ? usage.of_month : usage.of_day);
      }
    }
  });
  return used;
}

// A rate starts spent instead.
void QuotaBook::Preload(QuotaCounter& counter) {
  const QuotaLimit& limit = counter.limit();
  const QuotaKind kind = counter.kind();
  if (kind == QuotaKind::kRate) {
    return;
  }
  if (kind == QuotaKind::kBudget) {
    counter.Preload(UsageCoveredBy(limit));
  }
  const UtcDay day = day_;
  ForEachPart([&](Part& part) NO_THREAD_SAFETY_ANALYSIS {
    for (QuotaOpen* open : part.open) {
      const bool current =
          kind == QuotaKind::kSemaphore ||
          (IsMonthly(limit.metric) ? MonthOf(open->day) == MonthOf(day) : open->day == day);
      if (current && limit.scope.Covers(open->account->name)) {
        (counter.wide() ? open->wide_charges : open->charges)
            .push_back(counter.Adopt(CostOf(limit.metric, open->upper_bound)));
      }
    }
  });
}

uint64_t QuotaBook::BudgetDifference() {
  (void)DayOn(Now());
  AllLocks lock(*this);
  const QuotaNow now = Now();
  uint64_t difference = 0;
  for (const auto& [id, counter] : counters_) {
    if (counter->kind() == QuotaKind::kBudget) {
      counter->Advance(day_, now.mono);
      const uint64_t used = UsageCoveredBy(counter->limit());
      difference += std::max(used, counter->used()) - std::min(used, counter->used());
    }
  }
  return difference;
}

void QuotaBook::RefreshRights() {
  (void)DayOn(Now());
  AllLocks lock(*this);
  const QuotaNow now = Now();
  for (const auto& [id, counter] : counters_) {
    counter->Advance(day_, now.mono);
    counter->RefreshRight();
  }
}

void QuotaBook::Restore(const QuotaAccount& account, const Usage& usage) {
  RaiseDay(usage.day);
  Part& part = PartOf(account.tenant);
  MutexLock lock(part.mutex);
  CHECK(part.open.empty());
  auto& known = part.accounts[account.Text()];
  num_accounts_ += known == nullptr ? 1 : 0;
  known = std::make_unique<QuotaOpen::Account>();
  known->name = account;
  known->usage = usage;
}

QuotaOpen::Account* QuotaBook::FindAccount(Part& part,
                                           const QuotaAccount& account,
                                           std::string_view text) {
  if (const auto found = part.accounts.find(text); found != part.accounts.end()) {
    return found->second.get();
  }
  if (num_accounts_.fetch_add(1) >= options_.accounts_max) {
    --num_accounts_;
    return nullptr;
  }
  auto added = std::make_unique<QuotaOpen::Account>();
  added->name = account;
  added->generation = generation_ - 1;
  return part.accounts.emplace(text, std::move(added)).first->second.get();
}

// Accounts without use in this month count nowhere.
void QuotaBook::MakeRoomForAccounts() {
  AllLocks lock(*this);
  const UtcMonth month = MonthOf(day_);
  ForEachPart([&](Part& part) NO_THREAD_SAFETY_ANALYSIS {
    num_accounts_ -= std::erase_if(part.accounts, [month](const auto& entry) {
      return entry.second->num_open == 0 && entry.second->usage.month < month;
    });
  });
}

// Which counters cover the account, if that is not known.
void QuotaBook::LookUp(QuotaOpen::Account& account) const {
  if (account.generation == generation_) {
    return;
  }
  const auto covering = [&account](const Counters& some) {
    Counters counters;
    for (QuotaCounter* counter : some) {
      if (counter->limit().scope.Covers(account.name)) {
        counters.push_back(counter);
      }
    }
    std::stable_sort(counters.begin(), counters.end(), IsWider);
    return counters;
  };
  const auto of_tenant = by_tenant_.find(account.name.tenant);
  account.own = of_tenant == by_tenant_.end() ? Counters() : covering(of_tenant->second);
  account.wide = covering(wide_);
  account.generation = generation_;
}

std::optional<QuotaRefusal> QuotaBook::Reserve(const QuotaAccount& account,
                                               std::string_view account_text,
                                               const QuotaAmounts& upper_bound,
                                               QuotaOpen& open,
                                               std::vector<QuotaViolation>& notices) {
  Part& part = PartOf(account.tenant);
  for (const bool first : {true, false}) {
    {
      MutexLock lock(part.mutex);
      if (QuotaOpen::Account* const known = FindAccount(part, account, account_text)) {
        return ReserveIn(part, *known, upper_bound, open, notices);
      }
    }
    if (first) {
      (void)DayOn(Now());
      MakeRoomForAccounts();
    }
  }
  return QuotaRefusal{.ledger_full = true};
}

// The tenant's counters first, under its lock, which is held to the end; then the org's.
std::optional<QuotaRefusal> QuotaBook::ReserveIn(Part& part,
                                                 QuotaOpen::Account& account,
                                                 const QuotaAmounts& upper_bound,
                                                 QuotaOpen& open,
                                                 std::vector<QuotaViolation>& notices) {
  LookUp(account);
  for (;;) {
    const QuotaNow now = Now();
    const UtcDay day = DayOn(now);
    QuotaRefusal refusal;
    notices.clear();
    Judge(account.own, upper_bound, day, now, refusal.violations, &notices);
    const Taken taken = TakeWide(account, upper_bound, day, open, refusal, notices);
    if (taken == Taken::kNewDay) {
      continue;  // since `now` was read; once, at midnight
    }
    if (taken != Taken::kTaken) {
      refusal.ledger_full = taken == Taken::kFull;
      Conclude(refusal);
      return refusal;
    }
    SortByLevel(notices);
    Take(account.own, upper_bound, open.charges);
    open.account = &account;
    open.day = day;
    open.upper_bound = upper_bound;
    account.usage.Admit(day, upper_bound);
    ++account.num_open;
    open.slot = part.open.size();
    part.open.push_back(&open);
    return std::nullopt;
  }
}

// Judges the org's counters, and takes them if nothing at all is violated. The only lock that all
// of the org's requests share, so nothing is done under it that can be done elsewhere.
QuotaBook::Taken QuotaBook::TakeWide(const QuotaOpen::Account& account,
                                     const QuotaAmounts& upper_bound,
                                     UtcDay day,
                                     QuotaOpen& open,
                                     QuotaRefusal& refusal,
                                     std::vector<QuotaViolation>& notices) {
  MutexLock lock(wide_mutex_, MutexLock::Spinning());
  if (day_.load() != day) {
    return Taken::kNewDay;
  }
  if (num_open_ >= options_.open_max) {
    return Taken::kFull;
  }
  const QuotaNow now = Now();
  Judge(account.wide, upper_bound, day, now, refusal.violations, &notices);
  if (!refusal.violations.empty()) {
    return Taken::kRefused;
  }
  Take(account.wide, upper_bound, open.wide_charges);
  ++num_open_;
  return Taken::kTaken;
}

QuotaRefusal QuotaBook::Explain(const QuotaAccount& account, const QuotaAmounts& upper_bound) {
  QuotaRefusal refusal;
  QuotaOpen::Account asked;
  asked.name = account;
  Part& part = PartOf(account.tenant);
  MutexLock lock(part.mutex);
  asked.generation = generation_ - 1;
  LookUp(asked);
  const QuotaNow now = Now();
  (void)DayOn(now);
  MutexLock wide_lock(wide_mutex_);
  Judge(asked.own, upper_bound, day_, now, refusal.violations, nullptr);
  Judge(asked.wide, upper_bound, day_, now, refusal.violations, nullptr);
  Conclude(refusal);
  return refusal;
}

bool QuotaBook::IsClosed(const QuotaOpen& open) {
  Part& part = PartOf(open.account->name.tenant);
  MutexLock lock(part.mutex);
  LookUp(*open.account);
  const QuotaNow now = Now();
  const UtcDay day = DayOn(now);
  if (AnyClosed(open.account->own, day, now.mono)) {
    return true;
  }
  MutexLock wide_lock(wide_mutex_);
  return AnyClosed(open.account->wide, day_, now.mono);
}

void QuotaBook::End(QuotaOpen& open, const QuotaAmounts& settled, uint64_t cached) {
  Part& part = PartOf(open.account->name.tenant);
  MutexLock lock(part.mutex);
  const QuotaNow now = Now();
  const UtcDay day = DayOn(now);
  const auto actual = [&](const QuotaCounter::Charge& charge) {
    return ActualCost(charge, settled, cached);
  };
  Settle(open.charges, day, now.mono, actual);
  open.account->usage.End(open.day, open.upper_bound, settled);
  EndWide(open, actual);
  Close(part, open);
}

void QuotaBook::Undo(QuotaOpen& open) {
  Part& part = PartOf(open.account->name.tenant);
  MutexLock lock(part.mutex);
  const QuotaNow now = Now();
  const UtcDay day = DayOn(now);
  const auto nothing = [](const QuotaCounter::Charge&) { return uint64_t{0}; };
  Settle(open.charges, day, now.mono, nothing);
  open.account->usage.Undo(open.day, open.upper_bound);
  EndWide(open, nothing);
  Close(part, open);
}

// As short as TakeWide.
template <typename ActualOf>
void QuotaBook::EndWide(QuotaOpen& open, const ActualOf& actual) {
  MutexLock lock(wide_mutex_, MutexLock::Spinning());
  Settle(open.wide_charges, day_, clock_.Now(), actual);
  --num_open_;
  DropEnded(retired_);
}

void QuotaBook::Close(Part& part, QuotaOpen& open) {
  DropEnded(part.retired);
  part.open[open.slot] = part.open.back();
  part.open[open.slot]->slot = open.slot;
  part.open.pop_back();
  --open.account->num_open;
}

std::vector<QuotaState> QuotaBook::Show(const QuotaAccount& account) {
  QuotaOpen::Account asked;
  asked.name = account;
  Part& part = PartOf(account.tenant);
  std::vector<QuotaState> states;
  const auto add = [&states, this](const Counters& counters, const QuotaNow& now) {
    for (QuotaCounter* counter : counters) {
      counter->Advance(day_, now.mono);
      states.push_back(counter->State(now));
    }
  };
  (void)DayOn(Now());
  if (account.tenant.empty()) {
    AllLocks lock(*this);
    const QuotaNow now = Now();
    for (const auto& [id, counter] : counters_) {
      add({counter.get()}, now);
    }
    return states;
  }
  MutexLock lock(part.mutex);
  asked.generation = generation_ - 1;
  LookUp(asked);
  const QuotaNow now = Now();
  MutexLock wide_lock(wide_mutex_);
  add(asked.wide, now);
  add(asked.own, now);
  std::stable_sort(states.begin(), states.end(), [](const auto& a, const auto& b) {
    return Depth(a.scope) < Depth(b.scope);
  });
  return states;
}

void QuotaBook::AppendUsage(UsageByAccount& usage) const {
  ForEachPart([&usage](Part& part) {
    MutexLock lock(part.mutex);
    for (const auto& [text, account] : part.accounts) {
      usage[account->name] = account->usage;
    }
  });
}

size_t QuotaBook::num_open() const {
  MutexLock lock(wide_mutex_);
  return num_open_;
}

}  // namespace inferd
