// ModelGeometry: how much state a sequence of a model needs, in units. Filled by `model`, counted
// by `scheduler`, laid out by `backend`'s devices.
#pragma once

#include <cstdint>
#include <vector>

#include "base/ids.h"

namespace inferd {

enum class StateKind : uint8_t {
  kBlocks,  // KV of kBlockTokens positions a unit
  kSlot,    // a fixed-size recurrent state, one unit a sequence (no model uses it yet)
};

// Layers whose state lives and dies together: full attention, or one window size.
struct StateGroup {
  StateKind kind = StateKind::kBlocks;
  // Positions a query sees, itself included; 0: all. A block is dead once no position that may
  // still be computed can see into it.
  int32_t window = 0;
  // Bytes of one unit over all layers of the group, for memory plans; the device says (backend).
  int64_t unit_bytes = 0;

  friend bool operator==(const StateGroup&, const StateGroup&) = default;

  // The block range [first, last) that a sequence must hold when positions [start, end) are to be
  // computed and everything before `start` is in the cache.
  int64_t FirstLiveBlock(int64_t start) const {
    const int64_t first_seen = window == 0 ? 0 : start - window + 1;
    return first_seen <= 0 ? 0 : first_seen / kBlockTokens;
  }
  static int64_t BlocksFor(int64_t end) { return (end + kBlockTokens - 1) / kBlockTokens; }
};

struct ModelGeometry {
  std::vector<StateGroup> groups;  // the full group, if any, first
  int64_t context_tokens_max = 0;
  int64_t vocab_size = 0;
};

}  // namespace inferd
