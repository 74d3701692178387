// Too much work, slow readers, late work, models that come and go: what is refused, shed or put
// aside, and what a waiting sequence is told.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "scheduler/scheduler.h"

namespace inferd {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using Reason = QueueReport::Reason;

class OverloadTest : public ::testing::Test {
 protected:
  void Make(const SchedulerOptions& options,
            std::unique_ptr<ServicePolicy> policy = MakeWindowedPolicy(1000),
            ModelSpec spec = {}) {
    scheduler_ = std::make_unique<Scheduler>(options, std::move(policy));
    spec.geometry = {.groups = {StateGroup{}}, .context_tokens_max = 8192, .vocab_size = 100};
    spec.units = {64};
    model_ = *scheduler_->AddModel(spec);
  }
  StatusOr<SequenceId> TrySubmit(const std::string& tenant, size_t prompt, int64_t output) {
    return scheduler_->Submit({.model = model_,
                               .tenant = TenantId(tenant),
                               .prompt = std::make_shared<std::vector<TokenId>>(prompt, 7),
                               .tokens_max = static_cast<int64_t>(prompt) + output},
                              now_);
  }
  SequenceId Submit(const std::string& tenant, size_t prompt, int64_t output) {
    const StatusOr<SequenceId> id = TrySubmit(tenant, prompt, output);
    EXPECT_TRUE(id.ok()) << id.status();
    return *id;
  }
  // A step that takes a millisecond for each token.
  StepPlan Step() {
    StepPlan plan = scheduler_->Plan(now_);
    StepResult result;
    result.duration = milliseconds(plan.n_tokens);
    for (const PlanRow& row : plan.rows) {
      result.rows.push_back(
          {.finished = row.sequence->num_tokens() + 1 == row.sequence->spec().tokens_max});
    }
    now_ += result.duration;
    if (!plan.empty()) {
      scheduler_->Commit(plan.epoch, result);
    }
    EXPECT_TRUE(scheduler_->CheckIntegrity().ok()) << scheduler_->CheckIntegrity();
    return plan;
  }

