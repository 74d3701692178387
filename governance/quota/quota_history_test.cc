// Goal: many limits at once, over the whole hierarchy: the ledger admits what every limit allows,
// names exactly those that do not, and no limit is ever passed: not by refunds, restarts or clocks
// that jump. Method: random histories in virtual time against an oracle for each limit that keeps
// every request; then threads.
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <memory>
#include <set>
#include <thread>
#include <vector>

#include "base/random.h"
#include "governance/quota/quota_ledger.h"
#include "tests/support/interval_oracle.h"

namespace inferd {
namespace {

constexpr int kDaySeconds = 86'400;

// Both clocks, each set by the test.
class TwoClocks final : public Clock {
 public:
  TimePoint Now() const override { return TimePoint(Duration(mono_.load())); }
  WallTime WallNow() const override { return WallTime(Duration(wall_.load())); }
  void Advance(Duration by) {
    mono_ += by.count();
    wall_ += by.count();
  }
  void StepWall(Duration by) { wall_ += by.count(); }

 private:
  std::atomic<int64_t> mono_{0};
  std::atomic<int64_t> wall_{int64_t{20'000} * kDaySeconds * 1'000'000'000};
};

QuotaLimit RandomLimit(SplitMix64& random, int number) {
  QuotaLimit limit;
  limit.id = "q" + std::to_string(number);
  limit.metric = static_cast<QuotaMetric>(random.Below(kNumQuotaMetrics));
  const uint64_t level = random.Below(5);
  limit.scope.org = "o";
  limit.scope.tenant = level >= 1 ? "t" + std::to_string(random.Below(2)) : "";
  limit.scope.project = level == 2 ? "p" + std::to_string(random.Below(2)) : "";
  limit.scope.key = level >= 3 ? "k" + std::to_string(random.Below(2)) : "";
  limit.scope.model =
      level == 4 || random.Below(4) == 0 ? "m" + std::to_string(random.Below(2)) : "";
  limit.limit =
      KindOf(limit.metric) == QuotaKind::kSemaphore && limit.metric == QuotaMetric::kConcurrency
          ? 1 + random.Below(6)
          : 50 + random.Below(2000);
  if (limit.metric == QuotaMetric::kRequestsPerMinute) {
    limit.limit = 1 + random.Below(60);
  }
  if (KindOf(limit.metric) == QuotaKind::kRate && random.Below(2) == 0) {
    limit.burst = 1 + random.Below(2 * limit.limit);
  }
  if (random.Below(8) == 0) {
    limit.mode = QuotaMode::kShadow;
  }
  limit.cached_free = limit.metric == QuotaMetric::kInputTokensPerMinute && random.Below(2) == 0;
  return limit;
}

// One limit as its definition says, from a list of all requests.
class LimitOracle {
 public:
  LimitOracle(QuotaLimit limit, TimePoint now) : limit_(std::move(limit)), rate_(Rate(limit_)) {
    Restart(now);
  }
  const QuotaLimit& limit() const { return limit_; }
  uint64_t Cost(const QuotaAmounts& amounts) const { return CostOf(limit_.metric, amounts); }

  bool Allows(uint64_t cost, TimePoint now, UtcDay day) const {
    if (cost == 0) {
      return true;
    }
    if (KindOf(limit_.metric) == QuotaKind::kRate) {
      return rate_.Allows(now, cost);
    }
    return Used(day) + cost <= limit_.limit;
  }
  void Take(int request, uint64_t cost, TimePoint now, UtcDay day) {
    taken_[request] = {cost, Window(day), true, rate_.Charge(now, cost)};
  }
  void Settle(int request, uint64_t cost) {
    const auto found = taken_.find(request);
    if (found != taken_.end()) {
      found->second.cost = cost;
      found->second.open = false;
      rate_.SetCost(found->second.charge, cost);
    }
  }
  // The process died: what was open stays charged, and is open no more.
  void Restart(TimePoint now) {
    for (auto& [request, taken] : taken_) {
      taken.open = false;
    }
    // The new bucket is spent: that is a charge of the oracle's own, after which the others that
    // are older no longer matter.
    kept_.push_back(rate_);
    rate_ = IntervalOracle(Rate(limit_));
    (void)rate_.Charge(now, Rate(limit_).burst);
    for (auto& [request, taken] : taken_) {
      taken.charge = rate_.Charge(now, 0);
    }
  }
  uint64_t Used(UtcDay day) const {
    uint64_t used = 0;
    for (const auto& [request, taken] : taken_) {
      const bool counts =
          KindOf(limit_.metric) == QuotaKind::kSemaphore ? taken.open : taken.window == Window(day);
      used += counts ? taken.cost : 0;
    }
    return used;
  }
  uint64_t RateOverrun() const {
    uint64_t worst = rate_.Overrun();
    for (const IntervalOracle& kept : kept_) {
      worst = std::max(worst, kept.Overrun());
    }
    return worst;
  }

