// A warm start from the prefix cache, on the CPU's own kernels: the logits have the bits of a cold
// one, for families with one state group and with a window beside it.
#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "cpu/cpu_device.h"
#include "engine/engine_fixture_for_test.h"

namespace inferd {
namespace {

class PrefixInvarianceTest : public ::testing::TestWithParam<const char*> {};

INSTANTIATE_TEST_SUITE_P(Families,
                         PrefixInvarianceTest,
                         ::testing::Values("llama", "qwen3", "gemma2"));

TEST_P(PrefixInvarianceTest, AWarmStartHasTheBitsOfAColdOne) {
  const TinyModelFile file(GetParam());
  auto device = CpuDevice::Create({.threads = 2});
  ASSERT_TRUE(device.ok()) << device.status();
  CollectingSink sink;
  Engine engine(**device, SystemClock(), sink, {.step_tokens_max = 96});
  ASSERT_TRUE(engine.LoadModel("tiny", Digest{}, file.file()).ok());
  engine.Start();
  std::vector<ChoiceResult> results;
  for (int turn = 0; turn < 2; ++turn) {
    GenerationRequest request = Ask(300, 24);
    request.stopping.ignore_eos = true;
    request.sampling.logprobs = 5;
    results.push_back(sink.WaitFor(*engine.Submit(request)).choices[0]);
  }
  EXPECT_EQ(results[0].finished->usage.cached_tokens, 0);
  EXPECT_EQ(results[1].finished->usage.cached_tokens, 256);
  ASSERT_EQ(results[0].tokens, results[1].tokens);
  ASSERT_EQ(results[0].logprobs.size(), 24u);
  for (size_t i = 0; i < results[0].logprobs.size(); ++i) {
    const SampledToken& cold = results[0].logprobs[i];
    const SampledToken& warm = results[1].logprobs[i];
    EXPECT_EQ(std::memcmp(&cold.logprob, &warm.logprob, sizeof(float)), 0);
    ASSERT_EQ(cold.top.size(), warm.top.size());
    for (size_t k = 0; k < cold.top.size(); ++k) {
      EXPECT_EQ(cold.top[k].token, warm.top[k].token);
      EXPECT_EQ(std::memcmp(&cold.top[k].logprob, &warm.top[k].logprob, sizeof(float)), 0);
    }
  }
}

}  // namespace
}  // namespace inferd
