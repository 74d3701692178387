// What the audit commands share: times, and how far long work has come.
#pragma once

#include <cstdint>
#include <string>

#include "base/clock.h"
#include "client/terminal.h"

namespace inferd {

// "2026-11-21T13:35:22Z".
std::string UtcNow();

// Prints about once a second on a terminal, and a line every ten seconds elsewhere.
class Progress {
 public:
  explicit Progress(Terminal& terminal) : terminal_(terminal), start_(SystemClock().Now()) {}
  ~Progress();
  // `total` 0: not known.
  void Show(uint64_t done, uint64_t total);

 private:
  Terminal& terminal_;
  const TimePoint start_;
  TimePoint last_{};
  bool shown_ = false;
};

}  // namespace inferd
