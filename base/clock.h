// Time as a seam: production reads the system, tests set it.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string_view>

namespace inferd {

using Duration = std::chrono::nanoseconds;
// A point on the monotonic clock. Only differences mean anything.
using TimePoint = std::chrono::time_point<std::chrono::steady_clock, Duration>;
// A point of civil time (UTC), for records and logs; it may jump.
using WallTime = std::chrono::time_point<std::chrono::system_clock, Duration>;

// What the kernel says of the wall clock: does something (NTP, PTP) keep it right?
struct ClockSync {
  enum class State : uint8_t { kUnknown, kSynchronized, kUnsynchronized };
  State state = State::kUnknown;
  Duration offset{};     // last measured
  Duration error_max{};  // the kernel's bound, which grows while nothing corrects it
};
// "unknown", "synchronized", "unsynchronized".
std::string_view Name(ClockSync::State state);

// Thread-safe. Rooms that must stay pure (scheduler) take times as arguments instead.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual TimePoint Now() const = 0;
  virtual WallTime WallNow() const = 0;
  virtual ClockSync Sync() const { return {}; }
};

// The process's clock.
const Clock& SystemClock();

// A clock that moves only when told to.
class ManualClock final : public Clock {
 public:
  TimePoint Now() const override { return TimePoint(Duration(nanos_.load())); }
  WallTime WallNow() const override { return WallTime(Duration(nanos_.load())); }
  void Advance(Duration by) { nanos_ += by.count(); }
  ClockSync Sync() const override { return sync_; }
  // Before other threads use it.
  void SetSync(const ClockSync& sync) { sync_ = sync; }

 private:
  std::atomic<int64_t> nanos_{0};
  ClockSync sync_;
};

}  // namespace inferd
