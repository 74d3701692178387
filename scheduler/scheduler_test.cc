// Scheduler by example: what is granted, in which order, and when blocks come back.
#include "scheduler/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace inferd {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr TimePoint kNow{};

ModelGeometry FullAttention() {
  return {.groups = {StateGroup{}}, .context_tokens_max = 8192, .vocab_size = 1000};
}

ModelGeometry FullAndWindow(int32_t window) {
  return {.groups = {StateGroup{}, StateGroup{.window = window}},
          .context_tokens_max = 8192,
          .vocab_size = 1000};
}

// What a plan grants, as one can read it: {sequence, start, tokens, sample}.
struct Granted {
  uint64_t id;
  int64_t start;
  int32_t n_tokens;
  bool sample;
  bool operator==(const Granted&) const = default;
};
void PrintTo(const Granted& g, std::ostream* out) {
  *out << "{" << g.id << ", " << g.start << ", " << g.n_tokens << ", " << g.sample << "}";
}

std::vector<Granted> Rows(const StepPlan& plan) {
  std::vector<Granted> rows;
  for (const PlanRow& row : plan.rows) {
    rows.push_back({row.sequence->id().value(), row.start, row.n_tokens, row.sample});
  }
  return rows;
}

// A plan that is committed: its rows' sequences may be gone.
struct Stepped : StepPlan {
  std::vector<Granted> granted;
};

std::vector<Granted> Rows(const Stepped& step) { return step.granted; }

class SchedulerTest : public ::testing::Test {
 protected:
  // Capacities in blocks, one a group of `geometry`.
  ModelSlot Make(const SchedulerOptions& options,
                 const ModelGeometry& geometry,
                 std::vector<int64_t> units) {
    scheduler_ = std::make_unique<Scheduler>(options);
    return *scheduler_->AddModel({.geometry = geometry, .units = std::move(units)});
  }
  ModelSlot Make(const SchedulerOptions& options, int64_t blocks) {
    return Make(options, FullAttention(), {blocks});
  }
  StatusOr<SequenceId> TrySubmit(int64_t prompt, int64_t output, ModelSlot model = {}) {
    return scheduler_->Submit(
        {.model = model,
         .prompt = std::make_shared<std::vector<TokenId>>(static_cast<size_t>(prompt), 7),
         .tokens_max = prompt + output},
        kNow);
  }
  SequenceId Submit(int64_t prompt, int64_t output, ModelSlot model = {}) {
    const StatusOr<SequenceId> id = TrySubmit(prompt, output, model);
    EXPECT_TRUE(id.ok()) << id.status();
    return *id;
  }
  StepPlan Plan() {
    StepPlan plan = scheduler_->Plan(kNow);
    EXPECT_TRUE(scheduler_->CheckIntegrity().ok()) << scheduler_->CheckIntegrity();
    return plan;
  }
  // Every sampled sequence gets a token; those that are full finish, and those in `finish`.
  void Commit(const StepPlan& plan, std::vector<SequenceId> finish = {}) {
    StepResult result;
    for (const PlanRow& row : plan.rows) {
      const bool full = row.sequence->num_tokens() + 1 == row.sequence->spec().tokens_max;
      const bool asked =
          std::find(finish.begin(), finish.end(), row.sequence->id()) != finish.end();
      result.rows.push_back({.token = 9, .finished = full || asked});
    }
    scheduler_->Commit(plan.epoch, result);
    EXPECT_TRUE(scheduler_->CheckIntegrity().ok()) << scheduler_->CheckIntegrity();
  }
  Stepped Step() {
    Stepped step{Plan(), {}};
    step.granted = Rows(static_cast<const StepPlan&>(step));
    if (!step.empty()) {
      Commit(step);
    }
    return step;
  }
  int64_t used() const { return scheduler_->stats().blocks_used; }

  std::unique_ptr<Scheduler> scheduler_;
};

TEST_F(SchedulerTest, ChunksAPromptUnderTheBudgetAndSamplesAtItsEnd) {
  Make({.step_tokens_max = 100}, 10);
  Submit(250, 3);
  StepPlan plan = Plan();
  EXPECT_THAT(Rows(plan), ElementsAre(Granted{1, 0, 100, false}));
  Commit(plan);
  EXPECT_THAT(Rows(Step()), ElementsAre(Granted{1, 100, 100, false}));
  EXPECT_THAT(Rows(Step()), ElementsAre(Granted{1, 200, 50, true}));
  EXPECT_THAT(Rows(Step()), ElementsAre(Granted{1, 250, 1, true}));
  EXPECT_EQ(used(), 4);
  Step();
  EXPECT_TRUE(scheduler_->idle());
  EXPECT_EQ(used(), 0);
  EXPECT_TRUE(Plan().empty());
}

