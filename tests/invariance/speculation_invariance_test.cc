// Guessing ahead on the CPU's own kernels: tokens and logits have the bits of a run without.
#include <gtest/gtest.h>

#include <cstring>

#include "cpu/cpu_device.h"
#include "engine/engine_fixture_for_test.h"

namespace inferd {
namespace {

class SpeculationInvarianceTest : public ::testing::TestWithParam<const char*> {
 protected:
  struct Run {
    std::vector<ChoiceResult> choices;
    EngineStats stats;
  };
  static Run RunWith(const TinyModelFile& file, int32_t draft_tokens_max) {
    Run run;
    auto device = CpuDevice::Create({.threads = 2});
    EXPECT_TRUE(device.ok()) << device.status();
    CollectingSink sink;
    EngineOptions options{.step_tokens_max = 96, .kv_bytes = int64_t{64} << 20};
    options.speculation.draft_tokens_max = draft_tokens_max;
    options.speculation.acceptance_min = 0;  // never rests: wrong guesses, too
    Engine engine(**device, SystemClock(), sink, options);
    EXPECT_TRUE(engine.LoadModel("tiny", Digest{}, file.file()).ok());
    engine.Start();
    std::vector<StreamHandle> streams;
    for (int i = 0; i < 4; ++i) {
      GenerationRequest request = Ask(40 + 30 * i, 60);
      request.stopping.ignore_eos = true;
      request.stopping.min_tokens = i == 3 ? 20 : 0;
      request.sampling.logprobs = 5;
      request.sampling.temperature = i % 2 == 0 ? 0.0f : 1.5f;
      request.sampling.seed = 7;
      request.sampling.repetition_penalty = i == 2 ? 1.1f : 1.0f;
      streams.push_back(*engine.Submit(request));
    }
    for (const StreamHandle stream : streams) {
      run.choices.push_back(sink.WaitFor(stream).choices[0]);
    }
    run.stats = engine.stats();
    return run;
  }
};

INSTANTIATE_TEST_SUITE_P(Families, SpeculationInvarianceTest, ::testing::Values("llama", "gemma2"));

TEST_P(SpeculationInvarianceTest, GuessesChangeNoBit) {
  const TinyModelFile file(GetParam());
  const Run plain = RunWith(file, 0);
  const Run guessed = RunWith(file, 4);
  EXPECT_EQ(plain.stats.drafted_tokens, 0u);
  EXPECT_GT(guessed.stats.accepted_tokens, 0u);
  EXPECT_GT(guessed.stats.drafted_tokens, guessed.stats.accepted_tokens);
  for (size_t i = 0; i < plain.choices.size(); ++i) {
    ASSERT_EQ(guessed.choices[i].tokens, plain.choices[i].tokens) << i;
    ASSERT_EQ(guessed.choices[i].logprobs.size(), plain.choices[i].logprobs.size());
    for (size_t t = 0; t < plain.choices[i].logprobs.size(); ++t) {
      const SampledToken& one = plain.choices[i].logprobs[t];
      const SampledToken& two = guessed.choices[i].logprobs[t];
      EXPECT_EQ(std::memcmp(&one.logprob, &two.logprob, sizeof(float)), 0) << i << " " << t;
      for (size_t k = 0; k < one.top.size(); ++k) {
        EXPECT_EQ(one.top[k].token, two.top[k].token);
        EXPECT_EQ(std::memcmp(&one.top[k].logprob, &two.top[k].logprob, sizeof(float)), 0);
      }
    }
  }
}

}  // namespace
}  // namespace inferd
