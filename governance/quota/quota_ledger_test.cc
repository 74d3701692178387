// Goal: each promise of the ledger by itself. Method: one small case each, in virtual time.
#include "governance/quota/quota_ledger.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

namespace inferd {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using ::testing::HasSubstr;

class SetClock final : public Clock {
 public:
  TimePoint Now() const override { return mono; }
  WallTime WallNow() const override { return wall; }
  void Advance(Duration by) {
    mono += by;
    wall += by;
  }
  TimePoint mono{};
  WallTime wall = StartOfDay(*ParseUtcDay("2026-11-30")) + hours(22);
};

class QuotaLedgerTest : public testing::Test {
 protected:
  static QuotaLimit Limit(std::string id, QuotaMetric metric, uint64_t units) {
    return {.id = std::move(id),
            .scope = {.org = "o", .tenant = "t"},
            .metric = metric,
            .limit = units};
  }
  void SetLimits(std::vector<QuotaLimit> limits) {
    const Status set = ledger_.SetLimits(std::move(limits));
    ASSERT_TRUE(set.ok()) << set;
  }
  QuotaDecision Reserve(uint64_t in, uint64_t out, const std::string& key = "k") {
    return ledger_.Reserve(Account(key), {.in = in, .out = out, .conc = 1, .kv = in + out});
  }
  static QuotaAccount Account(const std::string& key = "k") {
    return {.org = "o", .tenant = "t", .project = "p", .key = key, .model = "m"};
  }
  uint64_t Used(const std::string& id) {
    for (const QuotaState& state : ledger_.Show(Account())) {
      if (state.id == id) {
        return state.used;
      }
    }
    ADD_FAILURE() << "no limit " << id;
    return 0;
  }

  SetClock clock_;
  QuotaLedger ledger_{QuotaLedgerOptions{.clock = &clock_}};
};

// Administrators and callers write days.
TEST(UtcWindowTest, EveryDayThatIsReadHasItsTime) {
  for (const char* text : {"1678-01-01", "1969-12-31", "2261-12-31"}) {
    const auto day = ParseUtcDay(text);
    ASSERT_TRUE(day.ok()) << text;
    EXPECT_EQ(UtcDayText(DayOf(StartOfDay(*day))), text);
    EXPECT_LT(StartOfDay(*day), StartOfDay(*day + 1));
    EXPECT_LT(StartOfDay(*day), StartOfMonth(MonthOf(*day) + 1));
  }
  for (const char* text : {"0000-01-01", "1677-12-31", "2262-01-01", "9999-12-31", "2026-02-30"}) {
    EXPECT_FALSE(ParseUtcDay(text).ok()) << text;
  }
}

// A gateway that checks a counter first and adds to it after the answer lets all five pass.
TEST_F(QuotaLedgerTest, FiveConcurrentOn100Tpm) {
  SetLimits({Limit("tpm", QuotaMetric::kOutputTokensPerMinute, 100)});
  clock_.Advance(minutes(1));
  std::atomic<int> admitted{0};
  std::atomic<uint64_t> tokens{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < 5; ++i) {
    callers.emplace_back([&] {
      QuotaDecision decision = Reserve(30, 60);
      if (decision.reservation) {
        ++admitted;
        std::this_thread::yield();
        tokens += decision.reservation->Settle({.in = 30, .out = 60}).charged.out;
      } else {
        EXPECT_EQ(decision.refusal.violations.size(), 1u);
      }
    });
  }
  for (std::thread& caller : callers) {
    caller.join();
  }
  EXPECT_EQ(admitted, 1);
  EXPECT_EQ(tokens, 60u);
  // 20 of the missing tokens come in 12 s.
  EXPECT_EQ(Reserve(30, 60).refusal.retry_after, Duration(seconds(12)));
}

TEST_F(QuotaLedgerTest, AllLimitsOrNothingAndAllAreNamed) {
  std::vector<QuotaLimit> limits;
  for (const char* id : {"a", "b", "c", "d", "e"}) {
    limits.push_back(Limit(id, QuotaMetric::kTokensPerDay, 100));
  }
  limits[2].scope = {.org = "o"};
  limits.push_back(Limit("conc", QuotaMetric::kConcurrency, 2));
  SetLimits(limits);
  const QuotaDecision decision = Reserve(60, 50);
  EXPECT_FALSE(decision.reservation.has_value());
  ASSERT_EQ(decision.refusal.violations.size(), 5u);
  EXPECT_EQ(decision.refusal.violations[0].state.id, "c");  // the org's first
  EXPECT_TRUE(decision.refusal.never);
  EXPECT_FALSE(decision.refusal.retry_after.has_value());
  const Status status = StatusOf(decision.refusal);
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(Message(status)), HasSubstr("and 1 more"));
  EXPECT_EQ(Used("conc"), 0u);  // nothing was taken
}

