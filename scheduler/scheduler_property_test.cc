// Scheduler under random workloads: after every call its invariants hold, every row of a plan
// reads exactly what its own tokens would have left there, and everything submitted ends.
//
// A shadow of device memory stands in for the device: a cell for each position of each block says
// for which trust domain and after which tokens it was written; a slot holds one cell. Steps run in
// the order they were planned. Prompts share beginnings, within domains and across them.
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>
#include <tuple>

#include "base/random.h"
#include "scheduler/scheduler.h"

namespace inferd {
namespace {

struct Cell {
  uint64_t domain = 0;
  int64_t position = -1;
  uint64_t history = 0;  // of the tokens up to this position
  bool operator==(const Cell&) const = default;
};

constexpr uint64_t kDomains = 3;

struct Workload {
  SchedulerOptions options;
  std::vector<ModelGeometry> geometries;
  std::vector<std::vector<int64_t>> units;
  int submits = 0;
  bool with_cancels = false;
  bool with_pauses = false;
  bool with_deadlines = false;
  int32_t chunk_grid = 1;
};

Workload RandomWorkload(SplitMix64& random) {
  Workload workload;
  workload.options = {.step_tokens_max = static_cast<int32_t>(64 + random.Below(300)),
                      .running_max = static_cast<int32_t>(1 + random.Below(12)),
                      .waiting_max = 64,
                      .model_steps_max = static_cast<int32_t>(1 + random.Below(8))};
  workload.chunk_grid = random.Below(3) == 0 ? kBlockTokens : 1;
  const uint64_t models = 1 + random.Below(3);
  for (uint64_t m = 0; m < models; ++m) {
    ModelGeometry geometry{.groups = {}, .context_tokens_max = 2048, .vocab_size = 1000};
    std::vector<int64_t> units;
    if (random.Below(4) != 0) {
      geometry.groups.push_back({});
      units.push_back(static_cast<int64_t>(2 + random.Below(9)));
    }
    if (geometry.groups.empty() || random.Below(2) == 0) {
      geometry.groups.push_back({.window = static_cast<int32_t>(1 + random.Below(300))});
      units.push_back(static_cast<int64_t>(2 + random.Below(6)));
    }
    if (random.Below(3) == 0) {
      geometry.groups.push_back({.kind = StateKind::kSlot});
      units.push_back(static_cast<int64_t>(1 + random.Below(16)));
    }
    workload.geometries.push_back(std::move(geometry));
    workload.units.push_back(std::move(units));
  }
  workload.submits = static_cast<int>(5 + random.Below(40));
  workload.with_cancels = random.Below(2) == 0;
  workload.with_pauses = random.Below(2) == 0;
  workload.with_deadlines = random.Below(3) == 0;
  return workload;
}

// Runs one workload to its end and checks as it goes.
class Simulation {
 public:
  explicit Simulation(uint64_t seed)
      : random_(seed), workload_(RandomWorkload(random_)), scheduler_(workload_.options) {
    for (size_t m = 0; m < workload_.geometries.size(); ++m) {
      EXPECT_TRUE(scheduler_
                      .AddModel({.geometry = workload_.geometries[m],
                                 .units = workload_.units[m],
                                 .chunk_grid = workload_.chunk_grid})
                      .ok());
    }
  }

