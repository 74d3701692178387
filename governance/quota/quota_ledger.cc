#include "governance/quota/quota_ledger.h"

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <utility>

#include "base/check.h"

namespace inferd {
namespace {

// One more than any limit: it fits nowhere.
uint64_t Bounded(uint64_t units) { return std::min(units, kQuotaUnitsMax + 1); }

QuotaAmounts Bounded(const QuotaAmounts& amounts) {
  return {.in = Bounded(amounts.in),
          .out = Bounded(amounts.out),
          .conc = Bounded(amounts.conc),
          .kv = Bounded(amounts.kv),
          .micro = Bounded(amounts.micro)};
}

uint64_t Difference(uint64_t a, uint64_t b) { return std::max(a, b) - std::min(a, b); }

uint64_t Difference(const BudgetUse& a, const BudgetUse& b) {
  return Difference(a.tokens, b.tokens) + Difference(a.micro, b.micro);
}

// Of an account, as it stands once `day` has begun.
Usage UsageOn(UtcDay day, const UsageByAccount& all, const QuotaAccount& account) {
  const auto found = all.find(account);
  Usage usage = found == all.end() ? Usage() : found->second;
  usage.Roll(day);
  return usage;
}

}  // namespace

QuotaReservation::~QuotaReservation() {
  if (open()) {
    (void)Settle({.in = upper_bound_.in, .out = upper_bound_.out, .micro = upper_bound_.micro});
  }
}

QuotaReservation::QuotaReservation(QuotaReservation&& other) noexcept { *this = std::move(other); }

QuotaReservation& QuotaReservation::operator=(QuotaReservation&& other) noexcept {
  // What this one held ends in `other`.
  std::swap(ledger_, other.ledger_);
  std::swap(book_, other.book_);
  std::swap(open_, other.open_);
  std::swap(account_, other.account_);
  std::swap(upper_bound_, other.upper_bound_);
  std::swap(day_, other.day_);
  std::swap(leased_, other.leased_);
  std::swap(settlement_, other.settlement_);
  return *this;
}

uint64_t QuotaReservation::Lease(uint64_t tokens) {
  const uint64_t more = open() ? ledger_->Lease(*this, tokens) : 0;
  leased_ += more;
  return more;
}

QuotaSettlement QuotaReservation::Settle(const QuotaActual& actual) {
  if (open()) {
    settlement_ = ledger_->Settle(*this, actual);
    open_.reset();
  }
  return settlement_;
}

void QuotaReservation::Cancel() {
  if (open()) {
    ledger_->Cancel(*this);
    open_.reset();
  }
}

QuotaLedger::QuotaLedger(const QuotaLedgerOptions& options) : options_(options) {}

QuotaLedger::~QuotaLedger() {
  CHECK(num_open() == 0);
  for (Stripe& stripe : stripes_) {
    for (Shelf* shelf = stripe.first; shelf != nullptr;) {
      delete std::exchange(shelf, shelf->next);
    }
  }
}

QuotaBook* QuotaLedger::FindBook(const Stripe& stripe, const std::string& org) {
  for (const Shelf* shelf = stripe.first.load(std::memory_order_acquire); shelf != nullptr;
       shelf = shelf->next) {
    if (shelf->book->org() == org) {
      return shelf->book.get();
    }
  }
  return nullptr;
}

QuotaBook& QuotaLedger::BookOf(const std::string& org) {
  Stripe& stripe = stripes_[std::hash<std::string>{}(org) % kStripes];
  if (QuotaBook* const book = FindBook(stripe, org)) {
    return *book;
  }
  MutexLock lock(stripe.mutex);
  if (QuotaBook* const book = FindBook(stripe, org)) {
    return *book;
  }
  auto book = std::make_unique<QuotaBook>(org, *options_.clock, options_.book);
  book->RaiseDay(day_);
  auto* const shelf = new Shelf{.book = std::move(book), .next = stripe.first};
  stripe.first.store(shelf, std::memory_order_release);
  return *shelf->book;
}

std::vector<QuotaBook*> QuotaLedger::Books() const {
  std::vector<QuotaBook*> books;
  for (const Stripe& stripe : stripes_) {
    for (const Shelf* shelf = stripe.first; shelf != nullptr; shelf = shelf->next) {
      books.push_back(shelf->book.get());
    }
  }
  return books;
}

Status QuotaLedger::SetLimits(std::vector<QuotaLimit> limits) {
  std::set<std::string> ids;
  std::map<std::string, std::vector<QuotaLimit>> by_org;
  for (QuotaLimit& limit : limits) {
    RETURN_IF_ERROR(Validate(limit));
    if (!ids.insert(limit.id).second) {
      return ErrorF(StatusCode::kInvalidArgument, "quota %s: there are two of this id", limit.id);
    }
    by_org[limit.scope.org].push_back(std::move(limit));
  }
  for (QuotaBook* book : Books()) {
    if (!by_org.contains(book->org())) {
      book->SetLimits({});
    }
  }
  for (auto& [org, of_org] : by_org) {
    BookOf(org).SetLimits(std::move(of_org));
  }
  return OkStatus();
}

void QuotaLedger::RefreshRights() {
  for (QuotaBook* book : Books()) {
    book->RefreshRights();
  }
}

void QuotaLedger::Restore(const UsageByAccount& usage) {
  UtcDay last = day_;
  for (const auto& [account, use] : usage) {
    last = std::max(last, use.day);
  }
  day_ = last;
  for (QuotaBook* book : Books()) {
    book->RaiseDay(last);
  }
  for (const auto& [account, use] : usage) {
    BookOf(account.org).Restore(account, use);
  }
}

QuotaDecision QuotaLedger::Reserve(const QuotaAccount& account, const QuotaAmounts& upper_bound) {
  // What needs memory is done before the locks.
  constexpr size_t kUsualCharges = 16;
  const std::string text = account.Text();
  QuotaDecision decision;
  QuotaReservation reservation;
  reservation.open_ = std::make_unique<QuotaOpen>();
  reservation.open_->charges.reserve(kUsualCharges);
  reservation.open_->wide_charges.reserve(kUsualCharges);
  reservation.account_ = account;
  reservation.upper_bound_ = Bounded(upper_bound);
  reservation.book_ = &BookOf(account.org);
  auto refusal = reservation.book_->Reserve(
      account, text, reservation.upper_bound_, *reservation.open_, decision.notices);
  if (refusal) {
    decision.refusal = *std::move(refusal);
    reservation.open_.reset();
    return decision;
  }
  reservation.ledger_ = this;
  reservation.day_ = reservation.open_->day;
  decision.reservation = std::move(reservation);
  return decision;
}

QuotaRefusal QuotaLedger::Explain(const QuotaAccount& account, const QuotaAmounts& upper_bound) {
  return BookOf(account.org).Explain(account, Bounded(upper_bound));
}

uint64_t QuotaLedger::Lease(QuotaReservation& reservation, uint64_t tokens) {
  const uint64_t left = reservation.upper_bound_.out - reservation.leased_;
  return reservation.book_->IsClosed(*reservation.open_) ? 0 : std::min(tokens, left);
}

QuotaSettlement QuotaLedger::Settle(QuotaReservation& reservation, const QuotaActual& actual) {
  const QuotaAmounts& reserved = reservation.upper_bound_;
  QuotaSettlement settlement;
  settlement.charged = {.in = std::min(actual.in, reserved.in),
                        .out = std::min(actual.out, reserved.out),
                        .conc = reserved.conc,
                        .kv = reserved.kv,
                        .micro = std::min(actual.micro, reserved.micro)};
  settlement.overrun_tokens =
      actual.in - settlement.charged.in + actual.out - settlement.charged.out;
  reservation.book_->End(*reservation.open_, settlement.charged, actual.cached);
  overrun_tokens_ += settlement.overrun_tokens;
  return settlement;
}

void QuotaLedger::Cancel(QuotaReservation& reservation) {
  reservation.book_->Undo(*reservation.open_);
}

std::vector<QuotaState> QuotaLedger::Show(const QuotaAccount& account) {
  return BookOf(account.org).Show(account);
}

UsageByAccount QuotaLedger::CurrentUsage() const {
  UsageByAccount usage;
  for (const QuotaBook* book : Books()) {
    book->AppendUsage(usage);
  }
  return usage;
}

LedgerCheck QuotaLedger::Check(const UsageByAccount& log) {
  LedgerCheck check;
  const UsageByAccount ledger = CurrentUsage();
  std::set<QuotaAccount> accounts;
  UtcDay day = 0;
  for (const UsageByAccount* side : {&log, &ledger}) {
    for (const auto& [account, usage] : *side) {
      accounts.insert(account);
      day = std::max(day, usage.day);
    }
  }
  for (const QuotaAccount& account : accounts) {
    // Whoever has not heard of a new day yet has used nothing of it.
    const Usage ours = UsageOn(day, ledger, account);
    const Usage theirs = UsageOn(day, log, account);
    if (ours.num_admitted == theirs.num_admitted && ours.num_ended == theirs.num_ended) {
      ++check.num_compared;
      check.difference +=
          Difference(ours.of_day, theirs.of_day) + Difference(ours.of_month, theirs.of_month);
    } else {
      ++check.num_behind;
      check.difference += theirs.num_admitted - std::min(theirs.num_admitted, ours.num_admitted);
      check.difference += theirs.num_ended - std::min(theirs.num_ended, ours.num_ended);
    }
  }
  for (QuotaBook* book : Books()) {
    check.difference += book->BudgetDifference();
  }
  return check;
}

size_t QuotaLedger::num_open() const {
  size_t open = 0;
  for (const QuotaBook* book : Books()) {
    open += book->num_open();
  }
  return open;
}

uint64_t QuotaLedger::overrun_tokens() const { return overrun_tokens_; }

}  // namespace inferd