TEST_F(QuotaLedgerTest, EveryLevelOfTheHierarchyCounts) {
  const std::vector<QuotaAccount> scopes = {
      {.org = "o"},
      {.org = "o", .tenant = "t"},
      {.org = "o", .tenant = "t", .project = "p"},
      {.org = "o", .tenant = "t", .project = "p", .key = "k"},
      {.org = "o", .tenant = "t", .project = "p", .key = "k", .model = "m"}};
  for (const QuotaAccount& scope : scopes) {
    QuotaLimit limit = Limit("q", QuotaMetric::kTokensPerDay, 10);
    limit.scope = scope;
    SetLimits({limit});
    EXPECT_FALSE(Reserve(0, 11).reservation.has_value()) << scope.Text();
    QuotaAccount other = Account();
    (scope.tenant.empty()    ? other.org
     : scope.project.empty() ? other.tenant
     : scope.key.empty()     ? other.project
     : scope.model.empty()   ? other.key
                             : other.model) = "other";
    EXPECT_TRUE(ledger_.Reserve(other, {.out = 11, .conc = 1}).reservation.has_value())
        << scope.Text();
    SetLimits({});
  }
}

TEST_F(QuotaLedgerTest, ASettlementCountsOnce) {
  SetLimits({Limit("day", QuotaMetric::kTokensPerDay, 1000),
             Limit("conc", QuotaMetric::kConcurrency, 5),
             Limit("kv", QuotaMetric::kKvTokens, 5000)});
  QuotaDecision decision = Reserve(100, 400);
  ASSERT_TRUE(decision.reservation.has_value());
  EXPECT_EQ(Used("day"), 500u);
  EXPECT_EQ(Used("kv"), 500u);
  for (int i = 0; i < 3; ++i) {
    const QuotaSettlement settlement = decision.reservation->Settle({.in = 100, .out = 7});
    EXPECT_EQ(settlement.charged.out, 7u);
    decision.reservation->Cancel();  // too late
    EXPECT_EQ(Used("day"), 107u);
    EXPECT_EQ(Used("conc"), 0u);
    EXPECT_EQ(Used("kv"), 0u);
  }
  EXPECT_EQ(decision.reservation->Lease(1), 0u);
}

TEST_F(QuotaLedgerTest, WhatIsForgottenIsChargedInFull) {
  SetLimits({Limit("day", QuotaMetric::kTokensPerDay, 1000)});
  {
    const QuotaDecision forgotten = Reserve(100, 400);
  }
  EXPECT_EQ(Used("day"), 500u);
  EXPECT_EQ(ledger_.num_open(), 0u);
  {
    QuotaDecision moved = Reserve(100, 400);
    const QuotaReservation holder = *std::move(moved.reservation);
    moved.reservation.reset();
    EXPECT_EQ(ledger_.num_open(), 1u);
  }
  EXPECT_EQ(Used("day"), 1000u);
}

TEST_F(QuotaLedgerTest, LeasesEndWithTheReservationOrAClosedLimit) {
  SetLimits({Limit("day", QuotaMetric::kTokensPerDay, 1000)});
  QuotaDecision first = Reserve(0, 100);
  EXPECT_EQ(first.reservation->Lease(64), 64u);
  EXPECT_EQ(first.reservation->Lease(64), 36u);
  EXPECT_EQ(first.reservation->Lease(64), 0u);
  QuotaDecision second = Reserve(0, 100);
  EXPECT_EQ(second.reservation->Lease(10), 10u);
  SetLimits({Limit("day", QuotaMetric::kTokensPerDay, 0)});
  EXPECT_EQ(second.reservation->Lease(10), 0u);
  // More than was leased is not charged, and seen.
  EXPECT_EQ(second.reservation->Settle({.out = 101}).charged.out, 100u);
  EXPECT_EQ(ledger_.overrun_tokens(), 1u);
}

