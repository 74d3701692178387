// The bound of the windowed policy, on random workloads of the real Scheduler: after every plan
//   lemma    while g waits, key(i) - key(g) <= Theta + G for every flow i with work;
//   theorem  f and g waiting since some plan: |W_f/w_f - W_g/w_g| since then <= 2 (Theta + G);
//   lift     a flow that comes to wait has V <= key <= V + Theta;
// with G measured: the largest charge by weight of one plan to one flow so far.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <set>
#include <string>

#include "base/random.h"
#include "scheduler/scheduler.h"

namespace inferd {
namespace {

// The windowed policy, watched: which flows came to wait, and where they were put.
class WatchedPolicy final : public ServicePolicy {
 public:
  WatchedPolicy(int64_t window_units, bool lift_against_active)
      : policy_(MakeWindowedPolicy(window_units)), lift_against_active_(lift_against_active) {}
  std::string_view name() const override { return policy_->name(); }
  FlowsBy flows_by() const override { return policy_->flows_by(); }
  void OnBacklogged(std::span<Flow> flows, FlowIndex index) override {
    if (lift_against_active_) {  // the mistake that the bound does not survive
      uint64_t least = kNoWindow;
      for (FlowIndex i = 0; i < flows.size(); ++i) {
        if (i != index && (flows[i].num_resident > 0 || flows[i].backlogged())) {
          least = std::min(least, flows[i].key);
        }
      }
      Flow& flow = flows[index];
      flow.key = least == kNoWindow ? flow.key : std::max(flow.key, least);
    } else {
      policy_->OnBacklogged(flows, index);
    }
    came_to_wait_.insert(index);
    for (FlowIndex i = 0; i < flows.size(); ++i) {
      if (i != index && flows[i].backlogged() && flows[index].key < flows[i].key) {
        // Below every other flow that waits: below V.
        below_level_ = below_level_ || std::all_of(flows.begin(), flows.end(), [&](const Flow& f) {
                         return &f == &flows[index] || !f.backlogged() || f.key > flows[index].key;
                       });
      }
    }
  }
  void Charge(Flow& flow, int64_t units) override {
    policy_->Charge(flow, units);
    charged_[&flow] +=
        static_cast<uint64_t>(units) * kKeyScale / static_cast<uint64_t>(flow.weight) + 1;
  }
  uint64_t reorder_window() const override { return policy_->reorder_window(); }
  uint64_t over_served_window() const override { return policy_->over_served_window(); }

  // Since the last call.
  std::set<FlowIndex> TakeCameToWait() { return std::exchange(came_to_wait_, {}); }
  uint64_t TakeLargestCharge() {
    uint64_t largest = 0;
    for (const auto& [flow, units] : charged_) {
      largest = std::max(largest, units);
    }
    charged_.clear();
    return largest;
  }
  bool below_level() const { return below_level_; }

