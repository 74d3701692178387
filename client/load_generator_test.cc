// Goal: the figures of `bench` are what they are called. Method: hand-made samples with known
// answers; the arrivals against the mean and the memorylessness of their distribution; the loops by
// what they call, never by how long they take.
#include "client/load_generator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <mutex>
#include <numeric>
#include <set>

namespace inferd {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::Pair;

TEST(Percentile, InterpolatesBetweenRanks) {
  const std::vector<double> values = {1, 2, 3, 4};
  EXPECT_EQ(Percentile(values, 0), 1);
  EXPECT_EQ(Percentile(values, 1), 4);
  EXPECT_DOUBLE_EQ(Percentile(values, 0.5), 2.5);
  EXPECT_DOUBLE_EQ(Percentile(values, 0.9), 3.7);
  const std::vector<double> one = {7};
  EXPECT_EQ(Percentile(one, 0.99), 7);
}

TEST(Summarise, OfNothingOneAndMany) {
  EXPECT_EQ(Summarise({}), LatencySummary{});
  EXPECT_EQ(Summarise({5}),
            (LatencySummary{.count = 1, .mean = 5, .p50 = 5, .p90 = 5, .p99 = 5, .max = 5}));
  std::vector<double> values(101);
  std::iota(values.rbegin(), values.rend(), 0.0);  // unsorted: 100 first
  EXPECT_EQ(
      Summarise(values),
      (LatencySummary{.count = 101, .mean = 50, .p50 = 50, .p90 = 90, .p99 = 99, .max = 100}));
}

TEST(PoissonArrivals, StartAtOnceAndKeepTheRate) {
  const auto arrivals = PoissonArrivals(50, 20001, 1);
  EXPECT_EQ(arrivals.front(), Duration(0));
  EXPECT_TRUE(std::is_sorted(arrivals.begin(), arrivals.end()));
  const double total_s = std::chrono::duration<double>(arrivals.back()).count();
  EXPECT_NEAR(total_s, 400, 4 * 400 / std::sqrt(20000.0));  // four standard errors
  // Exponential gaps: a part of e^-1 is above the mean.
  int above = 0;
  for (size_t i = 1; i < arrivals.size(); ++i) {
    above += arrivals[i] - arrivals[i - 1] > milliseconds(20) ? 1 : 0;
  }
  EXPECT_NEAR(above / 20000.0, std::exp(-1), 0.015);
  EXPECT_EQ(PoissonArrivals(50, 20001, 1), arrivals);
  EXPECT_NE(PoissonArrivals(50, 20001, 2), arrivals);
}

TEST(RunLoad, ClosedLoopSendsEachRequestOnceWithinItsConcurrency) {
  std::mutex mutex;
  std::set<int32_t> sent;
  std::atomic<int32_t> in_flight = 0, in_flight_max = 0, last_done = 0;
  const auto samples = RunLoad(
      {.concurrency = 3, .requests = 40},
      [&](int32_t index, int32_t worker, RequestSample&) {
        const int32_t now = ++in_flight;
        in_flight_max = std::max(in_flight_max.load(), now);
        EXPECT_LT(worker, 3);
        {
          const std::lock_guard lock(mutex);
          EXPECT_TRUE(sent.insert(index).second);
        }
        --in_flight;
      },
      [&](int32_t done) { last_done = std::max(last_done.load(), done); });
  EXPECT_EQ(samples.size(), 40u);
  EXPECT_EQ(sent.size(), 40u);
  EXPECT_LE(in_flight_max, 3);
  EXPECT_EQ(last_done, 40);
}

TEST(RunLoad, OpenLoopKeepsIntendedTimesAndNeverSendsEarly) {
  const LoadOptions options{.rate_per_s = 2000, .concurrency = 4, .requests = 50, .seed = 3};
  const auto samples = RunLoad(options, [](int32_t, int32_t, RequestSample&) {});
  const auto arrivals = PoissonArrivals(2000, 50, 3);
  ASSERT_EQ(samples.size(), 50u);
  for (size_t i = 0; i < samples.size(); ++i) {
    EXPECT_EQ(samples[i].intended - samples[0].intended, arrivals[i]);
    EXPECT_GE(samples[i].sent, samples[i].intended);
  }
}

TEST(RunLoad, NoRequestStartsAfterTheDuration) {
  const auto arrivals = PoissonArrivals(1000, 100, 5);
  const auto samples = RunLoad({.rate_per_s = 1000,
                                .concurrency = 2,
                                .requests = 100,
                                .duration = arrivals[9] + Duration(1),
                                .seed = 5},
                               [](int32_t, int32_t, RequestSample&) {});
  EXPECT_EQ(samples.size(), 10u);
}

TEST(Report, MeasuresFromTheIntendedStart) {
  const TimePoint start(milliseconds(1000));
  const auto at = [start](int ms) { return start + milliseconds(ms); };
  std::vector<RequestSample> samples(3);
  samples[0] = {.intended = at(0),
                .sent = at(10),
                .ended = at(110),
                .outputs = {at(50), at(70), at(110)},
                .output_tokens = 5,
                .prompt_tokens = 7,
                .status = OkStatus()};
  samples[1] = {.intended = at(0),
                .sent = at(0),
                .ended = at(200),
                .outputs = {at(150)},
                .output_tokens = 1,
                .prompt_tokens = 3,
                .status = OkStatus()};
  samples[2] = {.intended = at(100),
                .sent = at(100),
                .ended = at(500),
                .outputs = {},
                .output_tokens = 0,
                .prompt_tokens = 0,
                .status = Status(StatusCode::kUnavailable, "queue full")};
  const LoadReport report = Report(samples);
  EXPECT_EQ(report.completed, 2);
  EXPECT_THAT(report.failed, ElementsAre(Pair("UNAVAILABLE", 1)));
  EXPECT_EQ(report.first_error, "queue full");
  EXPECT_DOUBLE_EQ(report.duration_s, 0.5);
  EXPECT_EQ(report.output_tokens, 6);
  EXPECT_EQ(report.prompt_tokens, 10);
  EXPECT_DOUBLE_EQ(report.output_tokens_per_s, 12);
  EXPECT_DOUBLE_EQ(report.requests_per_s, 4);
  EXPECT_DOUBLE_EQ(report.ttft_ms.p50, 100);  // of 50 and 150
  EXPECT_DOUBLE_EQ(report.itl_ms.max, 40);
  EXPECT_EQ(report.itl_ms.count, 2u);
  EXPECT_DOUBLE_EQ(report.tpot_ms.mean, 15);  // 60 ms for four tokens
  EXPECT_EQ(report.tpot_ms.count, 1u);
  EXPECT_DOUBLE_EQ(report.e2e_ms.mean, 155);
  EXPECT_EQ(report.lag_ms.count, 3u);
  EXPECT_DOUBLE_EQ(report.lag_ms.max, 10);
}

TEST(Report, OfNothing) { EXPECT_EQ(Report({}).completed, 0); }

}  // namespace
}  // namespace inferd
