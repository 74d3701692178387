// Hash tiles and entry bundles (C2SP tlog-tiles).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/digest.h"
#include "base/status.h"
#include "governance/verify/log_layout.h"

namespace inferd {

inline constexpr size_t kBundleBytesMax = kTileWidth * (2 + 65'535);
inline constexpr size_t kTileBytes = kTileWidth * kHashBytes;

// A leaf after its length as big-endian uint16. CHECKs that it has one.
void AppendEntry(std::string& bundle, std::string_view leaf);

// The leaves of a bundle of exactly `width`, as views of `bytes`. kDataLoss for another number, a
// length beyond the end, or bytes left over.
StatusOr<std::vector<std::string_view>> ParseBundle(std::string_view bytes, uint64_t width);

std::string EncodeTile(std::span<const Digest> hashes);
// kDataLoss unless `bytes` are exactly `width` hashes.
StatusOr<std::vector<Digest>> ParseTile(std::string_view bytes, uint64_t width);

// The root of the perfect tree over hashes whose number is a power of two.
Digest PerfectRoot(std::span<const Digest> hashes);

}  // namespace inferd