TEST_F(SchedulerTest, CutsChunksAtBlocksIfAsked) {
  scheduler_ = std::make_unique<Scheduler>(SchedulerOptions{.step_tokens_max = 100});
  ASSERT_TRUE(
      scheduler_->AddModel({.geometry = FullAttention(), .units = {10}, .chunk_grid = 64}).ok());
  Submit(150, 1);
  EXPECT_THAT(Rows(Step()), ElementsAre(Granted{1, 0, 64, false}));
  EXPECT_THAT(Rows(Step()), ElementsAre(Granted{1, 64, 86, true}));
}

TEST_F(SchedulerTest, DecodesGoOnBesideAPrefill) {
  Make({.step_tokens_max = 64}, 20);
  Submit(10, 50);
  Submit(12, 50);
  Step();
  Submit(300, 5);
  EXPECT_THAT(
      Rows(Step()),
      ElementsAre(Granted{1, 10, 1, true}, Granted{2, 12, 1, true}, Granted{3, 0, 62, false}));
}

TEST_F(SchedulerTest, AdmitsInOrderOfArrivalWithinRunningMax) {
  Make({.step_tokens_max = 64, .running_max = 2}, 20);
  Submit(4, 2);
  Submit(4, 3);
  Submit(4, 1);
  EXPECT_THAT(Rows(Step()), ElementsAre(Granted{1, 0, 4, true}, Granted{2, 0, 4, true}));
  EXPECT_THAT(Rows(Step()), ElementsAre(Granted{1, 4, 1, true}, Granted{2, 4, 1, true}));
  EXPECT_THAT(Rows(Step()), ElementsAre(Granted{2, 5, 1, true}, Granted{3, 0, 4, true}));
}

TEST_F(SchedulerTest, YoungestDecodeGivesWayAndIsFirstToReturn) {
  Make({.step_tokens_max = 256}, 4);
  Submit(63, 100);  // will need 3 blocks
  Submit(60, 100);
  Submit(20, 1);  // waits: no room for it
  EXPECT_EQ(Step().rows.size(), 2u);
  std::vector<SequenceId> preempted;
  int steps = 0;
  while (preempted.empty() && ++steps < 200) {
    preempted = Step().preempted;
  }
  EXPECT_THAT(preempted, ElementsAre(SequenceId(2)));
  const int64_t generated = scheduler_->Find(SequenceId(2))->num_tokens();
  EXPECT_GT(generated, 60);
  while (scheduler_->Find(SequenceId(1)) != nullptr) {
    ASSERT_EQ(Step().granted.size(), 1u) << "nothing overtakes the preempted sequence";
  }
  const StepPlan plan = Plan();
  // Everything is computed again in one row; the one token drawn is new.
  EXPECT_THAT(
      Rows(plan),
      ElementsAre(Granted{2, 0, static_cast<int32_t>(generated), true}, Granted{3, 0, 20, true}));
  EXPECT_EQ(scheduler_->stats().preemptions, 1u);
  EXPECT_EQ(scheduler_->stats().recomputed_tokens, static_cast<uint64_t>(generated - 1));
  Commit(plan);
}

TEST_F(SchedulerTest, BlocksBehindAWindowAreFreed) {
  const ModelSlot model = Make({.step_tokens_max = 64}, FullAndWindow(100), {40, 40});
  Submit(640, 10, model);
  int64_t peak = 0;
  for (int step = 0; step < 10; ++step) {
    const StepPlan plan = Plan();
    const std::span<const BlockIndex> window = plan.rows[0].sequence->block_table(1);
    for (size_t i = 0; i < window.size(); ++i) {
      const int64_t first_live = StateGroup{.window = 100}.FirstLiveBlock(plan.rows[0].start);
      EXPECT_EQ(window[i] == kNoBlock, static_cast<int64_t>(i) < first_live);
    }
    peak =
        std::max(peak, used() - static_cast<int64_t>(plan.rows[0].sequence->block_table(0).size()));
    Commit(plan);
  }
  EXPECT_EQ(peak, 3);  // 99 positions behind the chunk and its own 64
}

TEST_F(SchedulerTest, ASequenceThatCanNeverFitIsRefused) {
  Make({}, 4);
  EXPECT_EQ(TrySubmit(200, 58).status().code(), StatusCode::kResourceExhausted);
  EXPECT_TRUE(TrySubmit(200, 57).ok());  // the last token needs no KV
  Make({}, FullAndWindow(128), {100, 3});
  EXPECT_TRUE(TrySubmit(5000, 100).ok());
  Make({}, FullAndWindow(128), {100, 2});
  EXPECT_EQ(TrySubmit(5000, 100).status().code(), StatusCode::kResourceExhausted);
  EXPECT_TRUE(TrySubmit(100, 29).ok());
}

TEST_F(SchedulerTest, TokensMaxForIsTheEdgeOfCheckFits) {
  for (const int32_t window : {0, 1, 64, 65, 128, 500}) {
    const ModelGeometry geometry = FullAndWindow(window);
    for (int64_t units = 1; units < 12; ++units) {
      const std::vector<int64_t> pools = {20, units};
      const int64_t tokens = TokensMaxFor(geometry, pools);
      EXPECT_TRUE(CheckFits(geometry, pools, tokens).ok());
      EXPECT_FALSE(CheckFits(geometry, pools, tokens + 1).ok());
    }
  }
}

