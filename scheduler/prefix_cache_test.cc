// The prefix cache by example, through Scheduler: who finds what, what goes first, and what a
// window or a recurrent state needs for a hit.
#include "scheduler/prefix_cache.h"

#include <gtest/gtest.h>

#include <string>

#include "scheduler/scheduler.h"

namespace inferd {
namespace {

constexpr TimePoint kNow{};

class PrefixCacheTest : public ::testing::Test {
 protected:
  void Make(std::vector<StateGroup> groups, std::vector<int64_t> units, int32_t chunk_grid = 1) {
    scheduler_ = std::make_unique<Scheduler>(SchedulerOptions{.step_tokens_max = 256});
    model_ = *scheduler_->AddModel(
        {.geometry = {.groups = std::move(groups), .context_tokens_max = 8192, .vocab_size = 100},
         .units = std::move(units),
         .chunk_grid = chunk_grid});
  }
  // `own` tokens of a prompt's end are this prompt's alone, named by `salt`.
  struct Ask {
    std::string tenant = "a";
    int64_t shared = 0;
    int64_t own = 1;
    TokenId salt = 1;
    int64_t output = 1;
    bool registers_public = false;
    std::vector<int64_t> boundaries = {};
  };
  static Digest Root(const std::string& domain) {
    Digest root;
    std::copy(domain.begin(), domain.end(), root.bytes.begin());
    return root;
  }
  SequenceId Submit(const Ask& ask) {
    auto prompt = std::make_shared<std::vector<TokenId>>(static_cast<size_t>(ask.shared), 7);
    prompt->insert(prompt->end(), static_cast<size_t>(ask.own), 10 + ask.salt);
    auto prefix = std::make_shared<PromptPrefix>();
    prefix->root = Root(ask.registers_public ? "public" : ask.tenant);
    prefix->keys = ChainKeys(prefix->root, *prompt);
    prefix->public_keys = ChainKeys(Root("public"), *prompt);
    prefix->registers_public = ask.registers_public;
    prefix->boundaries = ask.boundaries;
    const int64_t tokens_max = static_cast<int64_t>(prompt->size()) + ask.output;
    const StatusOr<SequenceId> id = scheduler_->Submit({.model = model_,
                                                        .tenant = TenantId(ask.tenant),
                                                        .prompt = std::move(prompt),
                                                        .prefix = std::move(prefix),
                                                        .tokens_max = tokens_max},
                                                       kNow);
    EXPECT_TRUE(id.ok()) << id.status();
    return *id;
  }
  // Runs it to its end. Returns the prompt tokens that were found.
  int64_t Run(const Ask& ask) {
    const SequenceId id = Submit(ask);
    int64_t cached = 0;
    while (scheduler_->Find(id) != nullptr) {
      const StepPlan plan = scheduler_->Plan(kNow);
      copies_ = plan.copies_before;
      StepResult result;
      for (const PlanRow& row : plan.rows) {
        cached = row.sequence->num_cached_tokens();
        result.rows.push_back(
            {.token = 3,
             .finished = row.sequence->num_tokens() + 1 == row.sequence->spec().tokens_max});
      }
      scheduler_->Commit(plan.epoch, result);
      EXPECT_TRUE(scheduler_->CheckIntegrity().ok()) << scheduler_->CheckIntegrity();
    }
    return cached;
  }

