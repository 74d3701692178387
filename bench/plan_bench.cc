// How long Plan and Commit take with many tenants: 256 running of 64 tenants, 1024 of 512. Beside
// them a control, plain arithmetic for about as long as a plan: its tail is the machine's.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <memory>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/random.h"
#include "bench/statistics.h"
#include "scheduler/scheduler.h"

namespace inferd {
namespace {

using BenchClock = std::chrono::steady_clock;

// Time of this thread on its core: what a plan takes, whoever else uses the machine.
double ThreadMicros() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) / 1e3;
}

// Arithmetic that takes about 70 us, on no memory.
double ControlMicros() {
  constexpr int kRounds = 50'000;
  SplitMix64 random(1);
  uint64_t sum = 0;
  const auto before = BenchClock::now();
  for (int i = 0; i < kRounds; ++i) {
    sum += random.Next();
  }
  const double took = std::chrono::duration<double, std::micro>(BenchClock::now() - before).count();
  CHECK(sum != 0);
  return took;
}

struct Case {
  std::string name;
  int32_t running = 0;
  uint64_t tenants = 0;
};

// Steady overload under the windowed policy with the prefix cache on: every tenant waits, all rows
// decode beside the prefill of those that replace the finished, for which budget and units are
// enough; the rest of the pool is the cache's, always full. The time is of Plan alone; Commit,
// which hashes blocks that were decoded, stands beside it.
class PlanBench {
 public:
  explicit PlanBench(const Case& bench_case)
      : case_(bench_case),
        scheduler_({.step_tokens_max = 4 * bench_case.running,
                    .running_max = bench_case.running,
                    .waiting_max = 1 << 20},
                   MakeWindowedPolicy(8192)),
        model_(*scheduler_.AddModel(
            {.geometry = {.groups = {StateGroup{}}, .context_tokens_max = 8192, .vocab_size = 1000},
             .units = {bench_case.running * int64_t{18}}})),
        queued_(bench_case.tenants, 0) {
    for (uint64_t t = 0; t < case_.tenants; ++t) {
      CHECK(scheduler_.SetTenant(Name(t), {.weight = static_cast<int64_t>(1 + t % 4)}).ok());
    }
  }

  void Run() {
    std::vector<double> plans;
    std::vector<double> commits;
    std::vector<double> running;
    std::vector<double> on_core;
    std::vector<double> controls;
    for (int step = 0; step < 6000; ++step) {
      Refill();
      const double core_before = ThreadMicros();
      const auto before = BenchClock::now();
      const StepPlan plan = scheduler_.Plan(TimePoint{});
      const auto planned = BenchClock::now();
      const double core_planned = ThreadMicros();
      const StepResult result = Compute(plan);
      const auto committing = BenchClock::now();
      scheduler_.Commit(plan.epoch, result);
      const auto committed = BenchClock::now();
      if (step >= 2000) {
        controls.push_back(ControlMicros());
        on_core.push_back(core_planned - core_before);
        running.push_back(static_cast<double>(scheduler_.stats().running));
        plans.push_back(std::chrono::duration<double, std::micro>(planned - before).count());
        commits.push_back(
            std::chrono::duration<double, std::micro>(committed - committing).count());
      }
    }
    const SchedulerStats stats = scheduler_.stats();
    CHECK(Quantile(running, 0.01) >= 0.98 * case_.running);
    std::printf("RESULT plan.p50_us.%s %.1f us\n", case_.name.c_str(), Quantile(plans, 0.5));
    std::printf("RESULT plan.p99_us.%s %.1f us\n", case_.name.c_str(), Quantile(plans, 0.99));
    std::printf("RESULT commit.p99_us.%s %.1f us\n", case_.name.c_str(), Quantile(commits, 0.99));
    std::printf("# %s: on the core p50 %.1f us, p99 %.1f us\n",
                case_.name.c_str(),
                Quantile(on_core, 0.5),
                Quantile(on_core, 0.99));
    std::printf("# %s: the control p50 %.1f us, p99 %.1f us\n",
                case_.name.c_str(),
                Quantile(controls, 0.5),
                Quantile(controls, 0.99));
    std::printf(
        "# %s: %.0f running (1st percentile %.0f), %ld waiting, %lu preemptions, "
        "%lu evictions\n",
        case_.name.c_str(),
        Quantile(running, 0.5),
        Quantile(running, 0.01),
        static_cast<long>(stats.waiting),
        static_cast<unsigned long>(stats.preemptions),
        static_cast<unsigned long>(stats.cache.evictions));
  }

 private:
  static TenantId Name(uint64_t tenant) { return TenantId("tenant" + std::to_string(tenant)); }

  // Two sequences of each tenant wait.
  void Refill() {
    for (uint64_t t = 0; t < case_.tenants; ++t) {
      for (; queued_[t] < 2; ++queued_[t]) {
        auto prompt = std::make_shared<std::vector<TokenId>>(100 + random_.Below(500));
        for (TokenId& token : *prompt) {
          token = static_cast<TokenId>(random_.Below(1000));
        }
        auto prefix = std::make_shared<PromptPrefix>();
        prefix->root.bytes[0] = static_cast<uint8_t>(t);
        prefix->root.bytes[1] = static_cast<uint8_t>(t >> 8);
        prefix->keys = ChainKeys(prefix->root, *prompt);
        const int64_t tokens_max =
            static_cast<int64_t>(prompt->size()) + static_cast<int64_t>(100 + random_.Below(400));
        CHECK(scheduler_
                  .Submit({.model = model_,
                           .tenant = Name(t),
                           .prompt = std::move(prompt),
                           .prefix = std::move(prefix),
                           .tokens_max = tokens_max},
                          TimePoint{})
                  .ok());
      }
    }
  }

  StepResult Compute(const StepPlan& plan) {
    StepResult result;
    result.rows.resize(plan.rows.size());
    for (size_t i = 0; i < plan.rows.size(); ++i) {
      const Sequence& sequence = *plan.rows[i].sequence;
      result.rows[i].token = static_cast<TokenId>(random_.Below(1000));
      result.rows[i].finished =
          plan.rows[i].sample && sequence.num_tokens() + 1 == sequence.spec().tokens_max;
      if (plan.rows[i].start == 0 && sequence.num_preemptions() == 0) {
        --queued_[std::stoul(sequence.spec().tenant.value().substr(6))];
      }
    }
    return result;
  }

  const Case case_;
  Scheduler scheduler_;
  const ModelSlot model_;
  SplitMix64 random_{7};
  std::vector<int> queued_;
};

}  // namespace
}  // namespace inferd

int main() {
  for (const inferd::Case& bench_case :
       {inferd::Case{"256r64t", 256, 64}, inferd::Case{"1024r512t", 1024, 512}}) {
    inferd::PlanBench(bench_case).Run();
  }
  return 0;
}
