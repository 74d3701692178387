// QuotaLedger: who may spend how much now. Reserve the upper bound, lease parts of it to whoever
// computes, settle what it came to: exactly once, in integers.
//
// All limits that cover an account must hold, from its org down to its model, or nothing is taken.
// A request never comes to more than it reserved, so nothing ever passes a limit: for rates, see
// RateBucket; a crash leaves an open request charged in full, and rates start spent after it
// (`cold_start: no_credit`), so the promise holds across restarts. Budgets come back from the audit
// log (usage_fold.h), to the token.
//
// Rates run on the monotonic clock, budgets in days and months of UTC; a window that has begun is
// not left again when the wall clock steps back.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "base/thread_annotations.h"
#include "governance/quota/quota_book.h"
#include "governance/quota/quota_decision.h"
#include "governance/quota/quota_limit.h"
#include "governance/quota/usage.h"

namespace inferd {

class QuotaLedger;

// What a request came to in the end, for its completed leaf.
struct QuotaSettlement {
  QuotaAmounts charged{};
  // Tokens that were computed beyond the reservation: not charged, and a bug of whoever leases.
  uint64_t overrun_tokens = 0;
};

// The right of one request to spend what it reserved. One thread at a time; the ledger lives
// longer. If it goes without an end, it was charged in full: what it computed is not known.
class QuotaReservation {
 public:
  QuotaReservation() = default;
  ~QuotaReservation();
  QuotaReservation(QuotaReservation&& other) noexcept;
  QuotaReservation& operator=(QuotaReservation&& other) noexcept;

  // May it be leased from, settled, cancelled?
  bool open() const { return open_ != nullptr; }

  // For the admitted leaf.
  const QuotaAccount& account() const { return account_; }
  const QuotaAmounts& upper_bound() const { return upper_bound_; }
  UtcDay day() const { return day_; }

  // Up to `tokens` more output tokens that may be computed, within the reservation. 0: no more,
  // since all of it is leased, or since a limit was closed (set to 0) meanwhile, or it has ended.
  uint64_t Lease(uint64_t tokens);
  uint64_t leased() const { return leased_; }

  // Ends it: what was not used comes back. A second call changes nothing and says the same.
  QuotaSettlement Settle(const QuotaActual& actual);
  // Ends it as if it had never been: the request was refused behind the ledger, before its admitted
  // leaf.
  void Cancel();

 private:
  friend class QuotaLedger;
  QuotaLedger* ledger_ = nullptr;
  QuotaBook* book_ = nullptr;
  std::unique_ptr<QuotaOpen> open_;
  QuotaAccount account_;
  QuotaAmounts upper_bound_;
  UtcDay day_ = 0;
  uint64_t leased_ = 0;
  QuotaSettlement settlement_;
};

struct QuotaDecision {
  std::optional<QuotaReservation> reservation{};  // nothing: refused
  QuotaRefusal refusal{};
  // Limits of mode warn and shadow that the request is over.
  std::vector<QuotaViolation> notices{};
};

// Where the log and the ledger do not agree.
struct LedgerCheck {
  uint64_t difference = 0;    // tokens, micro-units, requests that the log alone knows; 0, always
  uint64_t num_compared = 0;  // accounts at rest
  uint64_t num_behind = 0;    // accounts with requests that the log does not show yet
};

struct QuotaLedgerOptions {
  const Clock* clock = &SystemClock();
  QuotaBookOptions book{};  // of each org
};

// Thread-safe; no call waits for anything but locks that are held for about a microsecond: a
// tenant's, and one that its org's requests share. SetLimits takes all of an org's.
class QuotaLedger {
 public:
  explicit QuotaLedger(const QuotaLedgerOptions& options = {});
  // All reservations have ended.
  ~QuotaLedger();

  // Replaces all limits, reservations stay. kInvalidArgument, changing nothing, names what is
  // wrong. Not atomic between orgs.
  Status SetLimits(std::vector<QuotaLimit> limits);
  // Asks QuotaRights again.
  void RefreshRights();
  // What the log says was used, before the first reservation and best before the first limits.
  void Restore(const UsageByAccount& usage);

  // The amounts' conc should be 1.
  QuotaDecision Reserve(const QuotaAccount& account, const QuotaAmounts& upper_bound);
  // What Reserve would refuse now, charging nothing.
  QuotaRefusal Explain(const QuotaAccount& account, const QuotaAmounts& upper_bound);

  // The limits that cover an account; all limits of an org if only that is named.
  std::vector<QuotaState> Show(const QuotaAccount& account);
  UsageByAccount CurrentUsage() const;

  // The ledger's usage against that of a fold of its log (UsageFold::usage). The log runs behind,
  // never ahead: a request is reserved before its admitted leaf and settled before its completed
  // one.
  LedgerCheck Check(const UsageByAccount& log);

  size_t num_open() const;
  // Sum of what settlements were beyond their reservations: 0 unless there is a bug.
  uint64_t overrun_tokens() const;

 private:
  friend class QuotaReservation;
  // The books of some orgs. Once made, a book stays: who looks for one waits for nobody.
  struct Shelf {
    std::unique_ptr<QuotaBook> book;
    Shelf* next = nullptr;
  };
  static constexpr size_t kStripes = 64;
  struct Stripe {
    Mutex mutex;  // of who adds a book
    std::atomic<Shelf*> first{nullptr};
  };

  static QuotaBook* FindBook(const Stripe& stripe, const std::string& org);
  QuotaBook& BookOf(const std::string& org);
  std::vector<QuotaBook*> Books() const;
  uint64_t Lease(QuotaReservation& reservation, uint64_t tokens);
  QuotaSettlement Settle(QuotaReservation& reservation, const QuotaActual& actual);
  void Cancel(QuotaReservation& reservation);

  const QuotaLedgerOptions options_;
  std::atomic<UtcDay> day_{0};  // the last one of Restore
  std::atomic<uint64_t> overrun_tokens_{0};
  std::array<Stripe, kStripes> stripes_;
};

}  // namespace inferd