  std::unique_ptr<Scheduler> scheduler_;
  ModelSlot model_;
  std::vector<StateCopy> copies_;  // before the rows of the last plan
};

TEST(PromptPrefixTest, TheChainIsSha256OverParentAndTokens) {
  const std::vector<TokenId> prompt(130, 5);
  Digest root;
  root.bytes[0] = 1;
  const std::vector<Digest> keys = ChainKeys(root, prompt);
  ASSERT_EQ(keys.size(), 2u);
  // python3: hashlib.sha256(bytes([1]+[0]*31) + (5).to_bytes(4,"little")*64), and once more.
  EXPECT_EQ(keys[0].Hex(), "75b01f2ebaa73c1da867c128a2a4bb34ee92e144b960d8bb85bebe2e589c5fee");
  EXPECT_EQ(keys[1].Hex(), "d9011b27614331881f447d3467e1df3ef301fe3dc4f304fdde1d04cd2c7e4a82");
}

TEST_F(PrefixCacheTest, HitsAreWholeBlocksAndLeaveATokenToCompute) {
  Make({StateGroup{}}, {64});
  EXPECT_EQ(Run({.shared = 256, .own = 1}), 0);
  EXPECT_EQ(Run({.shared = 256, .own = 1}), 256);
  EXPECT_EQ(Run({.shared = 256, .own = 0}), 192) << "of 256 tokens the last must be computed";
  EXPECT_EQ(Run({.shared = 200, .own = 50, .salt = 2}), 192);
  EXPECT_EQ(scheduler_->stats().cache.hit_tokens, 256u + 192 + 192);
  EXPECT_EQ(scheduler_->stats().blocks_used, 0);
}

// The prompt of the second is that of the first and its answer (token 3): a next turn.
TEST_F(PrefixCacheTest, AnswersAreFoundWhereBitsDoNotDependOnWhoComputedThem) {
  for (const auto& [chunk_grid, found] : {std::pair(1, 256), std::pair(kBlockTokens, 128)}) {
    Make({StateGroup{}}, {64}, chunk_grid);
    Run({.shared = 130, .own = 0, .output = 200});
    EXPECT_EQ(Run({.shared = 130, .own = 130, .salt = 3 - 10}), found) << chunk_grid;
    EXPECT_EQ(Run({.shared = 130, .own = 130, .salt = 3 - 10}), 256) << "of its own prefill";
  }
}

TEST_F(PrefixCacheTest, NobodyFindsAnothersPrompt) {
  Make({StateGroup{}}, {64});
  Run({.tenant = "a", .shared = 256});
  EXPECT_EQ(Run({.tenant = "b", .shared = 256}), 0);
  EXPECT_EQ(Run({.tenant = "b", .shared = 256}), 256);
}

TEST_F(PrefixCacheTest, WhatTheOperatorRegistersIsFoundByAllAndStays) {
  Make({StateGroup{}}, {16});
  Run({.tenant = "operator", .shared = 256, .own = 0, .registers_public = true});
  for (TokenId i = 0; i < 20; ++i) {  // pressure
    Run({.tenant = "c", .own = 600, .salt = i});
  }
  EXPECT_EQ(Run({.tenant = "a", .shared = 256, .own = 100}), 256);
  EXPECT_EQ(Run({.tenant = "b", .shared = 256, .own = 100}), 256)
      << "the part behind it is each tenant's own";
  EXPECT_EQ(Run({.tenant = "b", .shared = 256, .own = 100}), 320);
}

TEST_F(PrefixCacheTest, TheLeastRecentlyUsedGoesFirstAndFromItsEnd) {
  Make({StateGroup{}}, {12});
  Run({.own = 257, .salt = 1});  // 4 blocks stay
  Run({.own = 257, .salt = 2});
  Run({.own = 257, .salt = 1});
  Run({.own = 400, .salt = 3});  // takes 7: 4 free, 3 of salt 2
  EXPECT_EQ(Run({.own = 257, .salt = 1}), 256);
  EXPECT_EQ(Run({.own = 257, .salt = 2}), 64) << "its start stays longest";
}

TEST_F(PrefixCacheTest, GuaranteedBlocksAreTakenByTheirOwnDomainAlone) {
  Make({StateGroup{}}, {16});
  ASSERT_TRUE(scheduler_->SetTenant(TenantId("a"), {.cached_blocks_guaranteed = 4}).ok());
  Run({.tenant = "a", .own = 257});
  for (TokenId i = 0; i < 20; ++i) {
    Run({.tenant = "b", .own = 500, .salt = i});
  }
  EXPECT_EQ(Run({.tenant = "a", .own = 257}), 256);
  for (TokenId i = 2; i < 20; ++i) {
    Run({.tenant = "a", .own = 700, .salt = i});
  }
  EXPECT_EQ(Run({.tenant = "a", .own = 257}), 0);
}

TEST_F(PrefixCacheTest, AMatchMustHoldInTheWindowToo) {
  Make({StateGroup{}, StateGroup{.window = 128}}, {100, 12});
  Run({.shared = 640, .own = 1});
  EXPECT_EQ(Run({.shared = 640, .own = 1}), 640);
  Run({.tenant = "b", .own = 700, .salt = 4});  // evicts window blocks, not full ones
  const int64_t again = Run({.shared = 640, .own = 1});
  EXPECT_LT(again, 640);
  EXPECT_GT(scheduler_->stats().cache.lost_tokens, 0u);
}

TEST_F(PrefixCacheTest, RecurrentStateHitsAtItsCheckpoints) {
  Make({StateGroup{}, StateGroup{.kind = StateKind::kSlot}}, {100, 10});
  // A checkpoint at the last boundary of the prompt: the same prompt hits there.
  EXPECT_EQ(Run({.shared = 300, .own = 30, .salt = 1}), 0);
  EXPECT_EQ(Run({.shared = 300, .own = 30, .salt = 1}), 320);
  ASSERT_EQ(copies_.size(), 1u);
  EXPECT_EQ(copies_[0].group, 1u);
  // Another prompt parts at 256: no state there yet, but it leaves one at the junction ...
  EXPECT_EQ(Run({.shared = 300, .own = 30, .salt = 2}), 0);
  EXPECT_EQ(scheduler_->stats().cache.lost_tokens, 256u);
  // ... for the third.
  EXPECT_EQ(Run({.shared = 300, .own = 30, .salt = 3}), 256);
}

TEST_F(PrefixCacheTest, BoundariesThatTheCallerNamesKeepRecurrentState) {
  Make({StateGroup{}, StateGroup{.kind = StateKind::kSlot}}, {100, 10});
  EXPECT_EQ(Run({.shared = 300, .own = 30, .salt = 1, .boundaries = {300}}), 0);
  EXPECT_EQ(Run({.shared = 300, .own = 30, .salt = 2, .boundaries = {300}}), 256);
}

TEST_F(PrefixCacheTest, APreemptedSequenceFindsItsOwnBlocks) {
  Make({StateGroup{}}, {9});
  const SequenceId first = Submit({.tenant = "a", .own = 200, .salt = 1, .output = 200});
  const SequenceId second = Submit({.tenant = "b", .own = 100, .salt = 2, .output = 200});
  int64_t restart = -1;
  while (scheduler_->Find(first) != nullptr || scheduler_->Find(second) != nullptr) {
    const StepPlan plan = scheduler_->Plan(kNow);
    StepResult result;
    for (const PlanRow& row : plan.rows) {
      if (row.sequence->num_preemptions() > 0 && restart < 0) {
        restart = row.start;
      }
      result.rows.push_back(
          {.finished = row.sequence->num_tokens() + 1 == row.sequence->spec().tokens_max});
    }
    scheduler_->Commit(plan.epoch, result);
    ASSERT_TRUE(scheduler_->CheckIntegrity().ok()) << scheduler_->CheckIntegrity();
  }
  EXPECT_GE(restart, 64) << "only what others took is computed again";
}

}  // namespace
}  // namespace inferd
