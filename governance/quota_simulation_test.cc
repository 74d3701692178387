// Goal: a simulation says what the ledger would have said, no more and no less. Method: leaves as
// the log has them, of small histories whose answer is plain, and of random ones through a second
// ledger that has the proposed limits while the history happens.
#include "governance/quota_simulation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>

#include "base/random.h"
#include "governance/audit/leaf.h"
#include "governance/quota/quota_ledger.h"
#include "governance/quota_leaf.h"

namespace inferd {
namespace {

using std::chrono::microseconds;
using std::chrono::seconds;
using ::testing::IsEmpty;

// Leaves of one shard.
class Leaves final : public EntryReader {
 public:
  const std::string& origin() const override { return origin_; }
  StatusOr<uint64_t> Size() override { return leaves_.size(); }
  Status Visit(uint64_t first, uint64_t last, const Visitor& visit) override {
    for (uint64_t i = first; i < last; ++i) {
      RETURN_IF_ERROR(visit(i, leaves_[i]));
    }
    return OkStatus();
  }
  uint64_t Add(const LeafDraft& draft, WallTime time) {
    auto leaf = EncodeLeaf(
        draft, {.origin = origin_, .node = "n", .boot = "b", .wall = time, .tseq = leaves_.size()});
    EXPECT_TRUE(leaf.ok()) << leaf.status();
    leaves_.push_back(*std::move(leaf));
    return leaves_.size() - 1;
  }

 private:
  std::string origin_ = "example.com/inferd-audit/n1/2026q4.0";
  std::vector<std::string> leaves_;
};

class QuotaSimulationTest : public testing::Test {
 protected:
  QuotaSimulationTest() { clock_.Advance(start_ - clock_.WallNow()); }

  // As the daemon writes them.
  uint64_t Admit(const QuotaReservation& reservation) {
    LeafDraft draft;
    draft.type = LeafType::kInferenceAdmitted;
    draft.tenant = TenantId(reservation.account().tenant);
    draft.rid = RequestId("01ARZ3NDEKTSV4RRFFQ69G5FAV");
    draft.quota = ReservedFacts(reservation);
    return leaves_.Add(draft, clock_.WallNow());
  }
  void End(uint64_t admitted, const std::string& tenant, const QuotaAmounts& charged) {
    LeafDraft draft;
    draft.type = LeafType::kInferenceCompleted;
    draft.tenant = TenantId(tenant);
    draft.rid = RequestId("01ARZ3NDEKTSV4RRFFQ69G5FAV");
    draft.admitted = AuditReceipt{.origin = leaves_.origin(), .index = admitted};
    draft.outcome = OutcomeFacts{.settle = charged};
    leaves_.Add(draft, clock_.WallNow());
  }
  // One request of a history without limits: reserved now, and ended at once if `used` is given.
  void Request(const std::string& tenant, uint64_t out, std::optional<uint64_t> used = {}) {
    auto decision = any_.Reserve({.org = "o", .tenant = tenant}, {.in = 0, .out = out, .conc = 1});
    ASSERT_TRUE(decision.reservation.has_value());
    const uint64_t place = Admit(*decision.reservation);
    if (used.has_value()) {
      End(place, tenant, decision.reservation->Settle({.out = *used}).charged);
    }
  }
  static QuotaLimit Limit(QuotaMetric metric,
                          uint64_t limit,
                          QuotaMode mode = QuotaMode::kEnforce) {
    return {
        .id = "proposed", .scope = {.org = "o"}, .metric = metric, .limit = limit, .mode = mode};
  }
  QuotaSimulation Simulate(const QuotaLimit& limit, WallTime from, WallTime to) {
    auto result = SimulateQuotas({&leaves_}, {limit}, from, to);
    EXPECT_TRUE(result.ok()) << result.status();
    return *std::move(result);
  }