TEST_F(SchedulerTest, RefusesWhatItCannotQueue) {
  Make({.waiting_max = 2}, 4);
  EXPECT_EQ(TrySubmit(1, 1, ModelSlot(1)).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(TrySubmit(0, 1).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(TrySubmit(1, 0).status().code(), StatusCode::kInvalidArgument);
  Submit(1, 1);
  Submit(1, 1);
  EXPECT_EQ(TrySubmit(1, 1).status().code(), StatusCode::kUnavailable);
  Plan();
  EXPECT_TRUE(TrySubmit(1, 1).ok());
}

TEST_F(SchedulerTest, CancelFreesAtOnceOrWhenTheStepIsDone) {
  Make({.step_tokens_max = 64}, 10);
  const SequenceId a = Submit(100, 10);
  const SequenceId b = Submit(10, 10);
  scheduler_->Cancel(b);  // waits: gone at once
  EXPECT_EQ(scheduler_->Find(b), nullptr);
  const StepPlan first = Plan();
  const StepPlan second = Plan();  // the rest of the prompt, behind the first
  EXPECT_THAT(Rows(second), ElementsAre(Granted{1, 64, 36, true}));
  scheduler_->Cancel(a);
  scheduler_->Cancel(a);
  EXPECT_EQ(scheduler_->Find(a), nullptr);
  EXPECT_EQ(used(), 2);  // both steps read them
  Commit(first);
  EXPECT_EQ(used(), 2);
  Commit(second);
  EXPECT_EQ(used(), 0);
  EXPECT_TRUE(scheduler_->idle());
}

TEST_F(SchedulerTest, ATokenBeingDrawnBlocksOnlyItsOwnSequence) {
  Make({.step_tokens_max = 64}, 10);
  Submit(10, 10);
  const StepPlan first = Plan();
  EXPECT_TRUE(Plan().empty());
  Submit(5, 10);
  const StepPlan second = Plan();
  EXPECT_THAT(Rows(second), ElementsAre(Granted{2, 0, 5, true}));
  Commit(first);
  const StepPlan third = Plan();
  EXPECT_THAT(Rows(third), ElementsAre(Granted{1, 10, 1, true}));
  Commit(second);
  Commit(third);
}

TEST_F(SchedulerTest, DeadlinesExpireInThePlan) {
  const ModelSlot model = Make({}, 10);
  const auto prompt = std::make_shared<std::vector<TokenId>>(5, 1);
  const TimePoint deadline = kNow + std::chrono::seconds(1);
  const SequenceId id = *scheduler_->Submit(
      {.model = model, .prompt = prompt, .tokens_max = 100, .deadline = deadline}, kNow);
  EXPECT_EQ(scheduler_->NextDeadline(), deadline);
  Step();
  const StepPlan plan = scheduler_->Plan(deadline);
  EXPECT_THAT(plan.ended, ElementsAre(Ended{id, EndReason::kDeadline}));
  EXPECT_THAT(plan.rows, IsEmpty());
  EXPECT_EQ(used(), 0);
  EXPECT_EQ(scheduler_->NextDeadline(), std::nullopt);
}

TEST_F(SchedulerTest, APausedSequenceKeepsItsBlocksUntilOthersNeedThem) {
  Make({.step_tokens_max = 512}, 4);
  const SequenceId slow = Submit(120, 10);
  Step();
  scheduler_->Pause(slow);
  EXPECT_TRUE(Plan().empty());
  EXPECT_EQ(used(), 2);
  const SequenceId other = Submit(200, 30);
  const Stepped plan = Step();
  EXPECT_THAT(plan.preempted, ElementsAre(slow));
  EXPECT_THAT(Rows(plan), ElementsAre(Granted{2, 0, 200, true}));
  scheduler_->Resume(slow);
  while (scheduler_->Find(other) != nullptr) {
    Step();
  }
  EXPECT_THAT(Rows(Step()), ElementsAre(Granted{1, 0, 121, true}));
}

TEST_F(SchedulerTest, ModelsTakeTurns) {
  scheduler_ = std::make_unique<Scheduler>(SchedulerOptions{.model_steps_max = 3});
  const ModelSpec spec{.geometry = FullAttention(), .units = {10}};
  const ModelSlot first = *scheduler_->AddModel(spec);
  const ModelSlot second = *scheduler_->AddModel(spec);
  Submit(5, 100, first);
  Submit(5, 5, second);
  Submit(5, 100, second);
  std::string turns;
  for (int step = 0; step < 12; ++step) {
    const Stepped plan = Step();
    turns += plan.model == first ? 'a' : 'b';
  }
  EXPECT_EQ(turns, "aaabbbaaabbb");
  scheduler_->Cancel(SequenceId(1));
  EXPECT_EQ(Step().model, second);
}

}  // namespace
}  // namespace inferd
