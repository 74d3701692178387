// Tenants at the engine's door: weights and limits, leases, public prefixes, and what the reports
// say of them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>

#include "engine/engine_fixture_for_test.h"

namespace inferd {
namespace {

using ::testing::HasSubstr;

GenerationRequest AskAs(const std::string& tenant, int64_t prompt_tokens, int32_t max_tokens) {
  GenerationRequest request = Ask(prompt_tokens, max_tokens);
  request.tenant = TenantId(tenant);
  request.stopping.ignore_eos = true;
  return request;
}

const TenantStanding* StandingOf(const EngineReport& report, const std::string& tenant) {
  for (const TenantStanding& standing : report.tenants) {
    if (standing.tenant.value() == tenant) {
      return &standing;
    }
  }
  return nullptr;
}

std::vector<ChoiceReport> WhyOf(EngineUnderTest& test, StreamHandle stream) {
  const std::vector<StreamReport> reports = test.engine->Explain({stream});
  return reports.empty() ? std::vector<ChoiceReport>{} : reports[0].choices;
}

class TenantsTest : public ::testing::Test {
 protected:
  const TinyModelFile file_{"llama"};
};

// Steps are long, so that what the test asks for meanwhile finds the engine in work.
TEST_F(TenantsTest, TheReportSaysWhoHasWhatAndWhoWaitsForWhom) {
  EngineUnderTest test(EngineUnderTest::WithBlocks(64, 1, {.running_max = 2}));
  test.Load(file_);
  ASSERT_TRUE(test.engine->SetTenant(TenantId("small"), {.weight = 3}).ok());
  test.device.set_step_time(std::chrono::milliseconds(2));
  test.engine->Start();
  const StreamHandle first = test.Submit(AskAs("big", 100, 400));
  const StreamHandle second = test.Submit(AskAs("big", 100, 400));
  test.sink.WaitForTokens(first, 3);
  test.sink.WaitForTokens(second, 3);
  const StreamHandle third = test.Submit(AskAs("big", 100, 400));
  const StreamHandle fourth = test.Submit(AskAs("big", 90, 400));
  std::vector<ChoiceReport> why;
  while (why.empty()) {  // it may not have been taken in yet
    why = WhyOf(test, fourth);
  }
  ASSERT_EQ(why.size(), 1u);
  EXPECT_EQ(why[0].state, ChoiceReport::State::kOwnQueue);
  EXPECT_EQ(why[0].num_before, 1);
  EXPECT_GT(why[0].units_ahead, 0);
  EXPECT_TRUE(why[0].starts_in.has_value());
  EXPECT_EQ(why[0].blocks_needed, 2);
  EXPECT_LT(why[0].blocks_available, 64);
  EXPECT_EQ(WhyOf(test, first).at(0).state, ChoiceReport::State::kRunning);
  const EngineReport report = test.engine->Report();
  const TenantStanding* big = StandingOf(report, "big");
  const TenantStanding* small = StandingOf(report, "small");
  ASSERT_TRUE(big != nullptr && small != nullptr);
  EXPECT_EQ(small->weight, 3);
  EXPECT_TRUE(small->loads.empty());
  ASSERT_EQ(big->loads.size(), 1u);
  EXPECT_EQ(big->loads[0].running, 2);
  EXPECT_EQ(big->loads[0].waiting, 2);
  EXPECT_GE(big->loads[0].kv_blocks, 4);
  EXPECT_EQ(big->loads[0].prompt_tokens, 200u);
  EXPECT_GE(big->loads[0].output_tokens, 6u);
  EXPECT_TRUE(big->backlogged);
  // Two prompts of 100 tokens, less a block of the second if the first was computed before.
  EXPECT_GE(big->service_units, 136u);
  for (const StreamHandle stream : {first, second, third, fourth}) {
    test.engine->Cancel(stream);
    test.sink.WaitFor(stream);
  }
  test.WaitUntilIdle();
  EXPECT_TRUE(WhyOf(test, first).empty());
}

TEST_F(TenantsTest, ATenantKeepsToItsLimits) {
  EngineUnderTest test(EngineUnderTest::WithBlocks(64, 1));
  test.Load(file_);
  ASSERT_TRUE(test.engine->SetTenant(TenantId("a"), {.running_max = 1, .waiting_max = 1}).ok());
  EXPECT_EQ(test.engine->SetTenant(TenantId("a"), {.weight = 0}).code(),
            StatusCode::kInvalidArgument);
  test.device.set_step_time(std::chrono::milliseconds(1));
  test.engine->Start();
  const StreamHandle running = test.Submit(AskAs("a", 50, 500));
  test.sink.WaitForTokens(running, 1);
  const StreamHandle waiting = test.Submit(AskAs("a", 50, 5));
  const StreamResult refused = test.Generate(AskAs("a", 50, 5));
  EXPECT_EQ(refused.choices[0].finished->error.code(), StatusCode::kUnavailable);
  EXPECT_EQ(WhyOf(test, waiting).at(0).state, ChoiceReport::State::kTenantCap);
  const StreamResult other = test.Generate(AskAs("b", 50, 5));
  EXPECT_EQ(other.choices[0].finished->reason, FinishReason::kLength);
  test.engine->Cancel(running);
  EXPECT_EQ(test.sink.WaitFor(waiting).choices[0].finished->reason, FinishReason::kLength);
}

TEST_F(TenantsTest, AnUnknownClassIsRefused) {
  EngineUnderTest test(EngineUnderTest::WithBlocks(64, 1));
  test.Load(file_);
  GenerationRequest request = AskAs("a", 50, 5);
  request.service_class = 1;
  EXPECT_EQ(test.engine->Submit(request).status().code(), StatusCode::kInvalidArgument);
}

class FixedLeases final : public LeaseKeeper {
 public:
  explicit FixedLeases(int64_t budget) : left_(budget) {}
  int64_t Renew(const LeaseRenewal& renewal) override {
    ++renewals;
    const int64_t granted = std::min(renewal.output_tokens, left_);
    left_ -= granted;
    return granted;
  }
  std::atomic<int> renewals{0};

