// ChainSnapshot: where every tenant's chain ends and which requests are open, at one size of a
// shard. Derived from leaves: with it recovery reads the leaves behind it, without it all of them.
//
//   state/<shard>/chains    SHA-256 of the rest as 64 hex digits, a newline, one line of JSON
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/digest.h"
#include "base/status.h"
#include "governance/verify/chain_checker.h"

namespace inferd {

inline constexpr std::string_view kChainSnapshotFile = "chains";
inline constexpr uint64_t kChainSnapshotBytesMax = uint64_t{256} << 20;

// Names, rids and amounts stand as they do in leaves: as JSON has them.
struct ChainSnapshot {
  std::string origin;
  uint64_t size = 0;  // leaves that it covers
  Digest root;        // of the tree of that size
  ChainChecker::Chains chains;
  std::vector<ChainChecker::OpenIntent> open;
};

std::string EncodeChainSnapshot(const ChainSnapshot& snapshot);
// kDataLoss for bytes that EncodeChainSnapshot did not write.
StatusOr<ChainSnapshot> ParseChainSnapshot(std::string_view bytes);

}  // namespace inferd
