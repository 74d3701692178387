// QuotaBook: the limits, counters, open reservations and usage of one org. Everything that one
// request can touch is in one book: what lies under its tenant behind a lock of the tenant's, what
// all of the org shares behind one that is held for as short as can be
// (docs/design/0005-quotas.md).
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
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
#include "base/thread_annotations.h"
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
  QuotaMetric metric() const { return metric_; }
  QuotaKind kind() const { return kind_; }
  // Of all tenants of the org, not of one.
  bool wide() const { return limit_.scope.tenant.empty(); }
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
  void BeginRaise(const QuotaNow& now);
  void SetRight();
  int64_t WindowOf(UtcDay day) const;

  // What every request needs, then the rest: with many tenants each counter is cold.
  const QuotaKind kind_;
  const QuotaMetric metric_;
  int num_open_ = 0;
  uint64_t used_ = 0;   // semaphores, budgets
  int64_t window_ = 0;  // budgets
  QuotaRight right_{};
  std::optional<TimePoint> raise_ends_;
  std::optional<RateBucket> bucket_;  // rates
  QuotaRight whole_{};
  QuotaLimit limit_;
  const QuotaRights& rights_;
};

// A reservation that is open. Its book changes it, its QuotaReservation owns it.
struct QuotaOpen {
  struct Account;
  Account* account = nullptr;
  UtcDay day = 0;
  QuotaAmounts upper_bound{};
  // Of the tenant's counters, and of those that the org's tenants share.
  std::vector<QuotaCounter::Charge> charges{};
  std::vector<QuotaCounter::Charge> wide_charges{};
  size_t slot = 0;  // in its part's list
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

// Thread-safe. Lock order: parts by their place, then the wide lock. What only changes under all of
// them, by SetLimits and the like, may be read under any.
class QuotaBook {
 public:
  QuotaBook(std::string org, const Clock& clock, const QuotaBookOptions& options);
  ~QuotaBook();
  QuotaBook(const QuotaBook&) = delete;
  QuotaBook& operator=(const QuotaBook&) = delete;

  const std::string& org() const { return org_; }

  // Valid limits of this org, ids unique. Counters of limits with the same id, scope and metric go
  // on; a new rate starts spent, a new semaphore and budget with what is open and used now.
  void SetLimits(std::vector<QuotaLimit> limits);
  void RefreshRights();

  // What an account had used before this process. Once, before the first reservation.
  void Restore(const QuotaAccount& account, const Usage& usage);
  // Windows never begin before this day.
  void RaiseDay(UtcDay day);

  // All limits that cover the account, or nothing. Fills `open`, which the caller keeps at its
  // address until End or Undo; or says why not. `notices` gets what limits of mode warn and shadow
  // would have refused.
  std::optional<QuotaRefusal> Reserve(const QuotaAccount& account,
                                      std::string_view account_text,
                                      const QuotaAmounts& upper_bound,
                                      QuotaOpen& open,
                                      std::vector<QuotaViolation>& notices);
  // Which limits would refuse now; charges nothing.
  QuotaRefusal Explain(const QuotaAccount& account, const QuotaAmounts& upper_bound);
  // Is any limit of the reservation closed?
  bool IsClosed(const QuotaOpen& open);
  // `settled` is at most the upper bound.
  void End(QuotaOpen& open, const QuotaAmounts& settled, uint64_t cached);
  // As if it had never been reserved, the request's count too.
  void Undo(QuotaOpen& open);

  // The limits that cover an account; all of the org for an empty tenant.
  std::vector<QuotaState> Show(const QuotaAccount& account);
  void AppendUsage(UsageByAccount& usage) const;
  // Units by which budgets' counts differ from the sums of usage: 0, always.
  uint64_t BudgetDifference();
  size_t num_open() const;

 private:
  using Counters = std::vector<QuotaCounter*>;
  struct TextHash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };
  // What lies under the tenants that share a place: nearly always one.
  struct Part {
    Mutex mutex;
    // By QuotaAccount::Text.
    std::unordered_map<std::string, std::unique_ptr<QuotaOpen::Account>, TextHash, std::equal_to<>>
        accounts GUARDED_BY(mutex);
    std::vector<QuotaOpen*> open GUARDED_BY(mutex);
    std::vector<std::unique_ptr<QuotaCounter>> retired GUARDED_BY(mutex);
  };
  class AllLocks;
  enum class Taken : uint8_t { kTaken, kRefused, kFull, kNewDay };

#if defined(__SANITIZE_THREAD__)
  static constexpr size_t kParts = 32;  // its deadlock detector takes 64 locks at a time
#else
  // Many, since a thread that is preempted with a lock stops all that share it.
  static constexpr size_t kParts = 1024;
#endif

  QuotaNow Now() const { return {clock_.Now(), clock_.WallNow()}; }
  // The current day; it only goes forward.
  UtcDay DayOn(const QuotaNow& now) EXCLUDES(wide_mutex_);
  Part& PartOf(const std::string& tenant) EXCLUDES(parts_mutex_);
  template <typename Visit>
  void ForEachPart(const Visit& visit) const;
  QuotaOpen::Account* FindAccount(Part& part, const QuotaAccount& account, std::string_view text)
      REQUIRES(part.mutex);
  void MakeRoomForAccounts();
  void LookUp(QuotaOpen::Account& account) const;
  Taken TakeWide(const QuotaOpen::Account& account,
                 const QuotaAmounts& upper_bound,
                 UtcDay day,
                 QuotaOpen& open,
                 QuotaRefusal& refusal,
                 std::vector<QuotaViolation>& notices) EXCLUDES(wide_mutex_);
  std::optional<QuotaRefusal> ReserveIn(Part& part,
                                        QuotaOpen::Account& account,
                                        const QuotaAmounts& upper_bound,
                                        QuotaOpen& open,
                                        std::vector<QuotaViolation>& notices) REQUIRES(part.mutex);
  void AddCounter(QuotaLimit limit, const QuotaNow& now);
  uint64_t UsageCoveredBy(const QuotaLimit& limit) const;
  void Preload(QuotaCounter& counter);
  template <typename ActualOf>
  void EndWide(QuotaOpen& open, const ActualOf& actual) EXCLUDES(wide_mutex_);
  void Close(Part& part, QuotaOpen& open) REQUIRES(part.mutex);

  const std::string org_;
  const Clock& clock_;
  const QuotaBookOptions options_;

  // Parts are made when their first tenant comes, and stay.
  mutable Mutex parts_mutex_;
  std::array<std::atomic<Part*>, kParts> parts_{};
  std::atomic<size_t> num_accounts_{0};

  mutable Mutex wide_mutex_;
  std::atomic<UtcDay> day_{0};  // changed under the wide lock
  size_t num_open_ GUARDED_BY(wide_mutex_) = 0;
  std::vector<std::unique_ptr<QuotaCounter>> retired_ GUARDED_BY(wide_mutex_);

  // Changed under all locks. By id; those without a tenant in their scope, and those of each
  // tenant, from the widest scope down.
  std::map<std::string, std::unique_ptr<QuotaCounter>> counters_;
  Counters wide_;
  std::unordered_map<std::string, Counters> by_tenant_;
  uint64_t generation_ = 0;  // of the limits
};

struct QuotaOpen::Account {
  QuotaAccount name;
  Usage usage;
  size_t num_open = 0;
  uint64_t generation = 0;  // of the limits that these cover it
  std::vector<QuotaCounter*> own;
  std::vector<QuotaCounter*> wide;
};

}  // namespace inferd