 private:
  const std::unique_ptr<ServicePolicy> policy_;
  const bool lift_against_active_;
  std::set<FlowIndex> came_to_wait_;
  std::map<const Flow*, uint64_t> charged_;
  bool below_level_ = false;
};

struct Load {  // of one tenant
  uint64_t prompt_max = 1;
  uint64_t output_max = 1;
  uint64_t arrivals_per_100_plans = 0;
  uint64_t burst = 1;
};

class FairnessRun {
 public:
  FairnessRun(uint64_t seed, bool lift_against_active) : random_(seed) {
    window_units_ = int64_t{256} << random_.Below(5);
    auto policy = std::make_unique<WatchedPolicy>(window_units_, lift_against_active);
    policy_ = policy.get();
    in_flight_max_ = 1 + random_.Below(2);
    scheduler_ = std::make_unique<Scheduler>(
        SchedulerOptions{.step_tokens_max = static_cast<int32_t>(64 + random_.Below(450)),
                         .running_max = static_cast<int32_t>(4 + random_.Below(30)),
                         .waiting_max = 100'000,
                         .model_steps_max = static_cast<int32_t>(1 + random_.Below(8))},
        std::move(policy));
    models_ = 1 + random_.Below(3) / 2;
    for (uint64_t m = 0; m < models_; ++m) {
      EXPECT_TRUE(scheduler_
                      ->AddModel({.geometry = {.groups = {StateGroup{}},
                                               .context_tokens_max = 4096,
                                               .vocab_size = 100},
                                  .units = {static_cast<int64_t>(16 + random_.Below(40))}})
                      .ok());
    }
    const uint64_t tenants = 2 + random_.Below(6);
    for (uint64_t t = 0; t < tenants; ++t) {
      TenantSpec spec{.weight = static_cast<int64_t>(1 + random_.Below(5))};
      if (random_.Below(4) == 0) {
        spec.running_max = static_cast<int64_t>(1 + random_.Below(4));
      }
      EXPECT_TRUE(scheduler_->SetTenant(Name(t), spec).ok());
      loads_.push_back({.prompt_max = uint64_t{8} << random_.Below(8),
                        .output_max = uint64_t{16} << random_.Below(6),
                        .arrivals_per_100_plans = 1 + random_.Below(20),
                        .burst = 1 + random_.Below(4) * random_.Below(8)});
    }
    since_.resize(tenants, std::vector<Since>(tenants));
  }

  void Run(int plans) {
    for (int i = 0; i < 40; ++i) {  // a hog, and then the others
      Submit(0);
    }
    for (int plan = 0; plan < plans && error_.empty(); ++plan) {
      for (uint64_t t = 0; t < loads_.size(); ++t) {
        if (random_.Below(100) < loads_[t].arrivals_per_100_plans) {
          for (uint64_t i = 0; i < loads_[t].burst; ++i) {
            Submit(t);
          }
        }
      }
      Plan();
      while (uncommitted_.size() >= in_flight_max_ || (!uncommitted_.empty() && last_empty_)) {
        Commit();
        last_empty_ = false;
      }
    }
    while (!uncommitted_.empty()) {
      Commit();
    }
  }

  const std::string& error() const { return error_; }
  uint64_t preemptions() const { return scheduler_->stats().preemptions; }
  bool crossed_window() const { return crossed_window_; }

 private:
  struct Since {  // two flows both wait
    bool both = false;
    uint64_t first = 0, second = 0;  // their service by weight then
  };

  static TenantId Name(uint64_t tenant) { return TenantId("t" + std::to_string(tenant)); }
  const Flow& flow(uint64_t t) const {
    return scheduler_->tenants().flow(static_cast<FlowIndex>(t));
  }

  void Submit(uint64_t tenant) {
    const int64_t limit = 1000;
    const int64_t prompt = static_cast<int64_t>(1 + random_.Below(loads_[tenant].prompt_max));
    const int64_t output = static_cast<int64_t>(1 + random_.Below(loads_[tenant].output_max));
    const StatusOr<SequenceId> id = scheduler_->Submit(
        {.model = ModelSlot(static_cast<uint32_t>(random_.Below(models_))),
         .tenant = Name(tenant),
         .prompt = std::make_shared<std::vector<TokenId>>(static_cast<size_t>(prompt), 1),
         .tokens_max = std::min(limit, prompt + output)},
        TimePoint{});
    if (!id.ok()) {
      return;  // longer than the pool
    }
    if (random_.Below(20) == 0) {
      scheduler_->Cancel(SequenceId(1 + random_.Below(id->value())));
    }
  }

  void Plan() {
    StepPlan plan = scheduler_->Plan(TimePoint{});
    last_empty_ = plan.empty();
    if (!plan.empty()) {
      uncommitted_.push_back(std::move(plan));
    }
    largest_ = std::max(largest_, policy_->TakeLargestCharge());
    Check();
  }

  void Commit() {
    const StepPlan plan = std::move(uncommitted_.front());
    uncommitted_.erase(uncommitted_.begin());
    StepResult result;
    for (const PlanRow& row : plan.rows) {
      const Sequence& sequence = *row.sequence;
      const bool full = sequence.num_tokens() + 1 == sequence.spec().tokens_max;
      result.rows.push_back({.finished = row.sample && (full || random_.Below(300) == 0)});
    }
    scheduler_->Commit(plan.epoch, result);
  }

