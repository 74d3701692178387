// Drafts: what is guessed, what it costs and how far it may go, what becomes of what does not come
// true.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "scheduler/scheduler.h"

namespace inferd {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class SpeculationTest : public ::testing::Test {
 protected:
  void Make(SpeculationOptions speculation, int32_t step_tokens_max = 64) {
    scheduler_ = std::make_unique<Scheduler>(
        SchedulerOptions{.step_tokens_max = step_tokens_max, .speculation = speculation},
        MakeWindowedPolicy(4096));
    model_ = *scheduler_->AddModel(
        {.geometry = {.groups = {StateGroup{}}, .context_tokens_max = 8192, .vocab_size = 100},
         .units = {64}});
  }
  SequenceId Submit(const std::vector<TokenId>& prompt,
                    int64_t output,
                    std::optional<int64_t> lease = {}) {
    const auto tokens = static_cast<int64_t>(prompt.size());
    return *scheduler_->Submit({.model = model_,
                                .tenant = TenantId("acme"),
                                .prompt = std::make_shared<std::vector<TokenId>>(prompt),
                                .tokens_max = tokens + output,
                                .leased_output_tokens = lease},
                               TimePoint{});
  }
  // A step in which every row draws these tokens in turn, as far as its draft comes true.
  StepPlan Step(const std::vector<TokenId>& draws) {
    StepPlan plan = scheduler_->Plan(TimePoint{});
    drafts_.clear();
    StepResult result;
    for (const PlanRow& row : plan.rows) {
      drafts_.emplace_back(row.draft.begin(), row.draft.end());
      RowResult drawn{.token = draws[0]};
      for (size_t d = 0; d < row.draft.size() && draws[d] == row.draft[d]; ++d) {
        drawn.more[d] = draws[d + 1];
        ++drawn.num_more;
      }
      result.rows.push_back(drawn);
    }
    if (!plan.empty()) {
      scheduler_->Commit(plan.epoch, result);
    }
    EXPECT_TRUE(scheduler_->CheckIntegrity().ok()) << scheduler_->CheckIntegrity();
    return plan;
  }

  std::unique_ptr<Scheduler> scheduler_;
  ModelSlot model_;
  std::vector<std::vector<TokenId>> drafts_;  // of the last step's rows
};

TEST_F(SpeculationTest, GuessesWhatFollowedBefore) {
  Make({.draft_tokens_max = 3});
  const SequenceId id = Submit({1, 2, 3, 4, 5, 6, 9, 1, 2}, 20);
  Step({3});  // the prompt
  EXPECT_THAT(drafts_[0], IsEmpty());
  const StepPlan plan = Step({4, 5, 7, 8});  // 6 does not come true
  EXPECT_THAT(drafts_[0], ElementsAre(4, 5, 6));
  EXPECT_EQ(plan.rows[0].n_tokens, 4);
  EXPECT_EQ(plan.n_tokens, 4);
  const Sequence& sequence = *scheduler_->Find(id);
  EXPECT_THAT(sequence.output(), ElementsAre(3, 4, 5, 7));
  EXPECT_EQ(sequence.num_computed(), 12) << "of the draft the two that came true";
  EXPECT_EQ(scheduler_->stats().drafted_tokens, 3u);
  EXPECT_EQ(scheduler_->stats().accepted_tokens, 2u);
  EXPECT_EQ(Step({8}).rows[0].start, 12) << "what did not is computed over";
}

TEST_F(SpeculationTest, IsOffUnlessAskedFor) {
  Make({});
  Submit({1, 2, 3, 1, 2}, 20);
  Step({3});
  Step({1});
  EXPECT_THAT(drafts_[0], IsEmpty());
}

TEST_F(SpeculationTest, CostsWhatItComputesAndNoMoreOnceItCameTrue) {
  Make({.draft_tokens_max = 2});
  Submit({1, 2, 3, 4, 1, 2}, 20);
  Step({3});  // 6 prompt tokens, one drawn: 8 units
  Step({4, 1, 2});
  EXPECT_EQ(scheduler_->tenants().total_units(), 8u + 2u + 2u) << "a token and two positions";
  Step({9});
  // Two came true: an output token each instead of a position, with the next grant.
  EXPECT_EQ(scheduler_->tenants().total_units(), 12u + 2u + 2u + drafts_[0].size());
}

TEST_F(SpeculationTest, StaysWithinLeaseLengthAndBudget) {
  Make({.draft_tokens_max = 4});
  Submit({1, 2, 3, 4, 5, 6, 1, 2}, 20, 3);
  Step({3});
  Step({9});
  EXPECT_THAT(drafts_[0], ElementsAre(4)) << "one is out, one is drawn, three are leased";
  Make({.draft_tokens_max = 4});
  Submit({1, 2, 3, 4, 5, 6, 1, 2}, 4);
  Step({3});
  Step({9});
  EXPECT_THAT(drafts_[0], ElementsAre(4, 5)) << "four tokens in all";
  Make({.draft_tokens_max = 4}, /*step_tokens_max=*/3);
  Submit({1, 2, 3, 4, 5, 6, 1, 2}, 20);
  Step({3});
  Step({3});
  Step({3});
  Step({9});
  EXPECT_THAT(drafts_[0], ElementsAre(4, 5));
}

TEST_F(SpeculationTest, RestsWhenLittleComesTrue) {
  Make({.draft_tokens_max = 1, .acceptance_min = 500, .rest_output_tokens = 10});
  Submit({1, 2, 1, 2, 1, 2, 1, 2}, 200);
  Step({1});
  int drafts = 0;
  for (int i = 0; i < 40; ++i) {
    Step({i % 2 == 0 ? 1 : 2, 5});
    drafts += drafts_[0].empty() ? 0 : 1;
  }
  EXPECT_GT(drafts, 0);
  EXPECT_LT(drafts, 40);
}

TEST_F(SpeculationTest, ManyRowsGuessNothing) {
  Make({.draft_tokens_max = 4, .decode_rows_max = 1});
  Submit({1, 2, 3, 1, 2}, 20);
  Submit({1, 2, 3, 1, 2}, 20);
  Step({3});
  Step({1});
  EXPECT_THAT(drafts_, ElementsAre(IsEmpty(), IsEmpty()));
}

}  // namespace
}  // namespace inferd
