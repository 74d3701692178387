// Models that come and go while others are served, and the memory that they share.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <thread>
#include <utility>

#include "engine/engine_fixture_for_test.h"

namespace inferd {
namespace {

using ::testing::HasSubstr;

GenerationRequest AskOf(ModelSlot model, int64_t prompt_tokens, int32_t max_tokens) {
  GenerationRequest request = Ask(prompt_tokens, max_tokens);
  request.model = model;
  request.stopping.ignore_eos = true;
  return request;
}

class ModelsTest : public ::testing::Test {
 protected:
  // A long request that the running engine has begun to answer.
  static StreamHandle BeginLong(EngineUnderTest& test, ModelSlot model, Duration step_time) {
    test.device.set_step_time(step_time);
    const StreamHandle stream = test.Submit(AskOf(model, 50, 900));
    test.sink.WaitForTokens(stream, 1);
    return stream;
  }

  const TinyModelFile llama_{"llama"};
  const TinyModelFile gemma_{"gemma2"};
};

TEST_F(ModelsTest, RequestsGoOnWhileAModelLoads) {
  EngineUnderTest test(EngineUnderTest::WithBlocks(64, 1));
  const ModelSlot first = test.Load(llama_);
  test.engine->Start();
  const StreamHandle stream = BeginLong(test, first, std::chrono::milliseconds(1));
  const int64_t before = test.device.num_steps();
  const ModelSlot second = test.Load(gemma_);
  EXPECT_GE(test.device.num_steps() - before, 10);  // one between two tensors
  EXPECT_EQ(test.Generate(AskOf(second, 30, 5)).choices[0].finished->reason, FinishReason::kLength);
  EXPECT_EQ(test.sink.WaitFor(stream).choices[0].tokens.size(), 900u);
}

TEST_F(ModelsTest, AnUnloadedModelFinishesItsRequestsFirst) {
  EngineUnderTest test(EngineUnderTest::WithBlocks(64, 1));
  const ModelSlot leaving = test.Load(llama_);
  const ModelSlot staying = test.Load(llama_);
  test.engine->Start();
  const StreamResult alone = test.Generate(AskOf(staying, 50, 300));
  test.device.set_step_time(std::chrono::microseconds(500));
  const StreamHandle last = test.Submit(AskOf(leaving, 50, 300));
  const StreamHandle other = test.Submit(AskOf(staying, 50, 300));
  test.sink.WaitForTokens(last, 1);
  Status unloaded(StatusCode::kInternal, "not done");
  std::thread unloader(
      [&] { unloaded = test.engine->UnloadModel(leaving, std::chrono::minutes(2)); });
  EXPECT_EQ(test.sink.WaitFor(last).choices[0].tokens, alone.choices[0].tokens);
  EXPECT_EQ(test.sink.WaitFor(other).choices[0].tokens, alone.choices[0].tokens);
  unloader.join();
  EXPECT_TRUE(unloaded.ok()) << unloaded;
  EXPECT_EQ(test.engine->Submit(AskOf(leaving, 5, 5)).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(test.engine->UnloadModel(leaving, {}).code(), StatusCode::kNotFound);
  test.WaitUntilIdle();
  EXPECT_EQ(test.engine->stats().kv_blocks_total, 64);
  const ModelSlot back = test.Load(llama_);
  EXPECT_EQ(test.Generate(AskOf(back, 50, 300)).choices[0].tokens, alone.choices[0].tokens);
}

TEST_F(ModelsTest, WhatIsLeftAfterTheDrainEnds) {
  EngineUnderTest test(EngineUnderTest::WithBlocks(64, 1));
  const ModelSlot slot = test.Load(llama_);
  test.engine->Start();
  const StreamHandle stream = BeginLong(test, slot, std::chrono::milliseconds(2));
  const Status unloaded = test.engine->UnloadModel(slot, Duration::zero());
  EXPECT_TRUE(unloaded.ok()) << unloaded;
  const StreamResult cut = test.sink.WaitFor(stream);
  EXPECT_EQ(cut.choices[0].finished->reason, FinishReason::kError);
  EXPECT_EQ(cut.choices[0].finished->error.code(), StatusCode::kUnavailable);
  EXPECT_LT(cut.choices[0].tokens.size(), 900u);
}

TEST_F(ModelsTest, ModelsThatLeaveTogetherKeepNobodyWaiting) {
  EngineUnderTest test(EngineUnderTest::WithBlocks(64, 1));
  const ModelSlot draining = test.Load(llama_);
  const ModelSlot evicted = test.Load(llama_);
  test.engine->Start();
  const StreamHandle goes_on = BeginLong(test, draining, std::chrono::milliseconds(1));
  const StreamHandle ends = BeginLong(test, evicted, std::chrono::milliseconds(1));
  Status drained(StatusCode::kInternal, "not done");
  std::thread drainer(
      [&] { drained = test.engine->UnloadModel(draining, std::chrono::minutes(2)); });
  const Status unloaded = test.engine->UnloadModel(evicted, Duration::zero());
  EXPECT_TRUE(unloaded.ok()) << unloaded;
  EXPECT_EQ(test.sink.WaitFor(ends).choices[0].finished->reason, FinishReason::kError);
  EXPECT_EQ(test.sink.WaitFor(goes_on).choices[0].tokens.size(), 900u);
  drainer.join();
  EXPECT_TRUE(drained.ok()) << drained;
}

// Packing may take minutes; what is revoked does not answer for so long.
TEST_F(ModelsTest, AModelLeavesWhileAnotherIsPacked) {
  EngineUnderTest test(EngineUnderTest::WithBlocks(64, 1));
  const ModelSlot slot = test.Load(llama_);
  test.engine->Start();
  const StreamHandle stream = BeginLong(test, slot, std::chrono::milliseconds(2));
  std::promise<void> begun, go_on;
  test.device.set_on_load([&, first = true]() mutable {
    if (std::exchange(first, false)) {
      begun.set_value();
      go_on.get_future().wait();
    }
  });
  std::thread loader([&] {
    const auto other = test.engine->LoadModel("other", Digest{}, llama_.file());
    EXPECT_TRUE(other.ok()) << other.status();
  });
  begun.get_future().wait();
  std::thread unloader([&] {
    const Status unloaded = test.engine->UnloadModel(slot, Duration::zero());
    EXPECT_TRUE(unloaded.ok()) << unloaded;
  });
  // The core stands still within a tensor and has a turn after each, in which it ends the stream.
  Status refused;
  const TimePoint end = SystemClock().Now() + std::chrono::minutes(1);
  do {
    refused = test.engine->Submit(AskOf(slot, 5, 1)).status();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  } while (Message(refused).find("being taken away") == std::string_view::npos &&
           SystemClock().Now() < end);
  EXPECT_THAT(std::string(Message(refused)), HasSubstr("being taken away"));
  go_on.set_value();
  EXPECT_EQ(test.sink.WaitFor(stream).choices[0].finished->reason, FinishReason::kError);
  loader.join();
  unloader.join();
  EXPECT_EQ(test.engine->Submit(AskOf(slot, 5, 5)).status().code(), StatusCode::kNotFound);
}

// Each tiny model takes a slab of weights and one of KV.
TEST_F(ModelsTest, AModelThatDoesNotFitIsRefusedUntilAnotherLeaves) {
  EngineOptions options = EngineUnderTest::WithBlocks(64, 1);
  options.memory_bytes = 5 * kSlabBytes;
  EngineUnderTest test(options);
  const auto first = test.engine->LoadModel("first", Digest{}, llama_.file());
  ASSERT_TRUE(first.ok()) << first.status();
  test.engine->Start();
  ASSERT_TRUE(test.engine->LoadModel("second", Digest{}, llama_.file()).ok());
  const auto refused = test.engine->LoadModel("third", Digest{}, llama_.file());
  EXPECT_EQ(refused.status().code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(Message(refused.status())),
              HasSubstr("needs 2 MiB of weights and 2 MiB of KV, and 2 of 10 MiB are free; model "
                        "first has 2 MiB of weights and 2 MiB of KV"));
  EXPECT_EQ(test.engine->Report().memory.size(), 2u);
  EXPECT_EQ(test.engine->Report().memory_slabs_max, 5);
  ASSERT_TRUE(test.engine->UnloadModel((*first)->slot, {}).ok());
  EXPECT_TRUE(test.engine->LoadModel("third", Digest{}, llama_.file()).ok());
}

}  // namespace
}  // namespace inferd