TEST_F(QuotaLedgerTest, AWindowNeverReopens) {
  SetLimits({Limit("day", QuotaMetric::kTokensPerDay, 100),
             Limit("month", QuotaMetric::kTokensPerMonth, 250)});
  QuotaDecision november = Reserve(0, 90);
  EXPECT_EQ(UtcDayText(november.reservation->day()), "2026-11-30");
  EXPECT_EQ(Reserve(0, 20).refusal.retry_after, Duration(hours(2)));
  clock_.Advance(hours(2));
  EXPECT_EQ(Used("day"), 0u);
  QuotaDecision december = Reserve(0, 70);
  ASSERT_TRUE(december.reservation.has_value());
  // What comes back goes to November.
  (void)november.reservation->Settle({.out = 1});
  EXPECT_EQ(Used("day"), 70u);
  EXPECT_EQ(Used("month"), 70u);
  clock_.wall -= hours(24 * 5);
  EXPECT_EQ(Used("day"), 70u);
  EXPECT_EQ(UtcDayText(Reserve(0, 30).reservation->day()), "2026-12-01");
  EXPECT_FALSE(Reserve(0, 1).reservation.has_value());
  // The window ends when the clock has come there.
  EXPECT_EQ(Reserve(0, 1).refusal.retry_after, Duration(hours(24 * 6)));
  clock_.wall += hours(24 * 6);
  EXPECT_TRUE(Reserve(0, 100).reservation.has_value());
}

TEST_F(QuotaLedgerTest, ShadowAndWarnLetPassAndTell) {
  QuotaLimit shadow = Limit("shadow", QuotaMetric::kOutputTokensPerMinute, 60);
  shadow.mode = QuotaMode::kShadow;
  QuotaLimit warn = Limit("warn", QuotaMetric::kTokensPerDay, 60);
  warn.mode = QuotaMode::kWarn;
  SetLimits({shadow, warn});
  const QuotaDecision decision = Reserve(0, 100);
  ASSERT_TRUE(decision.reservation.has_value());
  ASSERT_EQ(decision.notices.size(), 2u);
  EXPECT_EQ(decision.notices[0].state.mode, QuotaMode::kShadow);
  EXPECT_EQ(Used("warn"), 100u);  // budgets count all use
  clock_.Advance(minutes(1));
  // What the shadow would have refused it does not count either.
  EXPECT_EQ(Reserve(0, 60).notices.size(), 1u);
}

TEST_F(QuotaLedgerTest, ARaiseEndsByItself) {
  QuotaLimit rate = Limit("otpm", QuotaMetric::kOutputTokensPerMinute, 60);
  rate.raise = QuotaRaise{.limit = 600, .burst = 0, .until = clock_.wall + minutes(10)};
  QuotaLimit conc = Limit("conc", QuotaMetric::kConcurrency, 1);
  conc.raise = QuotaRaise{.limit = 2, .burst = 0, .until = clock_.wall + minutes(10)};
  SetLimits({rate, conc});
  clock_.Advance(minutes(1));
  QuotaDecision first = Reserve(0, 300);
  QuotaDecision second = Reserve(0, 300);
  EXPECT_TRUE(first.reservation.has_value() && second.reservation.has_value());
  // Setting the wall clock back does not prolong it.
  clock_.wall -= hours(5);
  clock_.Advance(minutes(9));
  EXPECT_TRUE(Reserve(0, 61).refusal.never);
  (void)first.reservation->Settle({.out = 300});
  EXPECT_EQ(Reserve(0, 1).refusal.violations.front().state.id, "conc");
  (void)second.reservation->Settle({.out = 300});
  EXPECT_TRUE(Reserve(0, 60).reservation.has_value());
}

