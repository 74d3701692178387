// Swap through the engine: preempted choices whose KV goes to the host and comes back say the same
// as alone, and nothing is copied where it does not pay.
#include <gtest/gtest.h>

#include "engine/engine_fixture_for_test.h"

namespace inferd {
namespace {

class SwapTest : public ::testing::TestWithParam<const char*> {
 protected:
  // Six tenants of one request each, in a pool that holds about two: fairness and growth preempt.
  static std::vector<StreamResult> RunCrowd(EngineUnderTest& test) {
    std::vector<StreamHandle> streams;
    for (int tenant = 0; tenant < 6; ++tenant) {
      GenerationRequest request = Ask(150 + 10 * tenant, 120);
      request.tenant = TenantId("t" + std::to_string(tenant));
      request.stopping.ignore_eos = true;
      streams.push_back(test.Submit(request));
    }
    std::vector<StreamResult> results;
    for (const StreamHandle stream : streams) {
      results.push_back(test.sink.WaitFor(stream));
    }
    test.WaitUntilIdle();
    return results;
  }
  static EngineOptions Small(int64_t groups) {
    EngineOptions options = EngineUnderTest::WithBlocks(12, groups);
    options.fairness_window_units = 64;  // thrashes
    options.step_time = {.prefill_token_ns = 1'000'000};
    options.step_time_fit_steps = 0;
    return options;
  }
};

INSTANTIATE_TEST_SUITE_P(Families, SwapTest, ::testing::Values("llama", "gemma2"));

TEST_P(SwapTest, TokensAreThoseOfARunWithoutPreemption) {
  const TinyModelFile file(GetParam());
  EngineOptions options = Small(file.num_groups());
  options.swap_bytes = 64 * file.num_groups() * FakeDevice::kUnitBytes;
  EngineUnderTest crowded(options);
  crowded.Load(file);
  crowded.engine->Start();
  EngineUnderTest roomy(EngineUnderTest::WithBlocks(128, file.num_groups()));
  roomy.Load(file);
  roomy.engine->Start();
  const std::vector<StreamResult> swapped = RunCrowd(crowded);
  const std::vector<StreamResult> alone = RunCrowd(roomy);
  EXPECT_EQ(roomy.engine->stats().preemptions, 0u);
  EXPECT_GT(crowded.engine->stats().swapped_out, 0u);
  EXPECT_GT(crowded.engine->stats().swapped_in, 0u);
  EXPECT_EQ(crowded.engine->stats().kv_blocks_used, 0);
  for (size_t i = 0; i < alone.size(); ++i) {
    EXPECT_EQ(swapped[i].choices[0].tokens, alone[i].choices[0].tokens) << i;
    EXPECT_EQ(alone[i].choices[0].tokens.size(), 120u);
  }
}

TEST_P(SwapTest, NothingIsCopiedWhereItDoesNotPay) {
  const TinyModelFile file(GetParam());
  EngineOptions options = Small(file.num_groups());
  options.swap_bytes = 64 * file.num_groups() * FakeDevice::kUnitBytes;
  options.swap_bytes_per_s = 1;
  EngineUnderTest test(options);
  test.Load(file);
  test.engine->Start();
  RunCrowd(test);
  EXPECT_GT(test.engine->stats().preemptions, 0u);
  EXPECT_EQ(test.engine->stats().swapped_out, 0u);
}

}  // namespace
}  // namespace inferd
