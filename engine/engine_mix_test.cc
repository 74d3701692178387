// Goal: what a request gets does not depend on what else the engine does. Method: random mixes of
// arrivals, cancels and pauses on pools that are far too small, over a device whose tokens change
// with any wrong block; each request is then run alone in an engine with room for everything.
#include <gtest/gtest.h>

#include <thread>

#include "engine/engine_fixture_for_test.h"

namespace inferd {
namespace {

GenerationRequest RandomRequest(SplitMix64& random, size_t num_models) {
  GenerationRequest request;
  request.model = ModelSlot(static_cast<uint32_t>(random.Below(num_models)));
  request.prompt = RandomPrompt(random, 1 + static_cast<int64_t>(random.Below(150)));
  request.n = random.Below(4) == 0 ? 3 : 1;
  request.sampling.seed = random.Next();
  switch (random.Below(3)) {
    case 0:
      request.sampling.temperature = 0.0f;
      break;
    case 1:
      request.sampling.top_k = 20;
      break;
    default:
      request.sampling.temperature = 0.7f;
      request.sampling.repetition_penalty = 1.2f;
      request.sampling.frequency_penalty = 0.5f;
  }
  request.stopping.max_tokens = static_cast<int32_t>(1 + random.Below(120));
  request.stopping.ignore_eos = random.Below(2) == 0;
  request.stopping.min_tokens = random.Below(3) == 0 ? 1 : 0;
  return request;
}

void ExpectSame(const ChoiceResult& mixed, const ChoiceResult& alone, const std::string& what) {
  ASSERT_TRUE(mixed.finished.has_value() && alone.finished.has_value()) << what;
  if (mixed.finished->reason == FinishReason::kCancelled) {
    ASSERT_LE(mixed.tokens.size(), alone.tokens.size()) << what;
    EXPECT_TRUE(std::equal(mixed.tokens.begin(), mixed.tokens.end(), alone.tokens.begin())) << what;
    return;
  }
  EXPECT_EQ(mixed.tokens, alone.tokens) << what;
  EXPECT_EQ(mixed.text, alone.text) << what;
  EXPECT_EQ(mixed.finished->reason, alone.finished->reason) << what;
}

TEST(EngineMixTest, EveryRequestGetsWhatItGetsAlone) {
  const TinyModelFile full("llama");
  const TinyModelFile windowed("gemma3");
  EngineUnderTest alone(EngineUnderTest::WithBlocks(400, 1));
  alone.Load(full);
  alone.Load(windowed);
  alone.engine->Start();
  uint64_t preemptions = 0;
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    SplitMix64 random(seed);
    EngineOptions options;
    options.step_tokens_max = static_cast<int32_t>(8 + random.Below(100));
    options.running_max = static_cast<int32_t>(2 + random.Below(10));
    EngineUnderTest mixed(EngineUnderTest::WithBlocks(
        5 + static_cast<int64_t>(random.Below(6)), windowed.num_groups(), options));
    mixed.Load(full);
    mixed.Load(windowed);
    mixed.engine->Start();
    std::vector<std::pair<StreamHandle, GenerationRequest>> requests;
    for (int i = 0; i < 16; ++i) {
      GenerationRequest request = RandomRequest(random, 2);
      requests.emplace_back(mixed.Submit(request), request);
      const StreamHandle any = requests[random.Below(requests.size())].first;
      switch (random.Below(8)) {
        case 0:
          mixed.engine->Cancel(any);
          break;
        case 1:
          mixed.engine->Pause(any);
          break;
        case 2:
          mixed.sink.WaitForTokens(requests.back().first, random.Below(10));
          break;
        default:
          break;
      }
      for (const auto& [stream, paused] : requests) {
        mixed.engine->Resume(stream);
      }
    }
    for (auto& [stream, request] : requests) {
      const StreamResult result = mixed.sink.WaitFor(stream);
      const int32_t n = request.n;
      const StreamResult expected = alone.Generate(std::move(request));
      for (int32_t choice = 0; choice < n; ++choice) {
        ExpectSame(result.choices[static_cast<size_t>(choice)],
                   expected.choices[static_cast<size_t>(choice)],
                   "seed " + std::to_string(seed) + " stream " + std::to_string(stream));
      }
    }
    mixed.WaitUntilIdle();
    EXPECT_EQ(mixed.engine->stats().kv_blocks_used, 0);
    EXPECT_LE(mixed.device.rows_in_step_max(), options.step_tokens_max);
    preemptions += mixed.engine->stats().preemptions;
  }
  EXPECT_GT(preemptions, 0u);
}

TEST(EngineMixTest, TenThousandCancelsLeakNoBlock) {
  constexpr int kCancels = 10'000;
  const TinyModelFile model("gemma3");
  EngineOptions options;
  options.step_tokens_max = 64;
  options.running_max = 16;
  options.waiting_max = 64;
  EngineUnderTest test(EngineUnderTest::WithBlocks(24, model.num_groups(), options));
  test.Load(model);
  test.engine->Start();
  SplitMix64 random(5);
  std::vector<StreamHandle> open;
  std::vector<StreamHandle> cancelled;
  while (cancelled.size() < kCancels) {
    GenerationRequest request;
    request.prompt = RandomPrompt(random, 1 + static_cast<int64_t>(random.Below(100)));
    request.want_text = false;
    if (const StatusOr<StreamHandle> stream = test.engine->Submit(std::move(request));
        stream.ok()) {
      open.push_back(*stream);
    }
    while (open.size() > random.Below(60)) {
      const size_t which = random.Below(open.size());
      test.engine->Cancel(open[which]);
      test.engine->Cancel(open[which]);  // harmless
      cancelled.push_back(open[which]);
      open.erase(open.begin() + static_cast<int64_t>(which));
    }
    if (random.Below(20) == 0) {
      std::this_thread::sleep_for(std::chrono::microseconds(random.Below(300)));
    }
  }
  for (const StreamHandle stream : open) {
    test.engine->Cancel(stream);
  }
  int64_t in_time = 0;
  for (const StreamHandle stream : cancelled) {
    const ChoiceResult choice = test.sink.WaitFor(stream).choices[0];
    ASSERT_TRUE(choice.finished.has_value());
    in_time += choice.finished->reason == FinishReason::kCancelled ? 1 : 0;
  }
  test.WaitUntilIdle();
  const EngineStats stats = test.engine->stats();
  std::printf("RESULT cancel.leaked_blocks %lld count\n",
              static_cast<long long>(stats.kv_blocks_used));
  EXPECT_EQ(stats.kv_blocks_used, 0);
  EXPECT_EQ(stats.running + stats.waiting, 0);
  EXPECT_GT(in_time, kCancels * 9 / 10);
  EXPECT_GT(stats.output_tokens, 0u);  // some were running when they were cancelled
}

}  // namespace
}  // namespace inferd