// Nor does a change of other limits while the wall clock is behind.
TEST_F(QuotaLedgerTest, ARaiseThatEndedDoesNotBeginAnew) {
  QuotaLimit conc = Limit("conc", QuotaMetric::kConcurrency, 1);
  conc.raise = QuotaRaise{.limit = 2, .burst = 0, .until = clock_.wall + minutes(10)};
  QuotaLimit kv = Limit("kv", QuotaMetric::kKvTokens, 100);
  kv.raise = QuotaRaise{.limit = 200, .burst = 0, .until = clock_.wall + minutes(20)};
  SetLimits({conc, kv});
  clock_.Advance(minutes(11));
  const QuotaDecision open = Reserve(0, 1);
  EXPECT_FALSE(Reserve(0, 1).reservation.has_value());
  clock_.wall -= hours(5);
  SetLimits({conc, kv, Limit("day", QuotaMetric::kTokensPerDay, 1000)});
  EXPECT_EQ(Reserve(0, 1).refusal.violations.size(), 1u);
  EXPECT_EQ(ledger_.Explain(Account(), {.kv = 150}).violations.size(), 0u);
  clock_.Advance(minutes(9));
  EXPECT_EQ(ledger_.Explain(Account(), {.kv = 150}).violations.size(), 1u);
  // One that is set now counts from now.
  conc.raise->until += minutes(30);
  SetLimits({conc});
  EXPECT_TRUE(Reserve(0, 1).reservation.has_value());
}

// A semaphore that only watched did not count what it would have refused.
TEST_F(QuotaLedgerTest, ASemaphoreThatBeginsToEnforceCountsAllThatIsOpen) {
  QuotaLimit conc = Limit("conc", QuotaMetric::kConcurrency, 1);
  conc.mode = QuotaMode::kShadow;
  SetLimits({conc});
  QuotaDecision first = Reserve(0, 1);
  QuotaDecision second = Reserve(0, 1);
  EXPECT_EQ(Used("conc"), 1u);
  conc.mode = QuotaMode::kEnforce;
  SetLimits({conc});
  EXPECT_EQ(Used("conc"), 2u);
  (void)first.reservation->Settle({});
  EXPECT_FALSE(Reserve(0, 1).reservation.has_value());
  (void)second.reservation->Settle({});
  EXPECT_TRUE(Reserve(0, 1).reservation.has_value());
}

TEST_F(QuotaLedgerTest, ReplacingLimitsLosesNoReservation) {
  SetLimits({Limit("conc", QuotaMetric::kConcurrency, 4),
             Limit("day", QuotaMetric::kTokensPerDay, 1000),
             Limit("otpm", QuotaMetric::kOutputTokensPerMinute, 600)});
  clock_.Advance(minutes(1));
  QuotaDecision open = Reserve(0, 600);
  // The same limits with other numbers, one renamed, one new, one gone.
  QuotaLimit key = Limit("key-conc", QuotaMetric::kConcurrency, 1);
  key.scope.key = "k";
  SetLimits({Limit("conc", QuotaMetric::kConcurrency, 1),
             Limit("budget", QuotaMetric::kTokensPerDay, 1000),
             key});
  EXPECT_EQ(Used("conc"), 1u);
  EXPECT_EQ(Used("key-conc"), 1u);
  EXPECT_EQ(Used("budget"), 600u);
  EXPECT_EQ(Reserve(0, 1).refusal.violations.size(), 2u);
  (void)open.reservation->Settle({.out = 100});
  EXPECT_EQ(Used("conc"), 0u);
  EXPECT_EQ(Used("key-conc"), 0u);
  EXPECT_EQ(Used("budget"), 100u);
  // A rate that is set anew starts spent.
  SetLimits({Limit("otpm", QuotaMetric::kOutputTokensPerMinute, 600)});
  EXPECT_EQ(Reserve(0, 1).refusal.retry_after, Duration(milliseconds(100)));
}

