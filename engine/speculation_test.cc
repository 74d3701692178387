// Guessing ahead through the engine: answers, ends and counts are those of a run without, in fewer
// steps.
#include <gtest/gtest.h>

#include "engine/engine_fixture_for_test.h"

namespace inferd {
namespace {

// The model says nothing but the first `words` tokens: the fewer, the more guesses come true.
GenerationRequest Chatter(int32_t words, int32_t max_tokens) {
  GenerationRequest request = Ask(70, max_tokens);
  for (TokenId token = 0; token < words; ++token) {
    request.sampling.logit_bias.emplace_back(token, 100.0f);
  }
  request.stopping.ignore_eos = true;
  request.sampling.logprobs = 2;
  return request;
}

struct Outcome {
  std::vector<ChoiceResult> choices;
  EngineStats stats;
};

Outcome RunWith(const TinyModelFile& file,
                int32_t draft_tokens_max,
                const std::vector<GenerationRequest>& requests) {
  EngineOptions options = EngineUnderTest::WithBlocks(128, file.num_groups());
  options.speculation.draft_tokens_max = draft_tokens_max;
  options.speculation.acceptance_min = 0;
  options.speculation.decode_rows_max = 64;
  EngineUnderTest test(options);
  test.Load(file);
  test.engine->Start();
  Outcome outcome;
  std::vector<StreamHandle> streams;
  for (const GenerationRequest& request : requests) {
    streams.push_back(test.Submit(request));
  }
  for (const StreamHandle stream : streams) {
    outcome.choices.push_back(test.sink.WaitFor(stream).choices[0]);
  }
  test.WaitUntilIdle();
  outcome.stats = test.engine->stats();
  return outcome;
}

void ExpectSame(const Outcome& one, const Outcome& other) {
  ASSERT_EQ(one.choices.size(), other.choices.size());
  for (size_t i = 0; i < one.choices.size(); ++i) {
    EXPECT_EQ(one.choices[i].tokens, other.choices[i].tokens) << i;
    EXPECT_EQ(one.choices[i].text, other.choices[i].text) << i;
    EXPECT_EQ(one.choices[i].finished->reason, other.choices[i].finished->reason) << i;
    ASSERT_EQ(one.choices[i].logprobs.size(), other.choices[i].logprobs.size()) << i;
    for (size_t t = 0; t < one.choices[i].logprobs.size(); ++t) {
      EXPECT_EQ(one.choices[i].logprobs[t].logprob, other.choices[i].logprobs[t].logprob) << i;
    }
  }
}

TEST(EngineSpeculationTest, WhatRepeatsTakesFewerSteps) {
  const TinyModelFile file("llama");
  const std::vector<GenerationRequest> requests = {Chatter(1, 103)};
  const Outcome plain = RunWith(file, 0, requests);
  const Outcome guessed = RunWith(file, 4, requests);
  ExpectSame(guessed, plain);
  EXPECT_EQ(plain.choices[0].tokens.size(), 103u);
  EXPECT_EQ(plain.stats.drafted_tokens, 0u);
  EXPECT_GT(guessed.stats.accepted_tokens, 40u);
  EXPECT_LT(guessed.stats.steps, plain.stats.steps * 2 / 3);
  EXPECT_EQ(guessed.stats.output_tokens, plain.stats.output_tokens);
  EXPECT_EQ(guessed.stats.kv_blocks_used, 0);
}

// Ends in the middle of a draft, end tokens that may not be drawn yet, penalties that count what
// stands before each draw, and sampling.
TEST(EngineSpeculationTest, AnswersStayTheSame) {
  for (const char* family : {"llama", "gemma2"}) {
    const TinyModelFile file(family);
    std::vector<GenerationRequest> requests;
    for (const int32_t words : {2, 3, 5}) {
      requests.push_back(Chatter(words, 60 + words));
      requests.push_back(Chatter(words, 60));
      requests.back().stopping.stop_token_ids = {1};
      requests.back().stopping.min_tokens = 9;
      requests.push_back(Chatter(words, 60));
      requests.back().sampling.presence_penalty = 1.5f;
      requests.back().sampling.frequency_penalty = 0.5f;
      requests.push_back(Chatter(words, 60));
      requests.back().sampling.temperature = 0.9f;
      requests.back().sampling.seed = 5;
    }
    const Outcome plain = RunWith(file, 0, requests);
    for (const int32_t drafts : {1, 4}) {
      const Outcome guessed = RunWith(file, drafts, requests);
      ExpectSame(guessed, plain);
      EXPECT_GT(guessed.stats.accepted_tokens, 0u);
      EXPECT_GT(guessed.stats.drafted_tokens, guessed.stats.accepted_tokens);
    }
  }
}

}  // namespace
}  // namespace inferd
