// Angles against libm in long double, and steps that refill what they must.
#include "cpu/rope_table.h"

#include <cmath>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace inferd {
namespace {

TEST(ReproducibleCosSin, AgreesWithLibm) {
  std::mt19937_64 engine(7);
  for (const double range : {1.0, 10.0, 1e3, 1e6, 1e8}) {
    std::uniform_real_distribution<double> uniform(0, range);
    for (int i = 0; i < 20000; ++i) {
      const double x = uniform(engine);
      double cosine = 0;
      double sine = 0;
      ReproducibleCosSin(x, &cosine, &sine);
      const double bound = 4e-16 + 2.3e-16 * x;
      ASSERT_NEAR(cosine, std::cos(x), bound) << x;
      ASSERT_NEAR(sine, std::sin(x), bound) << x;
    }
  }
  double cosine = 0;
  double sine = 0;
  ReproducibleCosSin(0.0, &cosine, &sine);
  EXPECT_EQ(cosine, 1.0);
  EXPECT_EQ(sine, 0.0);
}

TEST(RopeTable, IsTheFormula) {
  RopeConfig config;
  config.kind = RopeKind::kHalves;
  config.rotary_dim = 12;
  config.theta = 500000.0f;
  config.position_scale = 0.125f;
  config.factors = {1.0f, 2.0f, 1.5f, 8.0f, 1.0f, 3.0f};
  config.magnitude = 1.19f;
  RopeTable table(config);
  ASSERT_EQ(table.half(), 6);
  ThreadTeam team(2);
  std::vector<int64_t> positions;
  for (int64_t i = 0; i < 50; ++i) {
    positions.push_back(i * i * 53);
  }
  table.Fill(1, positions, team);
  for (size_t row = 0; row < positions.size(); ++row) {
    for (int i = 0; i < 6; ++i) {
      const long double angle = static_cast<long double>(positions[row]) * 0.125L *
                                powl(500000.0L, -2.0L * i / 12.0L) /
                                static_cast<long double>(config.factors[static_cast<size_t>(i)]);
      EXPECT_NEAR(table.cosines(static_cast<int32_t>(row))[i],
                  static_cast<double>(1.19f * cosl(angle)),
                  1e-7);
      EXPECT_NEAR(table.sines(static_cast<int32_t>(row))[i],
                  static_cast<double>(1.19f * sinl(angle)),
                  1e-7);
    }
  }
}

TEST(RopeTable, FillsOnceAStep) {
  RopeConfig config;
  config.kind = RopeKind::kInterleaved;
  config.rotary_dim = 2;
  RopeTable table(config);
  ThreadTeam team(1);
  const std::vector<int64_t> first = {3, 4};
  const std::vector<int64_t> second = {5};
  table.Fill(1, first, team);
  EXPECT_EQ(table.cosines(1)[0], static_cast<float>(std::cos(4.0)));
  table.Fill(2, second, team);
  EXPECT_EQ(table.cosines(0)[0], static_cast<float>(std::cos(5.0)));
}

TEST(RopeTable, NoRopeHasNoAngles) {
  RopeTable table(RopeConfig{});
  ThreadTeam team(1);
  const std::vector<int64_t> positions = {1, 2, 3};
  table.Fill(1, positions, team);
  EXPECT_EQ(table.half(), 0);
}

}  // namespace
}  // namespace inferd