  void Run() {
    int calls = 0;
    while (submitted_ < workload_.submits || !scheduler_.idle()) {
      ASSERT_LT(++calls, 100'000) << "the workload does not drain";
      RandomCall();
      if (::testing::Test::HasFatalFailure()) {
        return;
      }
      const Status integrity = scheduler_.CheckIntegrity();
      ASSERT_TRUE(integrity.ok()) << integrity;
    }
    EXPECT_EQ(scheduler_.stats().blocks_used, 0);
    EXPECT_EQ(scheduler_.stats().running + scheduler_.stats().waiting, 0);
    for (const auto& [id, end] : ends_) {
      EXPECT_TRUE(end != "") << "sequence " << id.value() << " vanished";
    }
  }

  const std::string& log() const { return log_; }
  uint64_t preemptions() const { return scheduler_.stats().preemptions; }
  int64_t cached_tokens() const { return cached_tokens_; }
  uint64_t copies() const { return copies_; }

 private:
  using BlockKey = std::tuple<uint32_t, size_t, BlockIndex>;  // {model, group, block}
  struct InUse {  // what a step in flight reads and writes, and for whom
    uint64_t epoch;
    std::multimap<BlockKey, SequenceId> blocks;
  };

  void RandomCall() {
    now_ += std::chrono::milliseconds(random_.Below(5));
    const uint64_t call = random_.Below(20);
    if (call < 3 && submitted_ < workload_.submits) {
      Submit();
    } else if (call == 3 && workload_.with_cancels) {
      Cancel();
    } else if (call < 6 && workload_.with_pauses) {
      PauseOrResume();
    } else if (in_flight_.size() == Scheduler::kInFlightMax || (call < 10 && !in_flight_.empty())) {
      Commit();
    } else {
      Plan();
    }
  }

  void Submit() {
    const size_t model = random_.Below(workload_.geometries.size());
    const int64_t limit =
        std::min<int64_t>(500, TokensMaxFor(workload_.geometries[model], workload_.units[model]));
    const int64_t tokens_max =
        2 + static_cast<int64_t>(random_.Below(static_cast<uint64_t>(limit - 1)));
    const int64_t prompt =
        1 + static_cast<int64_t>(random_.Below(static_cast<uint64_t>(tokens_max - 1)));
    auto tokens = std::make_shared<std::vector<TokenId>>();
    const int64_t shared = static_cast<int64_t>(64 * random_.Below(5));  // with its kind
    const TokenId kind = static_cast<TokenId>(random_.Below(2));
    for (int64_t i = 0; i < prompt; ++i) {
      tokens->push_back(i < shared ? kind : static_cast<TokenId>(random_.Below(1000)));
    }
    const uint64_t domain = 1 + random_.Below(kDomains);
    SequenceSpec spec{.model = ModelSlot(static_cast<uint32_t>(model)),
                      .tenant = TenantId(std::to_string(domain)),
                      .prompt = std::move(tokens),
                      .tokens_max = tokens_max};
    if (random_.Below(5) != 0) {
      auto prefix = std::make_shared<PromptPrefix>();
      prefix->root.bytes[0] = static_cast<uint8_t>(domain);
      prefix->keys = ChainKeys(prefix->root, *spec.prompt);
      prefix->boundaries = {shared};
      spec.prefix = std::move(prefix);
    }
    if (workload_.with_deadlines && random_.Below(2) == 0) {
      spec.deadline = now_ + std::chrono::milliseconds(random_.Below(400));
    }
    const StatusOr<SequenceId> id = scheduler_.Submit(std::move(spec), now_);
    ASSERT_TRUE(id.ok()) << id.status();
    ends_[*id] = "";
    domains_[*id] = domain;
    ++submitted_;
  }

  SequenceId AnyId() {
    return SequenceId(1 + random_.Below(static_cast<uint64_t>(submitted_) + 1));
  }

  void Cancel() {
    const SequenceId id = AnyId();
    if (scheduler_.Find(id) != nullptr) {
      ends_[id] = "cancelled";
    }
    scheduler_.Cancel(id);
    EXPECT_EQ(scheduler_.Find(id), nullptr);
  }

  void PauseOrResume() {
    const SequenceId id = AnyId();
    // When all is submitted, everything resumes, or the workload would not drain.
    if (submitted_ < workload_.submits && random_.Below(2) == 0) {
      scheduler_.Pause(id);
      paused_.insert(id);
      return;
    }
    for (const SequenceId paused : paused_) {
      scheduler_.Resume(paused);
    }
    paused_.clear();
  }

  void Plan() {
    const StepPlan plan = scheduler_.Plan(now_);
    for (const Ended& ended : plan.ended) {
      ASSERT_EQ(ends_[ended.id], "");
      ends_[ended.id] = "expired";
    }
    for (const SequenceId id : plan.preempted) {
      preempted_.insert(id);
    }
    if (plan.empty()) {
      return;
    }
    int32_t n_tokens = 0;
    std::optional<SequenceId> first_fresh;
    in_use_.push_back({.epoch = plan.epoch, .blocks = {}});
    Copy(plan, plan.copies_before);
    for (const PlanRow& row : plan.rows) {
      n_tokens += row.n_tokens;
      ASSERT_EQ(row.sequence->spec().model, plan.model);
      CheckOrder(row, first_fresh);
      CheckRow(row);
      log_ += std::to_string(row.sequence->id().value()) + ":" + std::to_string(row.start) + "+" +
              std::to_string(row.n_tokens) + " ";
    }
    log_ += "/ ";
    for (const PlanRow& row : plan.rows) {
      Write(row);
    }
    Copy(plan, plan.copies_after);
    ASSERT_EQ(n_tokens, plan.n_tokens);
    ASSERT_LE(n_tokens, workload_.options.step_tokens_max);
    ASSERT_LE(static_cast<int32_t>(plan.rows.size()), workload_.options.running_max);
    in_flight_.push_back(plan);
  }

  // A new sequence starts only when no older, unpaused one of its model waits.
  void CheckOrder(const PlanRow& row, std::optional<SequenceId>& last_fresh) {
    const SequenceId id = row.sequence->id();
    ASSERT_FALSE(row.sequence->paused());
    ASSERT_EQ(ends_[id], "") << "a grant after the end";
    if (started_.insert(id).second) {
      ASSERT_EQ(row.start, row.sequence->num_cached_tokens());
      cached_tokens_ += row.start;
      ASSERT_TRUE(!last_fresh.has_value() || *last_fresh < id);
      last_fresh = id;
      for (const auto& [other, end] : ends_) {
        const Sequence* sequence = scheduler_.Find(other);
        if (sequence == nullptr || sequence->paused() ||
            sequence->spec().model != row.sequence->spec().model) {
          continue;
        }
        ASSERT_FALSE(other < id && !started_.contains(other) &&
                     sequence->state() == SequenceState::kWaiting)
            << other.value() << " was overtaken by " << id.value();
        ASSERT_FALSE(preempted_.contains(other) && sequence->state() == SequenceState::kWaiting)
            << "preempted " << other.value() << " was overtaken by " << id.value();
      }
    }
    preempted_.erase(id);
  }

  // The row follows what is computed, and every cell that it can see is its own.
  void CheckRow(const PlanRow& row) {
    const Sequence& sequence = *row.sequence;
    ASSERT_GT(row.n_tokens, 0);
    ASSERT_EQ(row.start + row.n_tokens, sequence.num_computed());
    ASSERT_EQ(row.sample, sequence.num_computed() == sequence.num_tokens());
    if (workload_.chunk_grid > 1 && !row.sample) {  // a checkpoint is on the grid, too
      ASSERT_EQ(sequence.num_computed() % kBlockTokens, 0);
    }
    const uint32_t model = sequence.spec().model.value();
    const ModelGeometry& geometry = workload_.geometries[model];
    for (size_t g = 0; g < geometry.groups.size(); ++g) {
      const std::span<const BlockIndex> table = sequence.block_table(g);
      if (geometry.groups[g].kind == StateKind::kSlot) {
        ASSERT_EQ(table.size(), 1u);
        const std::vector<Cell>& slot = memory_[{model, g, table[0]}];
        ASSERT_TRUE(row.start == 0 ||
                    (slot.size() == 1 && slot[0] == CellOf(sequence, row.start - 1)))
            << "sequence " << sequence.id().value() << " goes on from a wrong slot";
        continue;
      }
      const int32_t window = geometry.groups[g].window;
      const int64_t end = row.start + row.n_tokens;
      int64_t p = window == 0 ? 0 : std::max<int64_t>(0, row.start - window + 1);
      while (p < end) {
        const size_t index = static_cast<size_t>(p / kBlockTokens);
        ASSERT_LT(index, table.size());
        ASSERT_NE(table[index], kNoBlock);
        const BlockKey key{model, g, table[index]};
        ASSERT_NO_FATAL_FAILURE(
            CheckUse(sequence, key, (static_cast<int64_t>(index) + 1) * kBlockTokens > row.start));
        const std::vector<Cell>& cells = memory_[key];
        const int64_t block_end = std::min(end, (p / kBlockTokens + 1) * kBlockTokens);
        for (; p < block_end; ++p) {
          ASSERT_TRUE(p >= row.start ||
                      cells[static_cast<size_t>(p % kBlockTokens)] == CellOf(sequence, p))
              << "sequence " << sequence.id().value() << " position " << p;
        }
      }
    }
  }

  // What the device writes for a position.
  Cell CellOf(const Sequence& sequence, int64_t position) {
    std::vector<uint64_t>& history = histories_[sequence.id()];
    for (int64_t p = static_cast<int64_t>(history.size()); p <= position; ++p) {
      const uint64_t before = p == 0 ? 1 : history.back();
      history.push_back(SplitMix64(before * 31 + static_cast<uint64_t>(sequence.token(p))).Next());
    }
    return {domains_[sequence.id()], position, history[static_cast<size_t>(position)]};
  }

  // A step in flight that uses a block which this row writes does so for the same sequence.
  void CheckUse(const Sequence& sequence, const BlockKey& key, bool written) {
    for (const InUse& step : in_use_) {
      const auto [first, last] = step.blocks.equal_range(key);
      for (auto it = first; it != last && written; ++it) {
        ASSERT_EQ(it->second, sequence.id()) << "a block that a step reads is written";
      }
    }
    in_use_.back().blocks.emplace(key, sequence.id());
  }

  void Copy(const StepPlan& plan, const std::vector<StateCopy>& copies) {
    for (const StateCopy& copy : copies) {
      memory_[{plan.model.value(), copy.group, copy.to}] =
          memory_[{plan.model.value(), copy.group, copy.from}];
    }
    copies_ += copies.size();
  }

  void Write(const PlanRow& row) {
    const Sequence& sequence = *row.sequence;
    const uint32_t model = sequence.spec().model.value();
    for (size_t g = 0; g < workload_.geometries[model].groups.size(); ++g) {
      if (workload_.geometries[model].groups[g].kind == StateKind::kSlot) {
        memory_[{model, g, sequence.block_table(g)[0]}] = {
            CellOf(sequence, row.start + row.n_tokens - 1)};
        continue;
      }
      for (int64_t p = row.start; p < row.start + row.n_tokens; ++p) {
        const BlockIndex block = sequence.block_table(g)[static_cast<size_t>(p / kBlockTokens)];
        std::vector<Cell>& cells = memory_[{model, g, block}];
        cells.resize(kBlockTokens);
        cells[static_cast<size_t>(p % kBlockTokens)] = CellOf(sequence, p);
      }
    }
  }

  void Commit() {
    const StepPlan plan = std::move(in_flight_.front());
    in_flight_.erase(in_flight_.begin());
    StepResult result;
    for (const PlanRow& row : plan.rows) {
      const bool live = scheduler_.Find(row.sequence->id()) != nullptr;
      const bool full = row.sequence->num_tokens() + 1 == row.sequence->spec().tokens_max;
      const bool finished = row.sample && live && (full || random_.Below(300) == 0);
      result.rows.push_back(
          {.token = static_cast<TokenId>(random_.Below(1000)), .finished = finished});
      if (finished) {
        ends_[row.sequence->id()] = "finished";
      }
    }
    scheduler_.Commit(plan.epoch, result);
    std::erase_if(in_use_, [&](const InUse& step) { return step.epoch == plan.epoch; });
  }

  SplitMix64 random_;
  const Workload workload_;
  Scheduler scheduler_;
  TimePoint now_{};
  int submitted_ = 0;
  std::vector<StepPlan> in_flight_;
  std::map<SequenceId, std::string> ends_;
  std::map<SequenceId, uint64_t> domains_;
  std::map<SequenceId, std::vector<uint64_t>> histories_;
  int64_t cached_tokens_ = 0;
  uint64_t copies_ = 0;
  std::set<SequenceId> started_, preempted_, paused_;
  std::map<BlockKey, std::vector<Cell>> memory_;
  std::vector<InUse> in_use_;
  std::string log_;
};

TEST(SchedulerPropertyTest, RandomWorkloadsKeepEveryInvariantAndDrain) {
  uint64_t preemptions = 0;
  int64_t cached_tokens = 0;
  uint64_t copies = 0;
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Simulation simulation(seed);
    simulation.Run();
    if (HasFailure()) {
      return;
    }
    preemptions += simulation.preemptions();
    cached_tokens += simulation.cached_tokens();
    copies += simulation.copies();
  }
  EXPECT_GT(preemptions, 30u);  // the pools are small enough to matter
  EXPECT_GT(cached_tokens, 1000);
  EXPECT_GT(copies, 50u);
}

TEST(SchedulerPropertyTest, SameCallsGiveSamePlans) {
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    Simulation first(seed);
    first.Run();
    Simulation second(seed);
    second.Run();
    EXPECT_EQ(first.log(), second.log()) << "seed " << seed;
    EXPECT_FALSE(first.log().empty());
  }
}

}  // namespace
}  // namespace inferd