TEST_F(QuotaLedgerTest, ARestartGivesNoCredit) {
  const std::vector<QuotaLimit> limits = {Limit("otpm", QuotaMetric::kOutputTokensPerMinute, 60),
                                          Limit("day", QuotaMetric::kTokensPerDay, 100)};
  SetLimits(limits);
  clock_.Advance(minutes(1));
  (void)Reserve(0, 60).reservation->Settle({.out = 60});
  QuotaLedger next({.clock = &clock_});
  next.Restore(ledger_.CurrentUsage());
  ASSERT_TRUE(next.SetLimits(limits).ok());
  const auto again = next.Reserve(Account(), {.out = 40, .conc = 1});
  EXPECT_EQ(again.refusal.retry_after, Duration(seconds(40)));
  clock_.Advance(seconds(60));
  const auto over = next.Reserve(Account(), {.out = 41, .conc = 1});
  ASSERT_EQ(over.refusal.violations.size(), 1u);
  EXPECT_EQ(over.refusal.violations[0].state.used, 60u);
  EXPECT_EQ(next.Check(ledger_.CurrentUsage()).difference, 0u);
}

// A fleet's coordinator that gave this node a part of every limit.
class Part final : public QuotaRights {
 public:
  QuotaRight Of(const QuotaLimit&, const QuotaRight& whole, int64_t) const override {
    return {.units = whole.units * percent / 100, .burst = whole.burst * percent / 100};
  }
  uint64_t percent = 50;
};

TEST_F(QuotaLedgerTest, ANodeSpendsItsRightsAlone) {
  Part rights;
  QuotaLedger ledger({.clock = &clock_, .book = {.rights = &rights}});
  ASSERT_TRUE(ledger
                  .SetLimits({Limit("day", QuotaMetric::kTokensPerDay, 100),
                              Limit("otpm", QuotaMetric::kOutputTokensPerMinute, 100)})
                  .ok());
  clock_.Advance(minutes(1));
  const QuotaAmounts sixty{.out = 60, .conc = 1};
  const QuotaDecision refused = ledger.Reserve(Account(), sixty);
  EXPECT_EQ(refused.refusal.violations.size(), 2u);
  EXPECT_FALSE(refused.refusal.never);  // another node may give some
  EXPECT_FALSE(refused.refusal.retry_after.has_value());
  rights.percent = 80;
  ledger.RefreshRights();
  clock_.Advance(minutes(1));
  EXPECT_TRUE(ledger.Reserve(Account(), sixty).reservation.has_value());
}

TEST_F(QuotaLedgerTest, RefusesLimitsThatMakeNoSense) {
  const auto refused = [this](QuotaLimit limit, const char* why) {
    const Status status = ledger_.SetLimits({std::move(limit)});
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(Message(status)), HasSubstr(why));
  };
  QuotaLimit limit = Limit("a b", QuotaMetric::kConcurrency, 1);
  refused(limit, "its id");
  limit.id = "a";
  limit.burst = 1;
  refused(limit, "rates alone");
  limit.burst = 0;
  limit.scope = {.tenant = "t"};
  refused(limit, "names no org");
  limit.scope = {.org = "o", .key = "k"};
  refused(limit, "without their tenant");
  EXPECT_EQ(ledger_
                .SetLimits({Limit("a", QuotaMetric::kKvTokens, 1),
                            Limit("a", QuotaMetric::kConcurrency, 1)})
                .code(),
            StatusCode::kInvalidArgument);
}

TEST_F(QuotaLedgerTest, HoldsABoundedNumberOfRequestsAndAccounts) {
  QuotaLedger ledger({.clock = &clock_, .book = {.open_max = 2, .accounts_max = 2}});
  const QuotaAmounts one{.out = 1, .conc = 1};
  const QuotaDecision a = ledger.Reserve(Account("a"), one);
  {
    const QuotaDecision b = ledger.Reserve(Account("b"), one);
  }
  const QuotaDecision full = ledger.Reserve(Account("c"), one);
  EXPECT_TRUE(full.refusal.ledger_full);
  EXPECT_EQ(StatusOf(full.refusal).code(), StatusCode::kUnavailable);
  clock_.Advance(hours(24));  // December: b's usage counts nowhere any more
  EXPECT_TRUE(ledger.Reserve(Account("c"), one).reservation.has_value());
}

}  // namespace
}  // namespace inferd
