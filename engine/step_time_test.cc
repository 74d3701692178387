// The engine fits how long steps take to those that it measured, and tells the scheduler.
#include <gtest/gtest.h>

#include "engine/engine_fixture_for_test.h"
#include "scheduler/step_plan.h"

namespace inferd {
namespace {

class ExpectedTimes final : public StepObserver {
 public:
  void AfterStep(const StepPlan& plan, Duration) override { times.push_back(plan.expected); }
  std::vector<Duration> times;  // core thread; read when the engine is gone
};

std::vector<Duration> TimesExpected(const TinyModelFile& file, int32_t fit_steps) {
  ExpectedTimes observer;
  {
    EngineOptions options = EngineUnderTest::WithBlocks(64, file.num_groups());
    options.step_time_fit_steps = fit_steps;
    options.observer = &observer;
    EngineUnderTest test(options);
    test.Load(file);
    test.engine->Start();
    GenerationRequest request = Ask(70, 40);
    request.stopping.ignore_eos = true;
    test.Generate(request);
  }
  return observer.times;
}

TEST(StepTimeTest, AreKnownFromTheFirstFitOn) {
  const TinyModelFile file("llama");
  const std::vector<Duration> times = TimesExpected(file, 8);
  ASSERT_GE(times.size(), 40u);
  for (size_t step = 0; step < times.size(); ++step) {
    EXPECT_EQ(times[step] > Duration::zero(), step >= 8) << step;
  }
}

TEST(StepTimeTest, StayAsTheyAreIfAskedFor) {
  const TinyModelFile file("llama");
  for (const Duration time : TimesExpected(file, 0)) {
    EXPECT_EQ(time, Duration::zero());
  }
}

}  // namespace
}  // namespace inferd
