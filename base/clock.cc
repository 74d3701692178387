#include "base/clock.h"

#include <sys/timex.h>

namespace inferd {
namespace {

class RealClock final : public Clock {
 public:
  TimePoint Now() const override {
    return std::chrono::time_point_cast<Duration>(std::chrono::steady_clock::now());
  }
  WallTime WallNow() const override {
    return std::chrono::time_point_cast<Duration>(std::chrono::system_clock::now());
  }
  ClockSync Sync() const override {
    timex state = {};  // modes 0: read only
    const int result = ntp_adjtime(&state);
    if (result < 0) {
      return {};
    }
    const bool nanos = (state.status & STA_NANO) != 0;
    const bool synchronized = result != TIME_ERROR && (state.status & STA_UNSYNC) == 0;
    return {
        .state = synchronized ? ClockSync::State::kSynchronized : ClockSync::State::kUnsynchronized,
        .offset = nanos ? Duration(state.offset) : std::chrono::microseconds(state.offset),
        .error_max = std::chrono::microseconds(state.maxerror)};
  }
};

}  // namespace

std::string_view Name(ClockSync::State state) {
  constexpr std::string_view kNames[] = {"unknown", "synchronized", "unsynchronized"};
  return kNames[static_cast<size_t>(state)];
}

const Clock& SystemClock() {
  static const RealClock clock;
  return clock;
}

}  // namespace inferd