  const WallTime start_ = StartOfDay(*ParseUtcDay("2026-11-20"));
  const WallTime end_ = start_ + std::chrono::hours(24 * 30);
  ManualClock clock_;
  QuotaLedger any_{{.clock = &clock_}};
  Leaves leaves_;
};

TEST_F(QuotaSimulationTest, ABudgetCountsWhatCameBackAndWhatWasBefore) {
  Request("a", 40, 40);  // of the same day, before the time asked for
  clock_.Advance(std::chrono::hours(1));
  const WallTime from = clock_.WallNow();
  Request("a", 60, 10);  // 100 at first, then 50
  Request("b", 50, 50);
  Request("a", 1, 0);
  const QuotaSimulation result = Simulate(Limit(QuotaMetric::kTokensPerDay, 100), from, end_);
  EXPECT_EQ(result.requests, 3u);
  EXPECT_EQ(result.refused, 1u);
  const std::map<std::pair<std::string, std::string>, SimulatedBreach> expected = {
      {{"proposed", "a"}, {.refused = 1, .refused_tokens = 1, .noticed = 0}}};
  EXPECT_EQ(result.breaches, expected);
  // Without what was before, all pass; beyond the end nothing counts.
  EXPECT_EQ(Simulate(Limit(QuotaMetric::kTokensPerDay, 140), from, end_).refused, 0u);
  EXPECT_EQ(Simulate(Limit(QuotaMetric::kTokensPerDay, 100), start_, from).requests, 1u);
}

TEST_F(QuotaSimulationTest, ARateStartsSpentWhenTheLimitsBegin) {
  clock_.Advance(seconds(1));
  const WallTime from = clock_.WallNow();
  QuotaLimit limit = Limit(QuotaMetric::kRequestsPerMinute, 60);
  limit.burst = 1;
  Request("a", 1, 1);
  clock_.Advance(seconds(1));
  Request("a", 1, 1);
  EXPECT_EQ(Simulate(limit, from, end_).refused, 1u);
  EXPECT_EQ(Simulate(limit, from - seconds(1), end_).refused, 0u);
}

TEST_F(QuotaSimulationTest, ModesThatLetPassAreNoticed) {
  Request("a", 60);
  Request("a", 60);
  Request("a", 60);
  const auto result =
      Simulate(Limit(QuotaMetric::kTokensPerDay, 100, QuotaMode::kShadow), start_, end_);
  EXPECT_EQ(result.refused, 0u);
  EXPECT_EQ(result.breaches.at({"proposed", "a"}).noticed, 2u);
  QuotaLimit none = Limit(QuotaMetric::kTokensPerDay, 100);
  none.burst = 3;
  EXPECT_EQ(SimulateQuotas({&leaves_}, {none}, start_, end_).status().code(),
            StatusCode::kInvalidArgument);
}

std::vector<QuotaLimit> LimitsOfEveryKind(uint64_t divisor) {
  std::vector<QuotaLimit> limits;
  for (const auto& [metric, limit] : {std::pair(QuotaMetric::kRequestsPerMinute, 60),
                                      std::pair(QuotaMetric::kOutputTokensPerMinute, 6000),
                                      std::pair(QuotaMetric::kConcurrency, 12),
                                      std::pair(QuotaMetric::kTokensPerDay, 40'000)}) {
    for (const char* tenant : {"", "a"}) {
      limits.push_back({.id = std::string(Name(metric)) + "/" + (*tenant == 0 ? "org" : tenant),
                        .scope = {.org = "o", .tenant = tenant},
                        .metric = metric,
                        .limit = static_cast<uint64_t>(limit) / divisor});
    }
  }
  return limits;
}

TEST_F(QuotaSimulationTest, IsWhatALedgerWithTheseLimitsWouldHaveSaid) {
  for (const uint64_t seed : {1, 2}) {
    leaves_ = Leaves();
    SplitMix64 random(seed);
    QuotaLedger real({.clock = &clock_});
    QuotaLedger proposed({.clock = &clock_});
    // Both begin with the day, as the simulation does.
    clock_.Advance(StartOfDay(DayOf(clock_.WallNow()) + 1) - clock_.WallNow());
    const WallTime from = clock_.WallNow();
    ASSERT_TRUE(real.SetLimits(LimitsOfEveryKind(1)).ok());
    ASSERT_TRUE(proposed.SetLimits(LimitsOfEveryKind(2)).ok());
    struct Open {
      QuotaReservation real;
      std::optional<QuotaReservation> proposed;
      uint64_t place = 0;
    };
    std::vector<Open> open;
    QuotaSimulation expected;
    for (int step = 0; step < 800; ++step) {
      clock_.Advance(microseconds(1 + random.Below(1'500'000)));
      if (random.Below(2) == 0 && !open.empty()) {
        const size_t which = random.Below(open.size());
        Open ended = std::move(open[which]);
        open.erase(open.begin() + static_cast<ptrdiff_t>(which));
        const QuotaAmounts bound = ended.real.upper_bound();
        const QuotaActual actual = {.in = bound.in, .out = random.Below(bound.out + 1)};
        const std::string tenant = ended.real.account().tenant;
        End(ended.place, tenant, ended.real.Settle(actual).charged);
        if (ended.proposed.has_value()) {
          ended.proposed->Settle(actual);
        }
        continue;
      }
      const QuotaAccount account = {.org = "o", .tenant = random.Below(2) == 0 ? "a" : "b"};
      const QuotaAmounts asked = {.in = random.Below(20), .out = random.Below(200), .conc = 1};
      QuotaDecision decision = real.Reserve(account, asked);
      if (!decision.reservation.has_value()) {
        continue;  // the log has no more of it than its denial
      }
      QuotaDecision other = proposed.Reserve(account, asked);
      ++expected.requests;
      expected.refused += other.reservation.has_value() ? 0 : 1;
      for (const QuotaViolation& violation : other.refusal.violations) {
        SimulatedBreach& breach = expected.breaches[{violation.state.id, account.tenant}];
        ++breach.refused;
        breach.refused_tokens += asked.in + asked.out;
      }
      const uint64_t place = Admit(*decision.reservation);
      open.push_back({*std::move(decision.reservation), std::move(other.reservation), place});
    }
    EXPECT_GT(expected.refused, 20u);
    const auto same = SimulateQuotas({&leaves_}, LimitsOfEveryKind(1), from, WallTime::max());
    ASSERT_TRUE(same.ok()) << same.status();
    EXPECT_THAT(same->breaches, IsEmpty());
    const auto half = SimulateQuotas({&leaves_}, LimitsOfEveryKind(2), from, WallTime::max());
    ASSERT_TRUE(half.ok()) << half.status();
    EXPECT_EQ(half->requests, expected.requests);
    EXPECT_EQ(half->refused, expected.refused);
    EXPECT_EQ(half->breaches, expected.breaches);
  }
}

}  // namespace
}  // namespace inferd
