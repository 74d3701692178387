// QuotaBook: the limits, counters, open reservations and usage of one org. Everything that one
// request can touch is in one book, so that one lock makes it all or nothing. Times come in as
// arguments: QuotaLedger (quota_ledger.h) has the locks and the clock.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "governance/quota/quota_decision.h"
#include "governance/quota/quota_limit.h"
#include "governance/quota/rate_bucket.h"
#include "governance/quota/usage.h"

namespace inferd {

// What this node may spend of a limit.
struct QuotaRight {
  uint64_t units = 0;
  uint64_t burst = 0;  // rates
  friend bool operator==(const QuotaRight&, const QuotaRight&) = default;
};

// Where rights come from. On one host the right is the whole limit; a fleet moves rights between
// nodes and answers with what this one holds.
class QuotaRights {
 public:
  virtual ~QuotaRights() = default;
  // `whole` is the limit as it stands now; `window` the day or month of a budget, else 0. At most
  // `whole`. Called with the book locked, when a limit is set, changed by its raise's end, when a
  // window begins, and on RefreshRights: quick, and never calls the ledger.
  virtual QuotaRight Of(const QuotaLimit& limit, const QuotaRight& whole, int64_t window) const = 0;
};
// The whole of every limit.
const QuotaRights& WholeLimits();

// The moment of a call, on both clocks.
struct QuotaNow {
  TimePoint mono{};
  WallTime wall{};
};

// A limit with its count.
class QuotaCounter {
 public:
  QuotaCounter(QuotaLimit limit, const QuotaRights& rights, UtcDay day, const QuotaNow& now);

  // Same scope and metric, other numbers: counts stay.
  void Replace(QuotaLimit limit, UtcDay day, const QuotaNow& now);
  // Brings time forward: drains, ends a raise, begins a window.
  void Advance(UtcDay day, TimePoint now);
  void RefreshRight();

  const QuotaLimit& limit() const { return limit_; }
  bool closed() const { return whole_.units == 0; }
  bool Fits(uint64_t cost) const;
  QuotaViolation Violation(uint64_t cost, const QuotaNow& now) const;
  QuotaState State(const QuotaNow& now) const;

  // An open charge; window is that of a budget.
  struct Charge {
    QuotaCounter* counter = nullptr;
    uint64_t cost = 0;
    uint64_t ticket = 0;
    int64_t window = 0;
  };
  Charge Take(uint64_t cost);
  // An open charge of before this counter was there: a budget has it in its preload.
  Charge Adopt(uint64_t cost);
  // Ends it at `actual` of its cost. Static, since its window or its limit may be gone.
  static void Settle(const Charge& charge, uint64_t actual);
  // What was used of a budget before this counter was there.
  void Preload(uint64_t units) { used_ = units; }
  uint64_t used() const { return used_; }

  int num_open() const { return num_open_; }

 private:
  QuotaRight Whole(bool raised) const;
  void SetRight();
  int64_t WindowOf(UtcDay day) const;

  QuotaLimit limit_;
  const QuotaRights& rights_;
  const QuotaKind kind_;
  QuotaRight whole_{};
  QuotaRight right_{};
  std::optional<TimePoint> raise_ends_;
  std::optional<RateBucket> bucket_;  // rates
  uint64_t used_ = 0;                 // the others
  int64_t window_ = 0;                // budgets
  int num_open_ = 0;
};

// A reservation that is open. Its book changes it, its QuotaReservation owns it.
struct QuotaOpen {
  struct Account;
  Account* account = nullptr;
  UtcDay day = 0;
  QuotaAmounts upper_bound{};
  uint64_t leased_out = 0;
  std::vector<QuotaCounter::Charge> charges{};
  size_t slot = 0;  // in the book's list
};

// What a request came to.
struct QuotaActual {
  uint64_t in = 0;      // prompt tokens
  uint64_t cached = 0;  // of them from the prefix cache
  uint64_t out = 0;     // tokens computed and delivered
  uint64_t micro = 0;
};

struct QuotaBookOptions {
  const QuotaRights* rights = &WholeLimits();
  size_t open_max = 16'384;      // reservations open at a time
  size_t accounts_max = 65'536;  // accounts whose usage is kept
};

// One thread at a time.
class QuotaBook {
 public:
  QuotaBook(std::string org, const QuotaBookOptions& options)
      : org_(std::move(org)), options_(options) {}

