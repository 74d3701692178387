// Every unit of every region runs exactly once, whatever the team's size and whoever sleeps, and
// what the workers wrote is visible when Run returns.
#include "cpu/thread_team.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace inferd {
namespace {

TEST(ThreadTeam, RunsEveryUnitOnce) {
  for (const int threads : {1, 2, 3, 4, 8}) {
    ThreadTeam team(threads);
    EXPECT_EQ(team.size(), threads);
    for (const int64_t units : {0, 1, 2, 3, 7, 64, 1000}) {
      std::vector<int> runs(static_cast<size_t>(units), 0);  // plain ints: a data race would show
      team.Run(units, [&](int worker, int64_t unit) {
        ASSERT_GE(worker, 0);
        ASSERT_LT(worker, threads);
        runs[static_cast<size_t>(unit)] += 1;
      });
      for (const int count : runs) {
        ASSERT_EQ(count, 1) << threads << " threads, " << units << " units";
      }
    }
  }
}

TEST(ThreadTeam, ManyShortRegionsSeeEachOthersWrites) {
  ThreadTeam team(4);
  std::vector<int64_t> values(16, 0);
  constexpr int kRegions = 20000;
  for (int region = 0; region < kRegions; ++region) {
    // Each region reads what another unit wrote in the one before.
    const std::vector<int64_t> before = values;
    team.Run(16, [&](int, int64_t unit) {
      values[static_cast<size_t>(unit)] = before[static_cast<size_t>((unit + 1) % 16)] + 1;
    });
  }
  for (const int64_t value : values) {
    EXPECT_EQ(value, kRegions);
  }
}

TEST(ThreadTeam, WorkersThatFellAsleepComeBack) {
  ThreadTeam team(3);
  for (int round = 0; round < 20; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));  // well past the spin
    std::atomic<int> ran{0};
    std::atomic<int> inside{0};
    team.Run(3, [&](int, int64_t) {
      inside.fetch_add(1);
      // Waits for a second worker, who must therefore have been woken.
      while (inside.load() < 2) {
        std::this_thread::yield();
      }
      ran.fetch_add(1);
    });
    EXPECT_EQ(ran.load(), 3);
  }
}

TEST(ThreadTeam, AWorkerThatIsStuckLeavesTheRestToOthers) {
  ThreadTeam team(2);
  constexpr int kUnits = 64;
  std::atomic<int> done{0};
  std::atomic<bool> stuck{false};
  std::vector<int> owner(kUnits, -1);
  team.Run(kUnits, [&](int worker, int64_t unit) {
    owner[static_cast<size_t>(unit)] = worker;
    if (!stuck.exchange(true)) {  // whoever comes first waits until all else is done
      while (done.load() < kUnits - 1) {
        std::this_thread::yield();
      }
    }
    done.fetch_add(1);
  });
  EXPECT_EQ(done.load(), kUnits);
  const auto of_caller = std::count(owner.begin(), owner.end(), 0);
  EXPECT_TRUE(of_caller == 1 || of_caller == kUnits - 1) << of_caller;
}

TEST(ThreadTeam, DestroysAtOnceWhetherSpinningOrAsleep) {
  for (int i = 0; i < 50; ++i) {
    ThreadTeam team(4);
    if (i % 2 == 0) {
      team.Run(8, [](int, int64_t) {});
    } else {
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
  }
}

}  // namespace
}  // namespace inferd
