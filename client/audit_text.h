// What the audit commands share: times, and how far long work has come.
#pragma once

#include <cstdint>
#include <string>

#include "base/clock.h"
#include "client/terminal.h"

namespace inferd {

// "2026-11-21T13:35:22Z".
std::string UtcNow();

// Prints about once a second on a terminal, and a line every ten seconds elsewhere; of what takes
// less, nothing elsewhere.
class Progress {
 public:
  enum class Unit : uint8_t { kRecords, kBytes };
  explicit Progress(Terminal& terminal, Unit unit = Unit::kRecords);
  ~Progress();
  // `total` 0: not known.
  void Show(uint64_t done, uint64_t total);

 private:
  std::string Text(uint64_t done, uint64_t total, TimePoint now) const;

  Terminal& terminal_;
  const Unit unit_;
  const TimePoint start_;
  TimePoint last_;
  bool shown_ = false;
};

}  // namespace inferd