 private:
  static BucketRate Rate(const QuotaLimit& limit) {
    return {.per_minute = limit.limit, .burst = limit.burst == 0 ? limit.limit : limit.burst};
  }
  int64_t Window(UtcDay day) const { return IsMonthly(limit_.metric) ? MonthOf(day) : day; }

  struct Taken {
    uint64_t cost;
    int64_t window;
    bool open;
    size_t charge;
  };
  QuotaLimit limit_;
  IntervalOracle rate_;
  std::vector<IntervalOracle> kept_;
  std::map<int, Taken> taken_;
};

struct Request {
  QuotaReservation reservation;
  QuotaAccount account;
  QuotaAmounts amounts;
};

// A ledger, its oracles, and all charges of rates over all of its lives.
class History {
 public:
  explicit History(uint64_t seed) : random_(seed) {
    const int num_limits = 1 + static_cast<int>(random_.Below(14));
    for (int i = 0; i < num_limits; ++i) {
      limits_.push_back(RandomLimit(random_, i));
    }
    StartLedger({});
    for (const QuotaLimit& limit : limits_) {
      oracles_.emplace_back(limit, clock_.Now());
      lives_.emplace_back(BucketRate{.per_minute = limit.limit,
                                     .burst = limit.burst == 0 ? limit.limit : limit.burst});
    }
  }
  ~History() { DropAll(); }

  void Step() {
    MoveTime();
    const uint64_t action = random_.Below(100);
    if (action < 55 || open_.empty()) {
      Reserve();
    } else if (action < 97) {
      End();
    } else {
      Restart();
    }
  }

  void CheckEnd() {
    for (size_t i = 0; i < oracles_.size(); ++i) {
      if (limits_[i].mode == QuotaMode::kEnforce && KindOf(limits_[i].metric) == QuotaKind::kRate) {
        EXPECT_EQ(oracles_[i].RateOverrun(), 0u) << limits_[i].id;
        EXPECT_EQ(lives_[i].Overrun(), 0u) << limits_[i].id << " over restarts";
      }
    }
    EXPECT_EQ(ledger_->num_open(), open_.size());
    EXPECT_EQ(ledger_->Check(ledger_->CurrentUsage()).difference, 0u);
  }

