// StepTimeFit: it finds the model that made the steps, follows it when it changes, and gives no
// negative term, whatever it is fed.
#include "scheduler/step_time_fit.h"

#include <gtest/gtest.h>

#include "base/random.h"

namespace inferd {
namespace {

constexpr StepTimeModel kDevice{.base_ns = 20'000'000,
                                .prefill_token_ns = 210'000,
                                .decode_row_ns = 50'000,
                                .context_kilotoken_ns = 800'000};

MeasuredStep StepOf(const StepTimeModel& device, SplitMix64& random, int64_t noise_per_mille) {
  MeasuredStep step{.prefill_tokens = static_cast<int64_t>(random.Below(512)),
                    .decode_rows = static_cast<int64_t>(random.Below(64)),
                    .context_tokens = static_cast<int64_t>(random.Below(100'000))};
  const int64_t took =
      device.Estimate(step.prefill_tokens, step.decode_rows, step.context_tokens).count();
  const auto span = static_cast<uint64_t>(2 * noise_per_mille + 1);
  step.took_ns = took + took / 1000 * (static_cast<int64_t>(random.Below(span)) - noise_per_mille);
  return step;
}

void ExpectWithin(const StepTimeModel& found, const StepTimeModel& device, double share) {
  const auto near = [share](int64_t one, int64_t other) {
    EXPECT_NEAR(
        static_cast<double>(one), static_cast<double>(other), share * static_cast<double>(other));
  };
  near(found.base_ns, device.base_ns);
  near(found.prefill_token_ns, device.prefill_token_ns);
  near(found.decode_row_ns, device.decode_row_ns);
  near(found.context_kilotoken_ns, device.context_kilotoken_ns);
}

TEST(StepTimeFitTest, FindsTheModelThatMadeTheSteps) {
  StepTimeFit fit;
  EXPECT_EQ(fit.Fit().base_ns, 0);
  SplitMix64 random(1);
  for (int i = 0; i < 1000; ++i) {
    fit.Add(StepOf(kDevice, random, 0));
  }
  ExpectWithin(fit.Fit(), kDevice, 0.05);
}

TEST(StepTimeFitTest, NoiseOfATenthMovesThePredictionByLess) {
  StepTimeFit fit;
  SplitMix64 random(2);
  for (int i = 0; i < 1000; ++i) {
    fit.Add(StepOf(kDevice, random, 100));
  }
  const auto predicted = static_cast<double>(fit.Fit().Estimate(256, 32, 50'000).count());
  const auto real = static_cast<double>(kDevice.Estimate(256, 32, 50'000).count());
  EXPECT_NEAR(predicted, real, 0.02 * real);
}

TEST(StepTimeFitTest, FollowsADeviceThatBecomesSlower) {
  StepTimeFit fit;
  SplitMix64 random(3);
  for (int64_t i = 0; i < 2 * StepTimeFit::kMemorySteps; ++i) {
    fit.Add(StepOf(kDevice, random, 0));
  }
  StepTimeModel slow = kDevice;
  slow.prefill_token_ns *= 3;
  for (int64_t i = 0; i < 8 * StepTimeFit::kMemorySteps; ++i) {
    fit.Add(StepOf(slow, random, 0));
  }
  ExpectWithin(fit.Fit(), slow, 0.05);
}

// Steps of one shape say nothing of the terms, and steps that get quicker with more rows would make
// one negative.
TEST(StepTimeFitTest, NoTermIsNegativeWhateverItIsFed) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    StepTimeFit fit;
    SplitMix64 random(seed);
    const bool one_shape = seed % 4 == 0;
    const MeasuredStep first = StepOf(kDevice, random, 0);
    for (int i = 0; i < 50; ++i) {
      MeasuredStep step = one_shape ? first : StepOf(kDevice, random, 0);
      step.took_ns = static_cast<int64_t>(random.Below(1'000'000'000));
      fit.Add(step);
    }
    const StepTimeModel found = fit.Fit();
    EXPECT_GE(found.base_ns, 0) << seed;
    EXPECT_GE(found.prefill_token_ns, 0) << seed;
    EXPECT_GE(found.decode_row_ns, 0) << seed;
    EXPECT_GE(found.context_kilotoken_ns, 0) << seed;
    EXPECT_GT(found.Estimate(256, 32, 50'000).count(), 0) << seed;
  }
}

}  // namespace
}  // namespace inferd
