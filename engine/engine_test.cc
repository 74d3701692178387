// The engine's promises one by one: ends and their reasons, stops, counts, refusals, cancels,
// deadlines, drain, failure. Method: tiny random models over the fake device, so that the tokens
// of a request are fixed but not known; a plain run gives them, a second run changes one thing.
#include "engine/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <set>
#include <thread>

#include "engine/engine_fixture_for_test.h"

namespace inferd {
namespace {

using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

class EngineTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { model_ = new TinyModelFile("llama"); }
  static void TearDownTestSuite() {
    delete model_;
    model_ = nullptr;
  }
  static EngineOptions Blocks(int64_t blocks, EngineOptions options = {}) {
    return EngineUnderTest::WithBlocks(blocks, model_->num_groups(), options);
  }
  // Greedy, its own end tokens ignored: ends at max_tokens.
  static GenerationRequest AskOn(int64_t prompt_tokens, int32_t max_tokens) {
    GenerationRequest request = Ask(prompt_tokens, max_tokens);
    request.stopping.ignore_eos = true;
    return request;
  }
  static TinyModelFile* model_;
};
TinyModelFile* EngineTest::model_ = nullptr;

TEST_F(EngineTest, ResidentModelSaysWhatTheFileIs) {
  EngineUnderTest test(Blocks(10));
  test.Load(*model_);
  const ResidentModel& model = *test.models[0];
  EXPECT_EQ(model.name, "tiny");
  EXPECT_EQ(model.kv_tokens_max, 10 * kBlockTokens + 1);
  EXPECT_EQ(model.quantization, "F32");
  EXPECT_EQ(model.file_bytes, static_cast<int64_t>(model_->file().size_bytes()));
  EXPECT_NE(model.tokenizer, nullptr);
  EXPECT_NE(model.chat_template, nullptr);
  EXPECT_FALSE(model.end_tokens.empty());
  EXPECT_GT(model.weight_bytes, 0);
}

TEST_F(EngineTest, EndsAtMaxTokensWithTextThatIsItsTokens) {
  EngineUnderTest test(Blocks(40));
  test.Load(*model_);
  test.engine->Start();
  const ChoiceResult result = test.Generate(AskOn(70, 150)).choices[0];
  EXPECT_EQ(result.tokens.size(), 150u);
  EXPECT_EQ(result.finished->reason, FinishReason::kLength);
  EXPECT_EQ(result.finished->usage.prompt_tokens, 70);
  EXPECT_EQ(result.finished->usage.output_tokens, 150);
  EXPECT_EQ(result.text, *test.models[0]->tokenizer->Decode(result.tokens, false));
  EXPECT_TRUE(result.logprobs.empty());
}

TEST_F(EngineTest, EndsWhereTheContextOrThePoolEnds) {
  EngineUnderTest roomy(Blocks(40));
  roomy.Load(*model_);
  roomy.engine->Start();
  GenerationRequest request = AskOn(1000, 500);
  EXPECT_EQ(roomy.Generate(request).choices[0].tokens.size(), 24u);
  request.stopping.max_tokens.reset();
  EXPECT_EQ(roomy.Generate(request).choices[0].tokens.size(), 24u);
  EngineUnderTest tight(Blocks(4));
  tight.Load(*model_);
  tight.engine->Start();
  request = AskOn(200, 500);
  EXPECT_EQ(tight.engine->Submit(request).status().code(), StatusCode::kResourceExhausted);
  request.stopping.max_tokens.reset();
  EXPECT_EQ(tight.Generate(request).choices[0].tokens.size(), 57u);
}

TEST_F(EngineTest, StopIdsAndEndTokensEndIt) {
  EngineUnderTest test(Blocks(40));
  test.Load(*model_);
  test.engine->Start();
  const std::vector<TokenId> tokens = test.Generate(AskOn(20, 100)).choices[0].tokens;
  const TokenId stop = tokens[30];
  const size_t first =
      static_cast<size_t>(std::find(tokens.begin(), tokens.end(), stop) - tokens.begin());
  GenerationRequest request = AskOn(20, 100);
  request.stopping.stop_token_ids = {stop};
  const ChoiceResult stopped = test.Generate(request).choices[0];
  EXPECT_EQ(stopped.finished->reason, FinishReason::kStop);
  EXPECT_EQ(stopped.finished->matched_stop_token, stop);
  EXPECT_THAT(stopped.tokens,
              ElementsAreArray(tokens.begin(), tokens.begin() + static_cast<int64_t>(first) + 1));
  const Tokenizer& tokenizer = *test.models[0]->tokenizer;
  const std::span<const TokenId> before(tokens.data(), first);
  const std::span<const TokenId> with(tokens.data(), first + 1);
  EXPECT_EQ(stopped.text, *tokenizer.Decode(before, false));
  request.stopping.include_stop = true;
  EXPECT_EQ(test.Generate(request).choices[0].text, *tokenizer.Decode(with, false));

  // A model's own end token: force it by bias.
  request = Ask(20, 100);
  const TokenId eos = test.models[0]->end_tokens[0];
  request.sampling.logit_bias = {{eos, 100.0f}};
  const ChoiceResult ended = test.Generate(request).choices[0];
  EXPECT_THAT(ended.tokens, ElementsAreArray({eos}));
  EXPECT_EQ(ended.text, "");
  EXPECT_EQ(ended.finished->reason, FinishReason::kStop);
  request.stopping.min_tokens = 5;
  const ChoiceResult later = test.Generate(request).choices[0];
  EXPECT_EQ(later.tokens.size(), 6u);
  EXPECT_EQ(std::count(later.tokens.begin(), later.tokens.end(), eos), 1);
  request.stopping.ignore_eos = true;
  EXPECT_EQ(test.Generate(request).choices[0].tokens, std::vector<TokenId>(100, eos));
}

// Every substring of the text that ends inside a token is a stop string that crosses tokens.
TEST_F(EngineTest, StopStringsAreFoundAcrossTokensAndEndTheCounts) {
  EngineUnderTest test(Blocks(40));
  test.Load(*model_);
  test.engine->Start();
  const ChoiceResult whole = test.Generate(AskOn(33, 60)).choices[0];
  const Tokenizer& tokenizer = *test.models[0]->tokenizer;
  int checked = 0;
  for (size_t begin = 3; begin + 4 < whole.text.size(); begin += 5) {
    const std::string stop = whole.text.substr(begin, 4);
    if (!IsValidUtf8(stop) || stop.find("\xef\xbf\xbd") != std::string::npos) {
      continue;
    }
    ++checked;
    const size_t at = whole.text.find(stop);
    GenerationRequest request = AskOn(33, 60);
    request.stopping.stop = {"never to be seen", stop};
    const ChoiceResult cut = test.Generate(request).choices[0];
    EXPECT_EQ(cut.finished->reason, FinishReason::kStop);
    EXPECT_EQ(cut.finished->matched_stop_string, 1);
    EXPECT_EQ(cut.text, whole.text.substr(0, at));
    EXPECT_THAT(cut.tokens,
                ElementsAreArray(whole.tokens.begin(),
                                 whole.tokens.begin() + static_cast<int64_t>(cut.tokens.size())));
    // The last token is the one that completed the stop.
    const std::span<const TokenId> before(cut.tokens.data(), cut.tokens.size() - 1);
    EXPECT_NE(tokenizer.Decode(cut.tokens, false)->find(stop), std::string::npos);
    EXPECT_EQ(tokenizer.Decode(before, false)->find(stop), std::string::npos);
    request.stopping.include_stop = true;
    EXPECT_EQ(test.Generate(request).choices[0].text, whole.text.substr(0, at + stop.size()));
  }
  EXPECT_GT(checked, 3);
}

TEST_F(EngineTest, StopStringsAreNotMatchedBelowMinTokens) {
  EngineUnderTest test(Blocks(40));
  test.Load(*model_);
  test.engine->Start();
  const ChoiceResult whole = test.Generate(AskOn(33, 40)).choices[0];
  GenerationRequest request = AskOn(33, 40);
  for (char c = ' '; c < 127; ++c) {  // any text at all would stop it
    if (request.stopping.stop.size() < 16 && whole.text.find(c) != std::string::npos) {
      request.stopping.stop.emplace_back(1, c);
    }
  }
  ASSERT_FALSE(request.stopping.stop.empty());
  EXPECT_LT(test.Generate(request).choices[0].tokens.size(), 20u);
  request.stopping.min_tokens = 20;
  EXPECT_GE(test.Generate(request).choices[0].tokens.size(), 20u);
}

TEST_F(EngineTest, TextHeldForAStopComesOutAtTheEnd) {
  EngineUnderTest test(Blocks(40));
  test.Load(*model_);
  test.engine->Start();
  const ChoiceResult whole = test.Generate(AskOn(33, 30)).choices[0];
  GenerationRequest request = AskOn(33, 30);
  // Begins like the text's end, but goes on.
  request.stopping.stop = {whole.text.substr(whole.text.size() - 1) + "zzzz"};
  if (!IsValidUtf8(request.stopping.stop[0])) {
    request.stopping.stop = {"zzzz"};
  }
  EXPECT_EQ(test.Generate(request).choices[0].text, whole.text);
}

TEST_F(EngineTest, ChoicesDifferAndEachIsItself) {
  EngineUnderTest test(Blocks(40));
  test.Load(*model_);
  test.engine->Start();
  GenerationRequest request = AskOn(30, 20);
  request.sampling.temperature = 1.0f;
  request.sampling.seed = 7;
  request.n = 4;
  const StreamResult four = test.Generate(request);
  std::set<std::vector<TokenId>> different;
  for (size_t choice = 0; choice < 4; ++choice) {
    EXPECT_EQ(four.choices[choice].tokens.size(), 20u);
    different.insert(four.choices[choice].tokens);
  }
  EXPECT_EQ(different.size(), 4u);
  request.n = 1;
  EXPECT_EQ(test.Generate(request).choices[0].tokens, four.choices[0].tokens);
  request.sampling.seed = 8;
  EXPECT_NE(test.Generate(request).choices[0].tokens, four.choices[0].tokens);
}

TEST_F(EngineTest, LogprobsComeOnlyIfAskedFor) {
  EngineUnderTest test(Blocks(40));
  test.Load(*model_);
  test.engine->Start();
  GenerationRequest request = AskOn(30, 5);
  request.sampling.logprobs = 3;
  const ChoiceResult result = test.Generate(request).choices[0];
  ASSERT_EQ(result.logprobs.size(), 5u);
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(result.logprobs[i].token, result.tokens[i]);
    ASSERT_EQ(result.logprobs[i].top.size(), 3u);
    EXPECT_EQ(result.logprobs[i].top[0].token, result.tokens[i]);  // greedy
    EXPECT_EQ(result.logprobs[i].top[0].logprob, result.logprobs[i].logprob);
    EXPECT_LT(result.logprobs[i].logprob, 0.0f);
  }
}

