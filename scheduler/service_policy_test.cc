// The policies behind one Scheduler: who is admitted first, who pays, who gives way.
#include "scheduler/service_policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "scheduler/scheduler.h"

namespace inferd {
namespace {

constexpr TimePoint kNow{};

class ServicePolicyTest : public ::testing::Test {
 protected:
  void Make(std::unique_ptr<ServicePolicy> policy,
            SchedulerOptions options = {.step_tokens_max = 64, .running_max = 1},
            int64_t blocks = 64) {
    scheduler_ = std::make_unique<Scheduler>(options, std::move(policy));
    model_ = *scheduler_->AddModel(
        {.geometry = {.groups = {StateGroup{}}, .context_tokens_max = 8192, .vocab_size = 100},
         .units = {blocks}});
  }
  void Weight(const std::string& tenant, int64_t weight) {
    EXPECT_TRUE(scheduler_->SetTenant(TenantId(tenant), {.weight = weight}).ok());
  }
  SequenceId Submit(const std::string& tenant, int64_t prompt, int64_t output, int32_t cls = 0) {
    const StatusOr<SequenceId> id = scheduler_->Submit(
        {.model = model_,
         .tenant = TenantId(tenant),
         .service_class = cls,
         .prompt = std::make_shared<std::vector<TokenId>>(static_cast<size_t>(prompt), 7),
         .tokens_max = prompt + output},
        kNow);
    EXPECT_TRUE(id.ok()) << id.status();
    return *id;
  }
  StepPlan Step() {
    StepPlan plan = scheduler_->Plan(kNow);
    for (const PlanRow& row : plan.rows) {
      if (row.start == 0) {
        order_ += row.sequence->spec().tenant.value();
      }
    }
    StepResult result;
    for (const PlanRow& row : plan.rows) {
      result.rows.push_back(
          {.finished = row.sequence->num_tokens() + 1 == row.sequence->spec().tokens_max});
    }
    if (!plan.empty()) {
      scheduler_->Commit(plan.epoch, result);
    }
    EXPECT_TRUE(scheduler_->CheckIntegrity().ok()) << scheduler_->CheckIntegrity();
    return plan;
  }
  // Tenants in the order in which their sequences started.
  std::string Drain() {
    for (int step = 0; step < 10'000 && !scheduler_->idle(); ++step) {
      Step();
    }
    return order_;
  }

