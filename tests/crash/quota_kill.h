// A ledger over a log on a real disk, spent from by 64 threads, its process killed with SIGKILL at
// random points and started again.
#pragma once

#include <cstdint>
#include <string>

namespace inferd {

struct QuotaKillOptions {
  std::string folder;  // made; emptied
  uint64_t points = 20;
  uint64_t seed = 1;
};

struct QuotaKillCounts {
  uint64_t kills = 0;
  uint64_t admitted = 0;      // requests in the log
  uint64_t aborted = 0;       // of them cut off by a kill
  uint64_t overrun = 0;       // tokens beyond the rate in any interval, or beyond the day's budget
  uint64_t difference = 0;    // tokens: folds, ledger and the leaves' own sums
  uint64_t inconsistent = 0;  // starts that failed
  std::string first{};        // what was wrong first
};

// The leaves are the oracle: each admitted one says when it was reserved, on the monotonic clock.
QuotaKillCounts KillSpenders(const QuotaKillOptions& options);

}  // namespace inferd