 private:
  void StartLedger(const UsageByAccount& usage) {
    ledger_ = std::make_unique<QuotaLedger>(QuotaLedgerOptions{.clock = &clock_});
    ledger_->Restore(usage);
    ASSERT_TRUE(ledger_->SetLimits(limits_).ok());
  }
  void MoveTime() {
    clock_.Advance(Duration(static_cast<int64_t>(random_.Below(3'000'000'000))));
    if (random_.Below(25) == 0) {
      clock_.Advance(std::chrono::hours(random_.Below(30)));
    }
    if (random_.Below(20) == 0) {
      clock_.StepWall(std::chrono::hours(static_cast<int64_t>(random_.Below(60)) - 40));
    }
    day_ = std::max(day_, DayOf(clock_.WallNow()));
  }
  void Reserve() {
    const auto name = [this](const char* level, uint64_t count) {
      return level + std::to_string(random_.Below(count));
    };
    const QuotaAccount account{.org = "o",
                               .tenant = name("t", 2),
                               .project = name("p", 2),
                               .key = name("k", 2),
                               .model = name("m", 2)};
    const QuotaAmounts amounts{.in = random_.Below(300),
                               .out = random_.Below(600),
                               .conc = 1,
                               .kv = random_.Below(500),
                               .micro = random_.Below(400)};
    std::set<std::string> expected;
    for (const LimitOracle& oracle : oracles_) {
      if (oracle.limit().scope.Covers(account) && oracle.limit().mode == QuotaMode::kEnforce &&
          !oracle.Allows(oracle.Cost(amounts), clock_.Now(), day_)) {
        expected.insert(oracle.limit().id);
      }
    }
    QuotaDecision decision = ledger_->Reserve(account, amounts);
    std::set<std::string> refused;
    for (const QuotaViolation& violation : decision.refusal.violations) {
      refused.insert(violation.state.id);
    }
    ASSERT_EQ(refused, expected);
    ASSERT_EQ(decision.reservation.has_value(), expected.empty());
    if (!decision.reservation) {
      return;
    }
    EXPECT_EQ(decision.reservation->day(), day_);
    const int id = next_request_++;
    for (size_t i = 0; i < oracles_.size(); ++i) {
      Charge(i, id, account, amounts);
    }
    open_.emplace(id, Request{*std::move(decision.reservation), account, amounts});
  }
  void Charge(size_t i, int id, const QuotaAccount& account, const QuotaAmounts& amounts) {
    LimitOracle& oracle = oracles_[i];
    const uint64_t cost = oracle.Cost(amounts);
    const bool counts = oracle.Allows(cost, clock_.Now(), day_) ||
                        KindOf(oracle.limit().metric) == QuotaKind::kBudget;
    if (!oracle.limit().scope.Covers(account) || !counts) {
      return;
    }
    oracle.Take(id, cost, clock_.Now(), day_);
    charges_[{i, id}] = lives_[i].Charge(clock_.Now(), cost);
  }
  void End() {
    auto which = open_.begin();
    std::advance(which, random_.Below(open_.size()));
    Request& request = which->second;
    if (random_.Below(5) == 0) {
      request.reservation.Cancel();
      SettleOracles(which->first, [](const QuotaLimit&) { return 0; });
    } else {
      const QuotaActual actual{.in = request.amounts.in,
                               .cached = random_.Below(request.amounts.in + 1),
                               .out = random_.Below(request.amounts.out + 1),
                               .micro = random_.Below(request.amounts.micro + 1)};
      const QuotaSettlement settlement = request.reservation.Settle(actual);
      EXPECT_EQ(settlement.overrun_tokens, 0u);
      // Once and for all.
      EXPECT_EQ(request.reservation.Settle({}).charged, settlement.charged);
      SettleOracles(which->first, [&](const QuotaLimit& limit) {
        const uint64_t cost = CostOf(limit.metric, settlement.charged);
        return limit.cached_free ? cost - actual.cached : cost;
      });
    }
    open_.erase(which);
  }
  template <typename CostOfLimit>
  void SettleOracles(int id, const CostOfLimit& cost) {
    for (size_t i = 0; i < oracles_.size(); ++i) {
      oracles_[i].Settle(id, cost(oracles_[i].limit()));
      if (const auto charge = charges_.find({i, id}); charge != charges_.end()) {
        lives_[i].SetCost(charge->second, cost(oracles_[i].limit()));
      }
    }
  }
  // The process dies: what is open is charged in full, as recovery writes it.
  void Restart() {
    DropAll();
    const UsageByAccount usage = ledger_->CurrentUsage();
    for (LimitOracle& oracle : oracles_) {
      oracle.Restart(clock_.Now());
    }
    StartLedger(usage);
  }
  void DropAll() { open_.clear(); }

  SplitMix64 random_;
  TwoClocks clock_;
  UtcDay day_ = 0;
  std::vector<QuotaLimit> limits_;
  std::vector<LimitOracle> oracles_;
  std::vector<IntervalOracle> lives_;
  std::unique_ptr<QuotaLedger> ledger_;
  std::map<int, Request> open_;
  std::map<std::pair<size_t, int>, size_t> charges_;
  int next_request_ = 0;
};

TEST(QuotaHistory, EveryLimitHoldsAndNothingElseIsRefused) {
  for (uint64_t seed = 1; seed <= 150; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    History history(seed);
    for (int step = 0; step < 120; ++step) {
      history.Step();
      if (testing::Test::HasFailure()) {
        return;
      }
    }
    history.CheckEnd();
    if (testing::Test::HasFailure()) {
      return;
    }
  }
}

// 64 threads take, cancel and settle random sizes while the clocks stand; then they are moved.
TEST(QuotaHistory, ThreadsNeverPassALimit) {
  constexpr int kThreads = 64;
  constexpr int kRounds = 6;
  TwoClocks clock;
  QuotaLedger ledger({.clock = &clock});
  const BucketRate rate{.per_minute = 3000, .burst = 5000};
  const auto limit = [](const char* id, QuotaAccount scope, QuotaMetric metric, uint64_t units) {
    return QuotaLimit{.id = id, .scope = std::move(scope), .metric = metric, .limit = units};
  };
  std::vector<QuotaLimit> limits = {
      limit("org/otpm", {.org = "o"}, QuotaMetric::kOutputTokensPerMinute, rate.per_minute),
      limit("org/day", {.org = "o"}, QuotaMetric::kTokensPerDay, 20'000),
      limit("t0/conc", {.org = "o", .tenant = "t0"}, QuotaMetric::kConcurrency, 5)};
  limits[0].burst = rate.burst;
  ASSERT_TRUE(ledger.SetLimits(limits).ok());
  IntervalOracle oracle(rate);
  oracle.Charge(clock.Now(), rate.burst);
  uint64_t day_tokens = 0;
  for (int round = 0; round < kRounds; ++round) {
    clock.Advance(std::chrono::seconds(40));
    std::atomic<uint64_t> out{0};
    std::atomic<uint64_t> all{0};
    std::atomic<int> at_once{0};
    std::atomic<int> at_once_max{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&, i, round] {
        SplitMix64 random(static_cast<uint64_t>(round * kThreads + i));
        for (int call = 0; call < 20; ++call) {
          const std::string tenant = "t" + std::to_string(i % 3);
          QuotaDecision decision =
              ledger.Reserve({.org = "o", .tenant = tenant, .key = "k", .model = "m"},
                             {.in = random.Below(20), .out = 1 + random.Below(400), .conc = 1});
          if (!decision.reservation) {
            EXPECT_FALSE(decision.refusal.violations.empty());
            continue;
          }
          if (i % 3 == 0) {
            const int now = ++at_once;
            int most = at_once_max;
            while (most < now && !at_once_max.compare_exchange_weak(most, now)) {
            }
          }
          std::this_thread::yield();
          QuotaReservation& reservation = *decision.reservation;
          const uint64_t leased = reservation.Lease(random.Below(401));
          at_once -= i % 3 == 0 ? 1 : 0;
          if (random.Below(4) == 0) {
            reservation.Cancel();
          } else {
            const QuotaAmounts charged =
                reservation.Settle({.in = reservation.upper_bound().in, .out = leased}).charged;
            out += charged.out;
            all += charged.out + charged.in;
          }
        }
      });
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
    EXPECT_LE(at_once_max.load(), 5);
    oracle.Charge(clock.Now(), out);
    day_tokens += all;
    EXPECT_EQ(oracle.Overrun(), 0u) << "round " << round;
  }
  EXPECT_LE(day_tokens, 20'000u);
  uint64_t booked = 0;
  for (const auto& [account, usage] : ledger.CurrentUsage()) {
    booked += usage.of_day.tokens;
  }
  EXPECT_EQ(booked, day_tokens);
  EXPECT_EQ(ledger.num_open(), 0u);
}

}  // namespace
}  // namespace inferd