  std::unique_ptr<Scheduler> scheduler_;
  ModelSlot model_;
  TimePoint now_{};
};

TEST_F(OverloadTest, WhatCannotStartInTimeIsRefusedAtOnce) {
  Make({.step_tokens_max = 64,
        .running_max = 1,
        .refuses_late = true,
        .classes = {ServiceClass{.first_token = milliseconds(700)}}});
  Submit("a", 64, 2);
  Step();  // 64 prompt tokens and one drawn: 66 units in 64 ms
  int accepted = 0;
  while (TrySubmit("a", 64, 2).ok()) {
    ASSERT_LT(++accepted, 100);
  }
  // Each that waits costs its prompt and about one output token.
  EXPECT_GE(accepted, 8);
  EXPECT_LE(accepted, 11);
  EXPECT_EQ(TrySubmit("a", 64, 2).status().code(), StatusCode::kUnavailable);
  EXPECT_TRUE(TrySubmit("b", 64, 2).ok()) << "another tenant's turn comes sooner";
  EXPECT_EQ(scheduler_->stats().refused_late, 2u);
}

TEST_F(OverloadTest, AFullQueueMakesRoomForTenantsBelowTheirShare) {
  Make({.running_max = 1, .waiting_max = 4});
  std::vector<SequenceId> flood;
  for (int i = 0; i < 4; ++i) {
    flood.push_back(Submit("flood", 10, 5));
  }
  EXPECT_EQ(TrySubmit("flood", 10, 5).status().code(), StatusCode::kUnavailable);
  Submit("light", 10, 5);
  EXPECT_EQ(scheduler_->Find(flood[3]), nullptr) << "the youngest of the flood gave way";
  EXPECT_THAT(Step().ended, ElementsAre(Ended{flood[3], EndReason::kShed}));
  EXPECT_EQ(scheduler_->stats().shed, 1u);
}

TEST_F(OverloadTest, ASlowReaderGivesUpItsStateAndThenItsPlace) {
  Make({.paused_state_max = milliseconds(300), .paused_max = milliseconds(1000)});
  const SequenceId slow = Submit("a", 100, 50);
  Step();
  scheduler_->Pause(slow);
  // Counted from the latest time that the scheduler was told: that of the plan.
  EXPECT_EQ(scheduler_->NextDeadline(), TimePoint{} + milliseconds(1000));
  EXPECT_TRUE(Step().empty());
  EXPECT_EQ(scheduler_->stats().blocks_used, 2);
  now_ += milliseconds(200);
  EXPECT_THAT(Step().preempted, ElementsAre(slow));
  EXPECT_EQ(scheduler_->stats().blocks_used, 0);
  scheduler_->Resume(slow);
  EXPECT_EQ(Step().rows.size(), 1u) << "it goes on when it is read again";
  scheduler_->Pause(slow);
  now_ += milliseconds(1200);
  EXPECT_THAT(Step().ended, ElementsAre(Ended{slow, EndReason::kSlowReader}));
  EXPECT_TRUE(scheduler_->idle());
}

TEST_F(OverloadTest, PrefillIsCutSoThatDecodesAreInTime) {
  Make({.step_tokens_max = 512,
        .classes = {ServiceClass{.first_token = milliseconds(500),
                                 .token_interval = milliseconds(200)}}},
       MakeFcfsPolicy(),
       {.step_time = {.prefill_token_ns = 1'000'000, .decode_row_ns = 1'000'000}});
  Submit("a", 64, 100);
  Step();
  Submit("b", 1000, 10);
  // The next token is due 700 ms after arrival, 636 ms from now: prefill may take 512 ...
  EXPECT_EQ(Step().n_tokens, 512);
  // ... and then what is left until the one after it.
  const StepPlan plan = Step();
  EXPECT_EQ(plan.n_tokens, 1 + 323);
  EXPECT_LE(plan.expected, milliseconds(324));
}

TEST_F(OverloadTest, AModelIsLoadedDrainedAndRemoved) {
  Make({}, MakeWindowedPolicy(1000), {.resident = false});
  const SequenceId id = Submit("a", 10, 2);
  EXPECT_TRUE(Step().empty());
  EXPECT_EQ(scheduler_->Explain(id)->reason, Reason::kModel);
  scheduler_->ModelLoaded(model_);
  EXPECT_EQ(Step().rows.size(), 1u);
  scheduler_->DrainModel(model_);
  EXPECT_EQ(TrySubmit("a", 10, 2).status().code(), StatusCode::kUnavailable);
  EXPECT_EQ(scheduler_->RemoveModel(model_).code(), StatusCode::kFailedPrecondition);
  Step();
  EXPECT_TRUE(scheduler_->idle());
  EXPECT_TRUE(scheduler_->RemoveModel(model_).ok());
  EXPECT_EQ(TrySubmit("a", 10, 2).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(scheduler_->stats().blocks_total, 0);
  EXPECT_TRUE(Step().empty());
}

TEST_F(OverloadTest, DrainRefusesAndFinishes) {
  Make({});
  Submit("a", 10, 3);
  scheduler_->Drain();
  EXPECT_EQ(TrySubmit("a", 10, 2).status().code(), StatusCode::kUnavailable);
  for (int i = 0; i < 3; ++i) {
    Step();
  }
  EXPECT_TRUE(scheduler_->idle());
}

TEST_F(OverloadTest, AWaitingSequenceIsToldWhy) {
  Make({.running_max = 1});
  EXPECT_EQ(scheduler_->Explain(SequenceId(7)), std::nullopt);
  const SequenceId runs = Submit("a", 100, 50);
  Step();
  const SequenceId next = Submit("a", 100, 10);
  const SequenceId second = Submit("a", 200, 10);
  const SequenceId paused = Submit("a", 10, 10);
  scheduler_->Pause(paused);
  EXPECT_EQ(scheduler_->Explain(runs)->reason, Reason::kRunning);
  EXPECT_EQ(scheduler_->Explain(paused)->reason, Reason::kPaused);
  EXPECT_EQ(scheduler_->Explain(next)->reason, Reason::kRoom);
  const QueueReport report = *scheduler_->Explain(second);
  EXPECT_EQ(report.reason, Reason::kOwnQueue);
  EXPECT_EQ(report.num_before, 1);
  EXPECT_EQ(report.units_ahead, 100 + 2 * 3);  // a quarter of its ten output tokens, rounded up
  ASSERT_TRUE(report.starts_in.has_value());
  EXPECT_GT(*report.starts_in, milliseconds(90));
  EXPECT_LT(*report.starts_in, milliseconds(120));
  ASSERT_TRUE(scheduler_->SetTenant(TenantId("a"), {.running_max = 1}).ok());
  EXPECT_EQ(scheduler_->Explain(next)->reason, Reason::kTenantCap);
}

TEST_F(OverloadTest, ATenantsRunningTokensAreBounded) {
  Make({.running_max = 8});
  ASSERT_TRUE(scheduler_->SetTenant(TenantId("a"), {.running_tokens_max = 300}).ok());
  EXPECT_EQ(TrySubmit("a", 200, 101).status().code(), StatusCode::kResourceExhausted);
  const SequenceId first = Submit("a", 100, 50);
  const SequenceId large = Submit("a", 200, 50);  // 250 beside 150: waits
  const SequenceId small = Submit("a", 100, 50);  // fits, and goes before it
  Step();
  EXPECT_EQ(scheduler_->Find(first)->state(), SequenceState::kRunning);
  EXPECT_EQ(scheduler_->Find(small)->state(), SequenceState::kRunning);
  EXPECT_EQ(scheduler_->Explain(large)->reason, Reason::kTenantCap);
  // A tenant at its cap does not wait for the device: nobody is measured by it.
  EXPECT_FALSE(scheduler_->tenants().flows()[0].backlogged());
  scheduler_->Cancel(first);
  scheduler_->Cancel(small);
  Step();
  Step();
  EXPECT_EQ(scheduler_->Find(large)->state(), SequenceState::kRunning);
  // A bound that was lowered since lets one run alone.
  const SequenceId next = Submit("a", 20, 20);
  ASSERT_TRUE(scheduler_->SetTenant(TenantId("a"), {.running_tokens_max = 10}).ok());
  Step();
  EXPECT_EQ(scheduler_->Explain(next)->reason, Reason::kTenantCap);
  scheduler_->Cancel(large);
  Step();
  Step();
  EXPECT_EQ(scheduler_->Find(next)->state(), SequenceState::kRunning);
}

}  // namespace
}  // namespace inferd
