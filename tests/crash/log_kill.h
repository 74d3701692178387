// The log on a real disk, its process killed with SIGKILL at random points under load.
#pragma once

#include <cstdint>
#include <string>

#include "tests/crash/log_faults.h"

namespace inferd {

struct KillOptions {
  std::string appender;  // the program inferd_audit_appender
  std::string folder;    // empty; filled and emptied
  uint64_t points = 200;
  uint64_t seed = 1;
};

// What the appender was told to be durable is the oracle.
FaultCounts KillAppenders(const KillOptions& options);

}  // namespace inferd
