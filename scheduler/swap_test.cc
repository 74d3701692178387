// Preempted sequences whose state goes to the host: what is copied, who may, when it is worth it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "scheduler/scheduler.h"

namespace inferd {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;

constexpr int64_t kUnitBytes = 1'000'000;

// Slow readers give up their state at once, which is how these tests preempt.
class SwapTest : public ::testing::Test {
 protected:
  struct Setup {
    int64_t host_units = 8;
    int64_t prefill_token_ns = 1'000'000;
    int64_t host_bytes_per_s = 1'000'000'000;  // a millisecond a unit
    int32_t chunk_grid = 1;
  };
  void Make(const Setup& setup) {
    scheduler_ = std::make_unique<Scheduler>(
        SchedulerOptions{.step_tokens_max = 512, .paused_state_max = milliseconds(1)});
    const auto model = scheduler_->AddModel(
        {.geometry = {.groups = {StateGroup{.unit_bytes = kUnitBytes},
                                 StateGroup{.window = 70, .unit_bytes = kUnitBytes},
                                 StateGroup{.kind = StateKind::kSlot, .unit_bytes = kUnitBytes}},
                      .context_tokens_max = 8192,
                      .vocab_size = 100},
         .units = {16, 16, 4},
         .chunk_grid = setup.chunk_grid,
         .step_time = {.prefill_token_ns = setup.prefill_token_ns},
         .host = {.units = {setup.host_units, setup.host_units, 2},
                  .bytes_per_s = setup.host_bytes_per_s}});
    ASSERT_TRUE(model.ok()) << model.status();
    model_ = *model;
  }
  SequenceId Submit(size_t prompt, int64_t output) {
    return *scheduler_->Submit({.model = model_,
                                .tenant = TenantId("acme"),
                                .prompt = std::make_shared<std::vector<TokenId>>(prompt, 7),
                                .tokens_max = static_cast<int64_t>(prompt) + output},
                               now_);
  }
  StepPlan Step() {
    now_ += milliseconds(10);
    StepPlan plan = scheduler_->Plan(now_);
    if (!plan.empty()) {
      scheduler_->Commit(plan.epoch, {.rows = std::vector<RowResult>(plan.rows.size())});
    }
    EXPECT_TRUE(scheduler_->CheckIntegrity().ok()) << scheduler_->CheckIntegrity();
    return plan;
  }
  // Runs a sequence of 130 tokens, puts its reader aside, and lets it give up its state.
  SequenceId Preempted() {
    const SequenceId id = Submit(130, 100);
    Step();
    scheduler_->Pause(id);
    EXPECT_THAT(Step().preempted, ElementsAre(id));
    return id;
  }

  std::unique_ptr<Scheduler> scheduler_;
  ModelSlot model_;
  TimePoint now_{};
};

TEST_F(SwapTest, StateGoesToTheHostAndComesBack) {
  Make({});
  const SequenceId id = Preempted();
  EXPECT_EQ(scheduler_->Find(id)->state(), SequenceState::kSwapped);
  EXPECT_EQ(scheduler_->Find(id)->num_computed(), 130);
  EXPECT_EQ(scheduler_->stats().blocks_used, 0);
  // Three full blocks; of the window the blocks that still show; the slot.
  EXPECT_EQ(scheduler_->stats().host_units_used, 3 + 3 + 1);
  scheduler_->Resume(id);
  const StepPlan plan = Step();
  ASSERT_EQ(plan.rows.size(), 1u);
  EXPECT_EQ(plan.rows[0].start, 130) << "nothing is computed again";
  ASSERT_EQ(plan.copies_before.size(), 14u) << "out of the plan that had no rows, and in";
  for (size_t i = 0; i < 7; ++i) {
    const StateCopy& out = plan.copies_before[i];
    const StateCopy& in = plan.copies_before[i + 7];
    EXPECT_EQ(out.to_place, StatePlace::kHost);
    EXPECT_EQ(in.from_place, StatePlace::kHost);
    EXPECT_EQ(in.group, out.group);
    EXPECT_EQ(in.from, out.to);
  }
  EXPECT_EQ(scheduler_->stats().host_units_used, 0);
  EXPECT_EQ(scheduler_->stats().swapped_out, 1u);
  EXPECT_EQ(scheduler_->stats().recomputed_tokens, 0u);
}

TEST_F(SwapTest, AnEndFreesWhatTheHostKeeps) {
  Make({});
  const SequenceId id = Preempted();
  scheduler_->Cancel(id);
  EXPECT_EQ(scheduler_->stats().host_units_used, 0);
  EXPECT_TRUE(scheduler_->idle());
  EXPECT_TRUE(scheduler_->CheckIntegrity().ok());
}

TEST_F(SwapTest, WhatIsComputedSoonerIsNotCopied) {
  Make({.prefill_token_ns = 100'000});  // 13 ms against 14
  EXPECT_EQ(scheduler_->Find(Preempted())->state(), SequenceState::kWaiting);
  Make({.prefill_token_ns = 110'000});  // 14.3 ms
  EXPECT_EQ(scheduler_->Find(Preempted())->state(), SequenceState::kSwapped);
}

TEST_F(SwapTest, WhereTheCutMattersStateIsKeptWhateverItTakes) {
  Make({.prefill_token_ns = 1, .chunk_grid = kBlockTokens});
  EXPECT_EQ(scheduler_->Find(Preempted())->state(), SequenceState::kSwapped);
}

TEST_F(SwapTest, WithoutRoomItIsComputedAgain) {
  Make({.host_units = 2});
  EXPECT_EQ(scheduler_->Find(Preempted())->state(), SequenceState::kWaiting);
}

TEST_F(SwapTest, ATenantKeepsNoMoreThanItMay) {
  Make({});
  ASSERT_TRUE(scheduler_->SetTenant(TenantId("acme"), {.host_units_max = 10}).ok());
  EXPECT_EQ(scheduler_->Find(Preempted())->state(), SequenceState::kSwapped);
  EXPECT_EQ(scheduler_->Find(Preempted())->state(), SequenceState::kWaiting) << "7 more are 14";
}

}  // namespace
}  // namespace inferd
