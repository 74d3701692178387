// What an engine tells of itself: counts for metrics, shares of tenants, why a request waits.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "engine/generation.h"

namespace inferd {

// Counters and gauges, read by any thread.
struct EngineStats {
  uint64_t steps = 0;
  uint64_t prompt_tokens = 0;
  uint64_t cached_tokens = 0;  // of prompt_tokens, not computed but found
  uint64_t output_tokens = 0;
  uint64_t preemptions = 0;
  uint64_t swapped_out = 0;  // of preemptions: KV went to the host's memory
  uint64_t swapped_in = 0;
  uint64_t drafted_tokens = 0;   // guessed ahead
  uint64_t accepted_tokens = 0;  // of drafted_tokens, those that came true
  int64_t running = 0;
  int64_t waiting = 0;
  int64_t kv_blocks_used = 0;    // by requests
  int64_t kv_blocks_cached = 0;  // by nobody, but worth keeping
  int64_t kv_blocks_total = 0;
  TimePoint last_step{};  // for health: work queued and no step for long means wedged
};

// A tenant's use of one model. Counters run from the engine's start.
struct TenantLoad {
  ModelSlot model;
  int64_t running = 0;    // choices that hold KV
  int64_t waiting = 0;    // choices that do not, preempted ones included
  int64_t paused = 0;     // of both: their readers are slow
  int64_t kv_blocks = 0;  // held; blocks that choices share count for each
  uint64_t prompt_tokens = 0;
  uint64_t cached_tokens = 0;  // of prompt_tokens
  uint64_t output_tokens = 0;
};

// Where a tenant stands on this device.
struct TenantStanding {
  TenantId tenant;
  int64_t weight = 1;
  uint64_t service_units = 0;  // ever
  // Service by weight beyond the tenant that waits and got least; the fairness order.
  int64_t lead_units = 0;
  bool backlogged = false;   // something of it waits for its turn
  bool over_served = false;  // beyond the window: it gets what nobody else can use
  std::vector<TenantLoad> loads;
};

// What a model holds of the device's memory, which is given out in slabs of kSlabBytes.
inline constexpr int64_t kSlabBytes = int64_t{2} << 20;
struct MemoryUse {
  std::string model;  // "name:version", or the name of one that has no version
  int64_t weight_slabs = 0;
  int64_t kv_slabs = 0;
  friend bool operator==(const MemoryUse&, const MemoryUse&) = default;
};

struct EngineReport {
  EngineStats stats;
  std::vector<MemoryUse> memory;  // by model, in order of loading
  int64_t memory_slabs_max = 0;   // 0: no bound
  int64_t fairness_window_units = 0;
  std::vector<TenantStanding> tenants;  // by id
};

// Why a choice waits, or that it does not.
struct ChoiceReport {
  enum class State : uint8_t {
    kRunning,
    kPaused,      // its reader is slow
    kModel,       // the model is being loaded
    kTenantCap,   // its tenant runs as many choices as it may
    kOwnQueue,    // its tenant's earlier requests come first
    kOthersTurn,  // tenants that got less service by weight come first
    kRoom,        // it is next, when enough KV is free
  };
  struct Ahead {
    TenantId tenant;
    int64_t weight = 1;
    int64_t behind_units = 0;  // service by weight that it got less
    int64_t waiting = 0;       // its choices that never ran
  };
  int32_t choice = 0;
  State state = State::kRunning;
  Duration age{};             // since it was submitted
  int64_t output_tokens = 0;  // so far
  int32_t preemptions = 0;
  int64_t num_before = 0;             // in its tenant's queue
  int64_t units_ahead = 0;            // service until its turn comes
  std::vector<Ahead> ahead;           // the least served first; at most kAheadMax
  int64_t num_ahead = 0;              // all of them
  std::optional<Duration> starts_in;  // a prediction; nothing while no step was measured
  // What its next step needs, of the full state group, and what could be had.
  int64_t blocks_needed = 0;
  int64_t blocks_available = 0;
  static constexpr size_t kAheadMax = 16;
};

struct StreamReport {
  StreamHandle stream = 0;
  std::vector<ChoiceReport> choices;  // those that have not ended
};

}  // namespace inferd
