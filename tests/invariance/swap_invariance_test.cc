// KV that went to the host and came back, on the CPU's own kernels: the logits have the bits of a
// run without preemption.
#include <gtest/gtest.h>

#include <cstring>

#include "cpu/cpu_device.h"
#include "engine/engine_fixture_for_test.h"

namespace inferd {
namespace {

class SwapInvarianceTest : public ::testing::TestWithParam<const char*> {
 protected:
  struct Run {
    std::vector<ChoiceResult> choices;
    EngineStats stats;
  };
  static Run RunWith(const TinyModelFile& file, const EngineOptions& options) {
    Run run;
    auto device = CpuDevice::Create({.threads = 2});
    EXPECT_TRUE(device.ok()) << device.status();
    CollectingSink sink;
    Engine engine(**device, SystemClock(), sink, options);
    EXPECT_TRUE(engine.LoadModel("tiny", Digest{}, file.file()).ok());
    engine.Start();
    std::vector<StreamHandle> streams;
    for (int tenant = 0; tenant < 4; ++tenant) {
      GenerationRequest request = Ask(120 + 10 * tenant, 40);
      request.tenant = TenantId("t" + std::to_string(tenant));
      request.stopping.ignore_eos = true;
      request.sampling.logprobs = 5;
      streams.push_back(*engine.Submit(request));
    }
    for (const StreamHandle stream : streams) {
      run.choices.push_back(sink.WaitFor(stream).choices[0]);
    }
    run.stats = engine.stats();
    return run;
  }
  // Bytes of so many blocks of every state group.
  static int64_t BlockBytes(const TinyModelFile& file, int64_t blocks) {
    auto device = CpuDevice::Create({.threads = 1});
    int64_t bytes = 0;
    for (int64_t g = 0; g < file.num_groups(); ++g) {
      bytes += (*device)->StateUnitBytes(file.file().config(), static_cast<int32_t>(g));
    }
    return blocks * bytes;
  }
};

INSTANTIATE_TEST_SUITE_P(Families, SwapInvarianceTest, ::testing::Values("llama", "gemma2"));

TEST_P(SwapInvarianceTest, ASwapChangesNoBit) {
  const TinyModelFile file(GetParam());
  const Run roomy = RunWith(file, {.step_tokens_max = 96, .kv_bytes = BlockBytes(file, 64)});
  EngineOptions small{.step_tokens_max = 96, .kv_bytes = BlockBytes(file, 6)};
  small.fairness_window_units = 64;
  small.swap_bytes = BlockBytes(file, 64);
  small.step_time = {.prefill_token_ns = 1'000'000'000};
  small.step_time_fit_steps = 0;
  const Run swapped = RunWith(file, small);
  EXPECT_EQ(roomy.stats.preemptions, 0u);
  EXPECT_GT(swapped.stats.swapped_in, 0u);
  for (size_t i = 0; i < roomy.choices.size(); ++i) {
    ASSERT_EQ(swapped.choices[i].tokens, roomy.choices[i].tokens);
    for (size_t t = 0; t < roomy.choices[i].logprobs.size(); ++t) {
      const SampledToken& one = roomy.choices[i].logprobs[t];
      const SampledToken& two = swapped.choices[i].logprobs[t];
      EXPECT_EQ(std::memcmp(&one.logprob, &two.logprob, sizeof(float)), 0);
      for (size_t k = 0; k < one.top.size(); ++k) {
        EXPECT_EQ(std::memcmp(&one.top[k].logprob, &two.top[k].logprob, sizeof(float)), 0);
      }
    }
  }
}

}  // namespace
}  // namespace inferd
