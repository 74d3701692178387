// Time as a seam: production reads the system, tests set it.
#pragma once

#include <atomic>
#include <chrono>

namespace inferd {

using Duration = std::chrono::nanoseconds;
// A point on the monotonic clock. Only differences mean anything.
using TimePoint = std::chrono::time_point<std::chrono::steady_clock, Duration>;
// A point of civil time (UTC), for records and logs; it may jump.
using WallTime = std::chrono::time_point<std::chrono::system_clock, Duration>;

// Thread-safe. Rooms that must stay pure (scheduler) take times as arguments instead.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual TimePoint Now() const = 0;
  virtual WallTime WallNow() const = 0;
};

// The process's clock.
const Clock& SystemClock();

// A clock that moves only when told to.
class ManualClock final : public Clock {
 public:
  TimePoint Now() const override { return TimePoint(Duration(nanos_.load())); }
  WallTime WallNow() const override { return WallTime(Duration(nanos_.load())); }
  void Advance(Duration by) { nanos_ += by.count(); }

 private:
  std::atomic<int64_t> nanos_{0};
};

}  // namespace inferd
