#include "cpu/thread_team.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "base/check.h"
#include "base/clock.h"

namespace inferd {
namespace {

constexpr std::chrono::microseconds kSpin{50};

void FutexWait(std::atomic<uint32_t>& word, uint32_t expected) {
  static_assert(sizeof(word) == sizeof(uint32_t));
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, expected, nullptr, nullptr, 0);
}

void FutexWakeAll(std::atomic<uint32_t>& word) {
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, INT32_MAX, nullptr, nullptr, 0);
}

// Spins while `waiting()` for about kSpin; true once it no longer holds.
template <typename Waiting>
bool SpinWhile(const Waiting& waiting) {
  const auto start = SystemClock().Now();
  do {
    for (int i = 0; i < 32; ++i) {
      if (!waiting()) {
        return true;
      }
      __builtin_ia32_pause();
    }
  } while (SystemClock().Now() - start < kSpin);
  return false;
}

}  // namespace

// A region is published by storing its number of units in `unclaimed`; who lowers that by one owns
// a unit. The region's other fields are stable while a claimed unit is unfinished, since the caller
// waits for `finished`; so a worker reads them after its claim, and a worker that wakes late claims
// from whichever region is current. No barrier: a worker that claims nothing holds nobody up.
struct ThreadTeam::Impl {
  // Constant after construction.
  std::vector<std::thread> workers;

  // Written by the caller before `unclaimed` is raised.
  int64_t units = 0;
  const void* context = nullptr;
  Trampoline body = nullptr;

  alignas(64) std::atomic<int64_t> unclaimed{0};
  alignas(64) std::atomic<int64_t> finished{0};
  alignas(64) std::atomic<uint32_t> wake{0};  // futex word, raised to wake sleepers
  std::atomic<int32_t> sleepers{0};
  std::atomic<bool> stopping{false};

  // Runs units of the current region until none is left to claim.
  void Claim(int worker) {
    int64_t left = unclaimed.load(std::memory_order_relaxed);
    while (left > 0) {
      if (unclaimed.compare_exchange_weak(
              left, left - 1, std::memory_order_acquire, std::memory_order_relaxed)) {
        body(context, worker, units - left);
        finished.fetch_add(1, std::memory_order_release);
        left = unclaimed.load(std::memory_order_relaxed);
      }
    }
  }

  bool Idle() const {
    return unclaimed.load(std::memory_order_relaxed) == 0 &&
           !stopping.load(std::memory_order_relaxed);
  }

  void Sleep() {
    const uint32_t seen = wake.load();
    // Sequentially consistent with Wake(): either it sees this sleeper, or this sees its region.
    sleepers.fetch_add(1);
    if (unclaimed.load() == 0 && !stopping.load()) {
      FutexWait(wake, seen);
    }
    sleepers.fetch_sub(1);
  }

  void Wake() {
    if (sleepers.load() > 0) {
      wake.fetch_add(1);
      FutexWakeAll(wake);
    }
  }

  void Work(int worker) {
    while (!stopping.load(std::memory_order_relaxed)) {
      if (SpinWhile([this] { return Idle(); })) {
        Claim(worker);
      } else {
        Sleep();
      }
    }
  }
};

ThreadTeam::ThreadTeam(int threads) : impl_(std::make_unique<Impl>()) {
  CHECK(threads >= 1);
  for (int worker = 1; worker < threads; ++worker) {
    impl_->workers.emplace_back([impl = impl_.get(), worker] { impl->Work(worker); });
  }
}

ThreadTeam::~ThreadTeam() {
  impl_->stopping.store(true);
  impl_->Wake();
  for (std::thread& worker : impl_->workers) {
    worker.join();
  }
}

int ThreadTeam::size() const { return static_cast<int>(impl_->workers.size()) + 1; }

void ThreadTeam::Dispatch(int64_t units, const void* context, Trampoline body) {
  if (units <= 1 || impl_->workers.empty()) {
    for (int64_t unit = 0; unit < units; ++unit) {
      body(context, 0, unit);
    }
    return;
  }
  impl_->units = units;
  impl_->context = context;
  impl_->body = body;
  impl_->finished.store(0, std::memory_order_relaxed);
  impl_->unclaimed.store(units);
  impl_->Wake();
  impl_->Claim(0);
  const auto unfinished = [this, units] {
    return impl_->finished.load(std::memory_order_acquire) != units;
  };
  while (!SpinWhile(unfinished)) {
    std::this_thread::yield();  // a worker that owns a unit was descheduled: give it a core
  }
}

}  // namespace inferd