 private:
  int64_t left_;
};

// No token is drawn beyond what was granted: 8 of the first lease and 20 of the keeper's.
TEST_F(TenantsTest, AnAnswerEndsAtTheEdgeOfItsLease) {
  FixedLeases leases(20);
  EngineOptions options = EngineUnderTest::WithBlocks(64, 1);
  options.leases = &leases;
  options.lease_tokens = 8;
  EngineUnderTest test(options);
  test.Load(file_);
  test.engine->Start();
  const StreamResult result = test.Generate(AskAs("a", 50, 100));
  EXPECT_EQ(result.choices[0].tokens.size(), 28u);
  EXPECT_EQ(result.choices[0].finished->reason, FinishReason::kError);
  EXPECT_EQ(result.choices[0].finished->error.code(), StatusCode::kResourceExhausted);
  EXPECT_GE(leases.renewals, 3);
  const StreamResult small = test.Generate(AskAs("a", 50, 8));
  EXPECT_EQ(small.choices[0].tokens.size(), 8u);
  EXPECT_EQ(small.choices[0].finished->reason, FinishReason::kLength);
}

TEST_F(TenantsTest, APublicPrefixIsFoundByEveryTenant) {
  EngineUnderTest test(EngineUnderTest::WithBlocks(64, 1));
  const auto model = test.engine->LoadModel("tiny", Digest{}, file_.file(), 4);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ((*model)->kv_tokens_max, 60 * kBlockTokens + 1 > 1024 ? 1024 : 60 * kBlockTokens + 1);
  const GenerationRequest ask = AskAs("a", 300, 10);
  const ModelSlot slot = (*model)->slot;
  EXPECT_EQ(test.engine->RegisterPublicPrefix(slot, *ask.prompt).code(),
            StatusCode::kFailedPrecondition);
  test.engine->Start();
  EXPECT_EQ(test.engine->RegisterPublicPrefix(slot, {1, 2, 3}).code(),
            StatusCode::kInvalidArgument);
  const Status registered = test.engine->RegisterPublicPrefix(slot, *ask.prompt);
  ASSERT_TRUE(registered.ok()) << registered;
  EXPECT_THAT(std::string(Message(test.engine->RegisterPublicPrefix(slot, *ask.prompt))),
              HasSubstr("has 4 set aside, 4 are taken"));
  GenerationRequest apart = ask;
  apart.use_prefix_cache = false;
  const StreamResult cold = test.Generate(apart);
  for (const std::string tenant : {"a", "b"}) {
    const StreamResult found = test.Generate(AskAs(tenant, 300, 10));
    EXPECT_EQ(found.choices[0].finished->usage.cached_tokens, 256) << tenant;
    EXPECT_EQ(found.choices[0].tokens, cold.choices[0].tokens);
  }
  const auto too_many = test.engine->LoadModel("other", Digest{}, file_.file(), 64);
  EXPECT_EQ(too_many.status().code(), StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace inferd
