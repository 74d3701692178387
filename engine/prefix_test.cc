// The prefix cache through the engine: what is found, who finds it, and that no token changes.
#include <gtest/gtest.h>

#include "engine/engine_fixture_for_test.h"
#include "engine/prefix_root.h"

namespace inferd {
namespace {

GenerationRequest AskAs(const std::string& tenant, int64_t prompt_tokens, int32_t max_tokens) {
  GenerationRequest request = Ask(prompt_tokens, max_tokens);
  request.tenant = TenantId(tenant);
  request.stopping.ignore_eos = true;
  return request;
}

class PrefixTest : public ::testing::TestWithParam<const char*> {};

// Families with one state group and with a window beside it.
INSTANTIATE_TEST_SUITE_P(Families, PrefixTest, ::testing::Values("llama", "gemma2"));

TEST_P(PrefixTest, ATenantFindsItsPromptAgainAndNobodyElseDoes) {
  const TinyModelFile file(GetParam());
  EngineUnderTest under_test(EngineUnderTest::WithBlocks(64, file.num_groups()));
  under_test.Load(file);
  under_test.engine->Start();
  const StreamResult cold = under_test.Generate(AskAs("a", 200, 20));
  EXPECT_EQ(cold.choices[0].finished->usage.cached_tokens, 0);
  const StreamResult warm = under_test.Generate(AskAs("a", 200, 20));
  EXPECT_EQ(warm.choices[0].finished->usage.cached_tokens, 192);
  EXPECT_EQ(warm.choices[0].finished->usage.prompt_tokens, 200);
  EXPECT_EQ(warm.choices[0].tokens, cold.choices[0].tokens);
  const StreamResult other = under_test.Generate(AskAs("b", 200, 20));
  EXPECT_EQ(other.choices[0].finished->usage.cached_tokens, 0);
  EXPECT_EQ(other.choices[0].tokens, cold.choices[0].tokens);
  GenerationRequest scoped = AskAs("a", 200, 20);
  scoped.prefix_scope = "session 7";
  EXPECT_EQ(under_test.Generate(scoped).choices[0].finished->usage.cached_tokens, 0);
  GenerationRequest apart = AskAs("a", 200, 20);
  apart.use_prefix_cache = false;
  EXPECT_EQ(under_test.Generate(apart).choices[0].finished->usage.cached_tokens, 0);
  under_test.WaitUntilIdle();
  const EngineStats stats = under_test.engine->stats();
  EXPECT_EQ(stats.cached_tokens, 192u);
  EXPECT_EQ(stats.prompt_tokens, 5u * 200);
  EXPECT_EQ(stats.kv_blocks_used, 0);
  EXPECT_GT(stats.kv_blocks_cached, 0);
}

TEST_P(PrefixTest, TheAnswerIsAPrefixOfTheNextTurn) {
  const TinyModelFile file(GetParam());
  EngineUnderTest under_test(EngineUnderTest::WithBlocks(64, file.num_groups()));
  under_test.Load(file);
  under_test.engine->Start();
  GenerationRequest first = AskAs("a", 100, 100);
  const StreamResult answer = under_test.Generate(first);
  auto tokens = std::make_shared<std::vector<TokenId>>(*first.prompt);
  tokens->insert(tokens->end(), answer.choices[0].tokens.begin(), answer.choices[0].tokens.end());
  tokens->push_back(5);
  GenerationRequest second = AskAs("a", 1, 10);
  second.prompt = tokens;
  const StreamResult warm = under_test.Generate(second);
  EXPECT_EQ(warm.choices[0].finished->usage.cached_tokens, 192);
  second.use_prefix_cache = false;
  EXPECT_EQ(under_test.Generate(second).choices[0].tokens, warm.choices[0].tokens);
}

TEST_P(PrefixTest, WhatIsCachedGivesWayToWhatRuns) {
  const TinyModelFile file(GetParam());
  EngineUnderTest under_test(EngineUnderTest::WithBlocks(8, file.num_groups()));
  under_test.Load(file);
  under_test.engine->Start();
  for (int64_t prompt = 300; prompt < 330; prompt += 3) {  // 5 of 8 blocks each
    const StreamResult result =
        under_test.Generate(AskAs(prompt % 2 == 0 ? "a" : "b", prompt, 100));
    EXPECT_EQ(result.choices[0].tokens.size(), 100u);
  }
  under_test.WaitUntilIdle();
  EXPECT_EQ(under_test.engine->stats().kv_blocks_used, 0);
}

TEST(PrefixRootTest, EveryFieldMakesAnotherRoot) {
  ResidentModel model;
  const Digest root = engine_internal::PrefixRoot("ab", "c", model);
  EXPECT_EQ(engine_internal::PrefixRoot("ab", "c", model), root);
  EXPECT_NE(engine_internal::PrefixRoot("a", "bc", model), root) << "lengths are in the hash";
  EXPECT_NE(engine_internal::PrefixRoot("ab", "", model), root);
  ResidentModel other = model;
  other.digest.bytes[3] = 1;
  EXPECT_NE(engine_internal::PrefixRoot("ab", "c", other), root);
  other = model;
  other.numerics_id.bytes[3] = 1;
  EXPECT_NE(engine_internal::PrefixRoot("ab", "c", other), root);
}

}  // namespace
}  // namespace inferd
