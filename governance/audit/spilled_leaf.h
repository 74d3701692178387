// Leaves of mode guarded that the log could not take: written to the spill as leaves without a
// place, and given their place when the log takes them after all.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"
#include "governance/audit/leaf.h"

namespace inferd {

// The origin of receipts for leaves that lie in the spill still; their index is the spill's.
inline constexpr std::string_view kSpillOrigin = "spill";

// A draft of a leaf that EncodeLeaf wrote for the spill (LeafChain::origin is kSpillOrigin).
// kDataLoss for other bytes.
StatusOr<LeafDraft> DraftOfSpilled(std::string_view leaf);

// The leaf that draft.spilled becomes: its own bytes but for what the log gives it (ts, mono, boot,
// node, tseq, tprev), `adm` as draft.admitted says, and its first time as d.spilled_ts.
StatusOr<std::string> EncodeSpilled(const LeafDraft& draft, const LeafChain& chain);

}  // namespace inferd