TEST_F(EngineTest, TextIsLeftOutIfNotWanted) {
  EngineUnderTest test(Blocks(40));
  test.Load(*model_);
  test.engine->Start();
  GenerationRequest request = AskOn(33, 60);
  const std::string text = test.Generate(request).choices[0].text;
  request.want_text = false;
  request.stopping.stop = {text.substr(text.find_first_of("etaoin"), 1)};
  const ChoiceResult result = test.Generate(request).choices[0];
  EXPECT_EQ(result.text, "");
  EXPECT_EQ(result.finished->reason, FinishReason::kStop);  // stops need no text to go out
}

TEST_F(EngineTest, RefusesNamingTheField) {
  EngineUnderTest test(Blocks(40));
  test.Load(*model_);
  test.engine->Start();
  const auto refusal = [&](auto change) {
    GenerationRequest request = Ask(10, 10);
    change(request);
    return test.engine->Submit(std::move(request)).status();
  };
  using R = GenerationRequest;
  const std::vector<std::pair<Status, std::string>> refusals = {
      {refusal([](R& r) { r.prompt = nullptr; }), "prompt"},
      {refusal([](R& r) { r.prompt = std::make_shared<std::vector<TokenId>>(); }), "prompt"},
      {refusal([](R& r) { r.prompt = std::make_shared<std::vector<TokenId>>(1024, 1); }), "prompt"},
      {refusal([](R& r) { r.prompt = std::make_shared<std::vector<TokenId>>(1, 331); }), "prompt"},
      {refusal([](R& r) { r.prompt = std::make_shared<std::vector<TokenId>>(1, -1); }), "prompt"},
      {refusal([](R& r) { r.n = 0; }), "n:"},
      {refusal([](R& r) { r.n = 17; }), "n:"},
      {refusal([](R& r) { r.sampling.temperature = std::nanf(""); }), "temperature"},
      {refusal([](R& r) { r.sampling.logit_bias = {{400, 1.0f}}; }), "logit_bias"},
      {refusal([](R& r) { r.stopping.max_tokens = 0; }), "max_tokens"},
      {refusal([](R& r) { r.stopping.min_tokens = -1; }), "min_tokens"},
      {refusal([](R& r) { r.stopping.min_tokens = 11; }), "min_tokens"},
      {refusal([](R& r) { r.stopping.stop = {""}; }), "stop"},
      {refusal([](R& r) { r.stopping.stop = {std::string(257, 'a')}; }), "stop"},
      {refusal([](R& r) { r.stopping.stop = {"\xff"}; }), "stop"},
      {refusal([](R& r) { r.stopping.stop.assign(17, "a"); }), "stop"},
      {refusal([](R& r) { r.stopping.stop_token_ids = {331}; }), "stop_token_ids"},
      {refusal([](R& r) { r.stopping.stop_token_ids.assign(65, 1); }), "stop_token_ids"},
  };
  for (const auto& [status, field] : refusals) {
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << field;
    EXPECT_THAT(std::string(Message(status)), HasSubstr(field));
  }
  EXPECT_EQ(refusal([](R& r) { r.model = ModelSlot(1); }).code(), StatusCode::kNotFound);
  EXPECT_EQ(refusal([](R& r) { r.deadline = SystemClock().Now(); }).code(),
            StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(test.engine->idle());
}

TEST_F(EngineTest, TheQueueIsBoundedInChoices) {
  EngineOptions options;
  options.waiting_max = 5;
  EngineUnderTest test(Blocks(40, options));
  test.Load(*model_);  // not started: everything waits
  GenerationRequest request = Ask(10, 5);
  request.n = 3;
  const StreamHandle first = test.Submit(request);
  EXPECT_EQ(test.engine->Submit(request).status().code(), StatusCode::kUnavailable);
  request.n = 2;
  const StreamHandle second = test.Submit(request);
  test.engine->Start();
  test.sink.WaitFor(first);
  test.sink.WaitFor(second);
  test.WaitUntilIdle();
  test.Generate(request);
}

TEST_F(EngineTest, CancelEndsWaitingAndRunningRequests) {
  EngineOptions options;
  options.running_max = 1;
  EngineUnderTest test(Blocks(40, options));
  test.Load(*model_);
  test.device.set_step_time(std::chrono::microseconds(200));
  test.engine->Start();
  const StreamHandle running = test.Submit(AskOn(10, 900));
  const StreamHandle waiting = test.Submit(AskOn(10, 900));
  test.sink.WaitForTokens(running, 3);
  test.engine->Cancel(waiting);
  const StreamResult never_ran = test.sink.WaitFor(waiting);
  EXPECT_FALSE(never_ran.started);
  EXPECT_EQ(never_ran.choices[0].finished->reason, FinishReason::kCancelled);
  EXPECT_EQ(never_ran.choices[0].tokens.size(), 0u);
  test.engine->Cancel(running);
  const StreamResult ran = test.sink.WaitFor(running);
  EXPECT_EQ(ran.choices[0].finished->reason, FinishReason::kCancelled);
  EXPECT_GE(ran.choices[0].tokens.size(), 3u);
  EXPECT_LT(ran.choices[0].tokens.size(), 900u);
  test.WaitUntilIdle();
  EXPECT_EQ(test.engine->stats().kv_blocks_used, 0);
  test.engine->Cancel(running);
  test.engine->Cancel(12345);
}

TEST_F(EngineTest, DeadlinesEndWaitingAndRunningRequests) {
  ManualClock clock;
  EngineOptions options;
  options.running_max = 1;
  EngineUnderTest test(Blocks(40, options), clock);
  test.Load(*model_);
  test.device.set_step_time(std::chrono::microseconds(200));
  test.engine->Start();
  GenerationRequest request = AskOn(10, 900);
  request.deadline = clock.Now() + std::chrono::seconds(5);
  const StreamHandle running = test.Submit(request);
  const StreamHandle waiting = test.Submit(request);
  test.sink.WaitForTokens(running, 3);
  clock.Advance(std::chrono::seconds(5));
  const StreamResult ran = test.sink.WaitFor(running);
  EXPECT_EQ(ran.choices[0].finished->reason, FinishReason::kDeadline);
  EXPECT_GE(ran.choices[0].tokens.size(), 3u);
  EXPECT_GE(ran.choices[0].finished->timings.decode, std::chrono::seconds(5));
  EXPECT_EQ(test.sink.WaitFor(waiting).choices[0].finished->reason, FinishReason::kDeadline);
  EXPECT_FALSE(test.sink.Get(waiting).started);
}

TEST_F(EngineTest, APausedRequestWaitsAndGoesOnAsIfNothingWere) {
  EngineUnderTest test(Blocks(40));
  test.Load(*model_);
  test.engine->Start();
  const std::vector<TokenId> expected = test.Generate(AskOn(10, 200)).choices[0].tokens;
  test.device.set_step_time(std::chrono::microseconds(100));
  const StreamHandle paused = test.Submit(AskOn(10, 200));
  test.sink.WaitForTokens(paused, 5);
  test.engine->Pause(paused);
  test.Generate(AskOn(11, 20));  // others go on; after it, the pause has taken hold
  const size_t tokens = test.sink.Get(paused).choices[0].tokens.size();
  const uint64_t steps = test.engine->stats().steps;
  test.Generate(AskOn(12, 20));
  EXPECT_EQ(test.sink.Get(paused).choices[0].tokens.size(), tokens);
  EXPECT_LT(tokens, 200u);
  EXPECT_GE(test.engine->stats().steps, steps + 19);
  test.engine->Resume(paused);
  EXPECT_EQ(test.sink.WaitFor(paused).choices[0].tokens, expected);
}

TEST_F(EngineTest, DrainRefusesNewRequestsAndFinishesOld) {
  EngineUnderTest test(Blocks(40));
  test.Load(*model_);
  test.device.set_step_time(std::chrono::microseconds(100));
  test.engine->Start();
  const StreamHandle running = test.Submit(AskOn(10, 100));
  test.engine->Drain();
  EXPECT_EQ(test.engine->Submit(Ask(10, 5)).status().code(), StatusCode::kUnavailable);
  EXPECT_FALSE(test.engine->idle());
  EXPECT_EQ(test.sink.WaitFor(running).choices[0].tokens.size(), 100u);
  test.WaitUntilIdle();
}

TEST_F(EngineTest, ALostDeviceFailsEveryRequestAndRefusesMore) {
  EngineUnderTest test(Blocks(40));
  test.Load(*model_);
  test.device.FailAfter(20);
  const StreamHandle first = test.Submit(AskOn(10, 500));
  const StreamHandle second = test.Submit(AskOn(20, 500));
  test.engine->Start();
  for (const StreamHandle stream : {first, second}) {
    const StreamResult result = test.sink.WaitFor(stream);
    EXPECT_EQ(result.choices[0].finished->reason, FinishReason::kError);
    EXPECT_EQ(result.choices[0].finished->error.code(), StatusCode::kUnavailable);
    EXPECT_LE(result.choices[0].tokens.size(), 20u);
  }
  test.WaitUntilIdle();
  EXPECT_EQ(test.engine->Submit(Ask(10, 5)).status().code(), StatusCode::kUnavailable);
  EXPECT_EQ(test.engine->stats().kv_blocks_used, 0);
}

TEST_F(EngineTest, DestructionCancelsWhatIsLeft) {
  EngineUnderTest test(Blocks(40));
  test.Load(*model_);
  test.device.set_step_time(std::chrono::microseconds(200));
  test.engine->Start();
  const StreamHandle running = test.Submit(AskOn(10, 900));
  test.sink.WaitForTokens(running, 2);
  test.engine.reset();
  EXPECT_EQ(test.sink.WaitFor(running).choices[0].finished->reason, FinishReason::kCancelled);

  EngineUnderTest never_started(Blocks(40));
  never_started.Load(*model_);
  const StreamHandle stream = never_started.Submit(Ask(10, 5));
  never_started.engine.reset();
  EXPECT_EQ(never_started.sink.WaitFor(stream).choices[0].finished->reason,
            FinishReason::kCancelled);
}

TEST_F(EngineTest, ModelsCanBeLoadedWhileItRuns) {
  const TinyModelFile other("gemma3");
  EngineUnderTest test(EngineUnderTest::WithBlocks(40, other.num_groups()));
  const ModelSlot first = test.Load(*model_);
  test.device.set_step_time(std::chrono::microseconds(100));
  test.engine->Start();
  GenerationRequest request = AskOn(10, 300);
  request.model = first;
  const StreamHandle running = test.Submit(request);
  test.sink.WaitForTokens(running, 3);
  request.model = test.Load(other);
  EXPECT_NE(request.model, first);
  const ChoiceResult second = test.Generate(request).choices[0];
  EXPECT_EQ(second.tokens.size(), 300u);
  const ChoiceResult result = test.sink.WaitFor(running).choices[0];
  EXPECT_EQ(result.tokens.size(), 300u);
  EXPECT_NE(result.tokens, second.tokens);
}

TEST_F(EngineTest, AModelThatHasNoRoomForABlockIsRefused) {
  EngineOptions options;
  options.kv_bytes = FakeDevice::kUnitBytes - 1;
  EngineUnderTest test(options);
  const auto model = test.engine->LoadModel("tiny", Digest{}, model_->file());
  EXPECT_EQ(model.status().code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(Message(model.status())), HasSubstr("kv_bytes"));
}

TEST_F(EngineTest, StatsCountTokensAndSteps) {
  EngineUnderTest test(Blocks(40));
  test.Load(*model_);
  test.engine->Start();
  test.Generate(AskOn(600, 10));
  test.Generate(AskOn(20, 5));
  test.WaitUntilIdle();
  const EngineStats stats = test.engine->stats();
  EXPECT_EQ(stats.prompt_tokens, 620u);
  EXPECT_EQ(stats.output_tokens, 15u);
  EXPECT_EQ(stats.steps, 2u + 9u + 5u);  // 512 of the first prompt fit a step
  EXPECT_EQ(stats.kv_blocks_total, 40);
  EXPECT_EQ(stats.preemptions, 0u);
}

// A turn of the core thread's loop reads the clock.
class CountingClock final : public Clock {
 public:
  TimePoint Now() const override {
    ++num_reads_;
    return SystemClock().Now();
  }
  WallTime WallNow() const override { return SystemClock().WallNow(); }
  int64_t num_reads() const { return num_reads_; }

 private:
  mutable std::atomic<int64_t> num_reads_{0};
};

TEST_F(EngineTest, AnIdleEngineSleeps) {
  const CountingClock clock;
  EngineUnderTest test(Blocks(40), clock);
  test.Load(*model_);
  test.engine->Start();
  test.Generate(AskOn(10, 3));
  test.WaitUntilIdle();
  const int64_t reads = clock.num_reads();
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_LE(clock.num_reads(), reads + 2);  // the turn that found nothing left to do
}

}  // namespace
}  // namespace inferd
