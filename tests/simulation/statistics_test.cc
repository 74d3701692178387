// Statistics against values worked out by hand, and the KS test's level and power on seeds.
#include "tests/simulation/statistics.h"

#include <gtest/gtest.h>

#include "base/random.h"

namespace inferd::sim {
namespace {

TEST(Statistics, QuantilesInterpolate) {
  EXPECT_EQ(Quantile({}, 0.5), 0);
  EXPECT_EQ(Quantile({7}, 0.99), 7);
  EXPECT_EQ(Quantile({4, 1, 3, 2}, 0.5), 2.5);
  EXPECT_EQ(Quantile({4, 1, 3, 2}, 1.0), 4);
}

TEST(Statistics, JainIndexIsOneForEqualAndOneNthForOne) {
  EXPECT_EQ(JainIndex(std::vector<double>{}), 1);
  EXPECT_DOUBLE_EQ(JainIndex(std::vector<double>{3, 3, 3, 3}), 1);
  EXPECT_DOUBLE_EQ(JainIndex(std::vector<double>{5, 0, 0, 0}), 0.25);
}

TEST(Statistics, SwingIsTheWidestGapOverAnyInterval) {
  Swing swing;
  for (const double value : {0.0, 5.0, -2.0, 1.0}) {
    swing.Add(value);
  }
  EXPECT_EQ(swing.width(), 7);
  swing.Reset();
  swing.Add(100);
  EXPECT_EQ(swing.width(), 0);
}

TEST(Statistics, KsDistanceByHand) {
  EXPECT_DOUBLE_EQ(KsDistance({1, 2, 3}, {1, 2, 3}), 0);
  EXPECT_DOUBLE_EQ(KsDistance({1, 2, 3}, {4, 5, 6}), 1);
  EXPECT_DOUBLE_EQ(KsDistance({1, 2, 3, 4}, {3, 4, 5, 6}), 0.5);
  EXPECT_DOUBLE_EQ(KsDistance({1, 1, 1, 2}, {1, 2, 2, 2}), 0.5);  // ties
  // A table's value: 1.628 * sqrt(2/250) for alpha 0.01.
  EXPECT_NEAR(KsCritical(250, 250, 0.01), 0.1456, 0.0001);
}

std::vector<double> Uniform(SplitMix64& random, size_t n, double shift) {
  std::vector<double> values;
  for (size_t i = 0; i < n; ++i) {
    values.push_back(random.Unit() + shift);
  }
  return values;
}

TEST(Statistics, KsRejectsOnlyWhatDiffers) {
  SplitMix64 random(11);
  const double critical = KsCritical(250, 250, 0.01);
  int equal_rejected = 0;
  int shifted_rejected = 0;
  constexpr int kTrials = 400;
  for (int i = 0; i < kTrials; ++i) {
    const std::vector<double> a = Uniform(random, 250, 0);
    equal_rejected += KsDistance(a, Uniform(random, 250, 0)) > critical ? 1 : 0;
    shifted_rejected += KsDistance(a, Uniform(random, 250, 0.25)) > critical ? 1 : 0;
  }
  EXPECT_LE(equal_rejected, kTrials / 50);  // about 1 % are expected
  EXPECT_GE(shifted_rejected, kTrials * 95 / 100);
}

}  // namespace
}  // namespace inferd::sim