  std::unique_ptr<Scheduler> scheduler_;
  ModelSlot model_;
  std::string order_;
};

TEST_F(ServicePolicyTest, FcfsIsTheOrderOfArrivalWhoeverAsks) {
  Make(MakeFcfsPolicy());
  for (const char* tenant : {"a", "a", "a", "b", "a", "c"}) {
    Submit(tenant, 20, 2);
  }
  EXPECT_EQ(Drain(), "aaabac");
}

TEST_F(ServicePolicyTest, VirtualTokenCounterAdmitsTheLeastServed) {
  Make(MakeVirtualTokenCounterPolicy());
  for (const char* tenant : {"a", "a", "a", "a", "b", "b"}) {
    Submit(tenant, 20, 2);
  }
  EXPECT_EQ(Drain(), "ababaa");
}

TEST_F(ServicePolicyTest, WeightsAreSharesOfService) {
  Make(MakeVirtualTokenCounterPolicy());
  Weight("a", 3);
  Weight("b", 1);
  for (int i = 0; i < 9; ++i) {
    Submit("a", 20, 2);
    Submit("b", 20, 2);
  }
  EXPECT_EQ(Drain().substr(0, 12), "abaaabaaabaa");
  // 9 sequences each of 20 prompt tokens at 1 unit and 2 output tokens at 2.
  EXPECT_EQ(scheduler_->tenants().flow(0).service_units, 9u * 24);
  EXPECT_EQ(scheduler_->tenants().flow(0).key, 9u * 24 * ServicePolicy::kKeyScale / 3);
}

TEST_F(ServicePolicyTest, ChargesThatAWeightDoesNotDivideDoNotDrift) {
  Make(MakeVirtualTokenCounterPolicy());
  Weight("a", 9973);
  for (int i = 0; i < 50; ++i) {
    Submit("a", 3, 1);
  }
  Drain();
  EXPECT_EQ(scheduler_->tenants().flow(0).key, 50u * 5 * ServicePolicy::kKeyScale / 9973);
}

TEST_F(ServicePolicyTest, ACounterThatRestedIsLiftedToThoseThatWait) {
  Make(MakeVirtualTokenCounterPolicy());
  Submit("b", 1, 1);
  Drain();
  for (int i = 0; i < 6; ++i) {
    Submit("a", 20, 2);
  }
  Step();
  Step();
  Step();
  order_.clear();
  Submit("b", 20, 2);
  Submit("b", 20, 2);
  Submit("b", 20, 2);
  EXPECT_EQ(Drain(), "bababaa") << "b takes turns, it does not get back what it left unused";
}

TEST_F(ServicePolicyTest, DeficitRoundRobinServesAQuantumARound) {
  Make(MakeDeficitRoundRobinPolicy(48));  // two sequences of 24 units
  for (int i = 0; i < 4; ++i) {
    Submit("a", 20, 2);
    Submit("b", 20, 2);
  }
  EXPECT_EQ(Drain(), "aabbaabb");
}

TEST_F(ServicePolicyTest, StrictPriorityTakesTheDeviceFromTheLowerClass) {
  Make(MakeStrictPriorityPolicy(),
       {.step_tokens_max = 64,
        .running_max = 1,
        .classes = {ServiceClass{.order = 0}, ServiceClass{.order = 1}}});
  const SequenceId low = Submit("a", 20, 50, 1);
  Step();
  Step();
  Submit("b", 20, 2, 0);
  const StepPlan plan = Step();
  EXPECT_THAT(plan.preempted, ::testing::ElementsAre(low));
  ASSERT_EQ(plan.rows.size(), 1u);
  EXPECT_EQ(Drain(), "aba");
}

TEST_F(ServicePolicyTest, ATenantAtItsCapDoesNotHoldUpOthers) {
  for (auto make : {MakeFcfsPolicy, MakeVirtualTokenCounterPolicy}) {
    Make(make(), {.step_tokens_max = 256, .running_max = 8});
    order_.clear();
    ASSERT_TRUE(scheduler_->SetTenant(TenantId("a"), {.running_max = 1}).ok());
    for (const char* tenant : {"a", "a", "b", "b"}) {
      Submit(tenant, 20, 10);
    }
    Step();
    EXPECT_EQ(order_, "abb");
    EXPECT_EQ(Drain(), "abba");
  }
}

TEST_F(ServicePolicyTest, ATenantsQueueIsBounded) {
  Make(MakeFcfsPolicy());
  ASSERT_TRUE(
      scheduler_->SetTenant(TenantId("a"), {.waiting_max = 2, .waiting_prompt_tokens_max = 100})
          .ok());
  const auto submit = [this](const char* tenant, size_t prompt) {
    return scheduler_
        ->Submit({.model = model_,
                  .tenant = TenantId(tenant),
                  .prompt = std::make_shared<std::vector<TokenId>>(prompt, 7),
                  .tokens_max = static_cast<int64_t>(prompt) + 1},
                 kNow)
        .status()
        .code();
  };
  EXPECT_EQ(submit("a", 101), StatusCode::kUnavailable);
  EXPECT_EQ(submit("a", 60), StatusCode::kOk);
  EXPECT_EQ(submit("a", 41), StatusCode::kUnavailable);
  EXPECT_EQ(submit("a", 40), StatusCode::kOk);
  EXPECT_EQ(submit("a", 1), StatusCode::kUnavailable);
  EXPECT_EQ(submit("b", 1), StatusCode::kOk) << "the flood is a's own";
  EXPECT_EQ(scheduler_->SetTenant(TenantId("a"), {.weight = 0}).code(),
            StatusCode::kInvalidArgument);
}

TEST_F(ServicePolicyTest, ALeaseIsTheEdgeOfWhatIsComputed) {
  Make(MakeFcfsPolicy());
  const auto prompt = std::make_shared<std::vector<TokenId>>(10, 7);
  const SequenceId id = *scheduler_->Submit(
      {.model = model_, .prompt = prompt, .tokens_max = 100, .leased_output_tokens = 4}, kNow);
  std::string asked;
  const auto run = [&](int steps) {
    for (int i = 0; i < steps; ++i) {
      asked += Step().lease_wanted.empty() ? '.' : 'w';
    }
  };
  run(6);
  EXPECT_EQ(asked, ".w....");
  EXPECT_EQ(scheduler_->Find(id)->output().size(), 4u);
  scheduler_->ExtendLease(id, 2);
  run(3);
  EXPECT_EQ(asked, ".w....w..");
  EXPECT_EQ(scheduler_->Find(id)->output().size(), 6u);
  scheduler_->DenyLease(id);
  EXPECT_THAT(Step().ended, ::testing::ElementsAre(Ended{id, EndReason::kLease}));
  EXPECT_TRUE(scheduler_->idle());
}

TEST_F(ServicePolicyTest, WhatWaitsLongerThanItsClassAllowsEnds) {
  Make(MakeFcfsPolicy(),
       {.step_tokens_max = 64,
        .running_max = 1,
        .classes = {ServiceClass{.queue_max = std::chrono::seconds(2)}}});
  const SequenceId first = Submit("a", 10, 1000);
  const SequenceId second = Submit("a", 10, 10);
  Step();
  EXPECT_EQ(scheduler_->NextDeadline(), kNow + std::chrono::seconds(2));
  const StepPlan plan = scheduler_->Plan(kNow + std::chrono::seconds(2));
  EXPECT_THAT(plan.ended, ::testing::ElementsAre(Ended{second, EndReason::kQueueTimeout}));
  EXPECT_NE(scheduler_->Find(first), nullptr) << "it started in time";
}

}  // namespace
}  // namespace inferd