  void Check() {
    const uint64_t window = static_cast<uint64_t>(window_units_) * ServicePolicy::kKeyScale;
    const uint64_t bound = window + largest_;
    const std::set<FlowIndex> came = policy_->TakeCameToWait();
    for (uint64_t g = 0; g < loads_.size(); ++g) {
      for (uint64_t i = 0; i < loads_.size(); ++i) {
        if (i == g || !flow(g).backlogged()) {
          continue;
        }
        const bool has_work = flow(i).num_resident > 0 || flow(i).num_eligible > 0;
        if (has_work && flow(i).key > flow(g).key + bound) {
          Fail("lemma", i, g, flow(i).key - flow(g).key, bound);
        }
        crossed_window_ = crossed_window_ || flow(i).key > flow(g).key + window;
        if (i > g) {
          CheckPair(g, i, came, bound);
        }
      }
    }
    if (policy_->below_level()) {
      error_ += "lifted below the level of those that wait; ";
    }
  }

  void CheckPair(uint64_t g, uint64_t i, const std::set<FlowIndex>& came, uint64_t bound) {
    Since& since = since_[g][i];
    const uint64_t first = ByWeight(g);
    const uint64_t second = ByWeight(i);
    const bool both = flow(i).backlogged();
    if (!both || !since.both || came.contains(static_cast<FlowIndex>(g)) ||
        came.contains(static_cast<FlowIndex>(i))) {
      since = {.both = both, .first = first, .second = second};
      return;
    }
    const int64_t gap =
        static_cast<int64_t>(first - since.first) - static_cast<int64_t>(second - since.second);
    if (static_cast<uint64_t>(std::abs(gap)) > 2 * bound) {
      Fail("theorem", i, g, static_cast<uint64_t>(std::abs(gap)), 2 * bound);
    }
  }

  uint64_t ByWeight(uint64_t t) const {
    return flow(t).service_units * ServicePolicy::kKeyScale / static_cast<uint64_t>(flow(t).weight);
  }

  void Fail(const char* what, uint64_t i, uint64_t g, uint64_t gap, uint64_t bound) {
    error_ += std::string(what) + ": flows " + std::to_string(i) + " and " + std::to_string(g) +
              " differ by " + std::to_string(gap) + ", bound " + std::to_string(bound) + "; ";
  }

  SplitMix64 random_;
  int64_t window_units_ = 0;
  size_t in_flight_max_ = 1;
  uint64_t models_ = 1;
  WatchedPolicy* policy_ = nullptr;
  std::unique_ptr<Scheduler> scheduler_;
  std::vector<Load> loads_;
  std::vector<StepPlan> uncommitted_;
  std::vector<std::vector<Since>> since_;
  uint64_t largest_ = 0;
  bool last_empty_ = false;
  bool crossed_window_ = false;
  std::string error_;
};

TEST(FairnessPropertyTest, TheBoundHoldsOnRandomWorkloads) {
  uint64_t preemptions = 0;
  int crossed = 0;
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    FairnessRun run(seed, /*lift_against_active=*/false);
    run.Run(400);
    ASSERT_EQ(run.error(), "") << "seed " << seed;
    preemptions += run.preemptions();
    crossed += run.crossed_window() ? 1 : 0;
  }
  EXPECT_GT(preemptions, 50u) << "the workloads are too easy";
  EXPECT_GT(crossed, 2) << "the workloads are too easy";
}

TEST(FairnessPropertyTest, AWrongLiftBreaksTheBound) {
  int broken = 0;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    FairnessRun run(seed, /*lift_against_active=*/true);
    run.Run(400);
    broken += run.error().empty() ? 0 : 1;
  }
  EXPECT_GT(broken, 4) << "the checks above would not see the mistake";
}

}  // namespace
}  // namespace inferd
