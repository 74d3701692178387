// Goal: the bucket's promise, and that it refuses nothing else. Method: random charges, gifts back
// and waits in virtual time, against an oracle that knows nothing of buckets: it keeps every charge
// and looks at all intervals.
#include "governance/quota/rate_bucket.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/random.h"
#include "tests/support/interval_oracle.h"

namespace inferd {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

struct Flow {
  RateBucket::Ticket ticket;
  size_t charge;
};

// One random history; every answer of the bucket is the oracle's.
void PlayHistory(uint64_t seed) {
  SplitMix64 random(seed);
  const BucketRate rate{.per_minute = 1 + random.Below(6000), .burst = 1 + random.Below(500)};
  TimePoint now{};
  RateBucket bucket(rate, now);
  IntervalOracle oracle(rate);
  oracle.Charge(now, rate.burst);  // it starts spent
  std::vector<Flow> open;
  const uint64_t pace_ms = 1 + random.Below(2000);
  for (int step = 0; step < 150; ++step) {
    now += Duration(static_cast<int64_t>(random.Below(pace_ms * 1'000'000)));
    bucket.Advance(now);
    if (random.Below(2) == 0 || open.empty()) {
      const uint64_t cost = random.Below(rate.burst + 2);
      ASSERT_EQ(bucket.Fits(cost), oracle.Allows(now, cost)) << "seed " << seed << " step " << step;
      if (const auto wait = bucket.UntilFits(cost)) {
        ASSERT_TRUE(oracle.Allows(now + *wait, cost)) << "seed " << seed << " step " << step;
        ASSERT_TRUE(wait->count() == 0 || !oracle.Allows(now + *wait - Duration(1), cost));
      } else {
        ASSERT_GT(cost, rate.burst);
      }
      if (bucket.Fits(cost)) {
        open.push_back({bucket.Take(cost), oracle.Charge(now, cost)});
      }
    } else {
      const size_t which = random.Below(open.size());
      const Flow flow = open[which];
      open.erase(open.begin() + static_cast<ptrdiff_t>(which));
      const uint64_t cost = oracle.cost(flow.charge);
      const uint64_t unused = random.Below(3) == 0 ? cost : random.Below(cost + 1);
      bucket.Settle(flow.ticket, unused);
      oracle.SetCost(flow.charge, cost - unused);
    }
  }
  EXPECT_EQ(oracle.Overrun(), 0u) << "seed " << seed;
  EXPECT_EQ(bucket.num_open(), open.size());
}

TEST(RateBucket, AdmitsExactlyWhatEveryIntervalAllows) {
  for (uint64_t seed = 1; seed <= 600; ++seed) {
    PlayHistory(seed);
    if (HasFailure()) {
      return;
    }
  }
}

TEST(RateBucket, AGiftBackDoesNotPassOnWhatDrainedMeanwhile) {
  const BucketRate rate{.per_minute = 100, .burst = 100};
  TimePoint now{};
  RateBucket bucket(rate, now);
  now += seconds(60);
  bucket.Advance(now);
  const auto first = bucket.Take(100);
  now += seconds(60);  // it is empty again
  bucket.Advance(now);
  (void)bucket.Take(100);
  bucket.Settle(first, 100);
  // Giving 100 back now would let 200 through in no time.
  EXPECT_FALSE(bucket.Fits(1));
  EXPECT_EQ(bucket.UntilFits(1), Duration(milliseconds(600)));
}

TEST(RateBucket, StartsSpentAndNamesTheNanosecond) {
  const BucketRate rate{.per_minute = 7, .burst = 3};
  RateBucket bucket(rate, TimePoint());
  EXPECT_EQ(bucket.remaining(), 0u);
  const auto wait = bucket.UntilFits(1);
  ASSERT_TRUE(wait.has_value());
  EXPECT_EQ(wait->count(), 8'571'428'572);  // 60e9 / 7, rounded up
  bucket.Advance(TimePoint(*wait) - Duration(1));
  EXPECT_FALSE(bucket.Fits(1));
  bucket.Advance(TimePoint(*wait));
  EXPECT_TRUE(bucket.Fits(1));
  EXPECT_FALSE(bucket.UntilFits(4).has_value());
}

TEST(RateBucket, AChangeOfRateIsKnownToTheRetryTime) {
  const BucketRate raised{.per_minute = 600, .burst = 600};
  const BucketRate base{.per_minute = 60, .burst = 60};
  const RateBucket bucket(raised, TimePoint());
  // 100 fit after 10 s; the rate falls after 5 s, and with it the burst.
  EXPECT_FALSE(bucket.UntilFits(100, base, seconds(5)).has_value());
  EXPECT_EQ(bucket.UntilFits(100, base, seconds(11)), Duration(seconds(10)));
  // The backlog is 550 after 5 s, and must be 30 for 30 more.
  EXPECT_EQ(bucket.UntilFits(30, base, seconds(2)), Duration(seconds(2 + 550)));
}

}  // namespace
}  // namespace inferd