  // Valid limits of this org, ids unique. Counters of limits with the same id, scope and metric go
  // on; a new rate starts spent, a new semaphore and budget with what is open and used now.
  void SetLimits(std::vector<QuotaLimit> limits, const QuotaNow& now);
  void RefreshRights(const QuotaNow& now);

  // What an account had used before this process. Once, before the first reservation.
  void Restore(const QuotaAccount& account, const Usage& usage);
  // Windows never begin before this day.
  void RaiseDay(UtcDay day) { day_ = std::max(day_, day); }

  // All limits that cover the account, or nothing. Fills `open`, which the caller keeps at its
  // address until End or Undo; or says why not. `notices` gets what limits of mode warn and shadow
  // would have refused.
  std::optional<QuotaRefusal> Reserve(const QuotaAccount& account,
                                      std::string_view account_text,
                                      const QuotaAmounts& upper_bound,
                                      const QuotaNow& now,
                                      QuotaOpen& open,
                                      std::vector<QuotaViolation>& notices);
  // Which limits would refuse now; charges nothing.
  QuotaRefusal Explain(const QuotaAccount& account,
                       const QuotaAmounts& upper_bound,
                       const QuotaNow& now);
  // Is any limit of the reservation closed?
  bool IsClosed(const QuotaOpen& open, const QuotaNow& now);
  // `settled` is at most the upper bound.
  void End(QuotaOpen& open, const QuotaAmounts& settled, uint64_t cached, const QuotaNow& now);
  // As if it had never been reserved, the request's count too.
  void Undo(QuotaOpen& open, const QuotaNow& now);

  // The limits that cover an account; all of the org for an empty tenant.
  std::vector<QuotaState> Show(const QuotaAccount& account, const QuotaNow& now);
  void AppendUsage(UsageByAccount& usage) const;
  // Units by which budgets' counts differ from the sums of usage: 0, always.
  uint64_t BudgetDifference(const QuotaNow& now);
  size_t num_open() const { return open_.size(); }
  UtcDay day() const { return day_; }

 private:
  using Counters = std::vector<QuotaCounter*>;
  struct TextHash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };

  void Advance(const QuotaNow& now) { day_ = std::max(day_, DayOf(now.wall)); }
  QuotaOpen::Account* FindAccount(const QuotaAccount& account, std::string_view text);
  bool MakeRoomForAccount();
  const Counters& CountersOf(QuotaOpen::Account& account);
  Counters Covering(const QuotaAccount& account) const;
  void AddCounter(QuotaLimit limit, const QuotaNow& now);
  uint64_t UsageCoveredBy(const QuotaLimit& limit) const;
  void Preload(QuotaCounter& counter);
  void DropRetired();
  void Close(QuotaOpen& open);

  const std::string org_;
  const QuotaBookOptions options_;
  UtcDay day_ = 0;  // only goes forward
  // By id; those without a tenant in their scope, and those of each tenant.
  std::map<std::string, std::unique_ptr<QuotaCounter>> counters_;
  Counters wide_;
  std::unordered_map<std::string, Counters> by_tenant_;
  std::vector<std::unique_ptr<QuotaCounter>> retired_;  // replaced, with charges open
  uint64_t generation_ = 0;                             // of the limits
  // By QuotaAccount::Text.
  std::unordered_map<std::string, std::unique_ptr<QuotaOpen::Account>, TextHash, std::equal_to<>>
      accounts_;
  std::vector<QuotaOpen*> open_;
};

struct QuotaOpen::Account {
  QuotaAccount name;
  Usage usage;
  size_t num_open = 0;
  uint64_t generation = 0;  // of `counters`
  std::vector<QuotaCounter*> counters;
};

}  // namespace inferd
