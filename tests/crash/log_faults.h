// The log under crashes: random histories on a file system that loses power, is killed, or fails at
// any call; what was acknowledged is the oracle.
#pragma once

#include <cstdint>
#include <string>

namespace inferd {

struct FaultCounts {
  uint64_t crashes = 0;       // points at which a history was cut
  uint64_t acked = 0;         // leaves acknowledged
  uint64_t lost = 0;          // acknowledged, and not in the log after recovery
  uint64_t index_reuse = 0;   // two leaves acknowledged under one index
  uint64_t open_intents = 0;  // admitted, and without an end right after recovery
  uint64_t inconsistent = 0;  // logs that would not open, or that the verifier finds fault with
  std::string first;          // what was wrong first, with its seed

  bool clean() const {
    return lost == 0 && index_reuse == 0 && open_intents == 0 && inconsistent == 0;
  }
  void Add(const FaultCounts& other);
};

struct FaultOptions {
  bool cut_power = true;          // else the process is killed: the page cache lives on
  bool ignore_sync_data = false;  // fdatasync does nothing
};

// A history of several crashes, drawn from `seed`.
FaultCounts RunCrashes(uint64_t seed, const FaultOptions& options);

// One history, again and again: its call number `call` fails alone, or is the last of the process.
// Returns false behind its last call.
bool RunFault(uint64_t call, bool kill, FaultCounts& counts);

}  // namespace inferd
