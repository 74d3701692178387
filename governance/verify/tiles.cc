#include "governance/verify/tiles.h"

#include <bit>
#include <cstring>

#include "base/check.h"
#include "governance/verify/merkle.h"

namespace inferd {

void AppendEntry(std::string& bundle, std::string_view leaf) {
  CHECK(leaf.size() <= 0xffff);
  bundle.push_back(static_cast<char>(leaf.size() >> 8));
  bundle.push_back(static_cast<char>(leaf.size() & 0xff));
  bundle.append(leaf);
}

StatusOr<std::vector<std::string_view>> ParseBundle(std::string_view bytes, uint64_t width) {
  std::vector<std::string_view> leaves;
  leaves.reserve(width);
  while (!bytes.empty()) {
    if (leaves.size() == width) {
      return ErrorF(StatusCode::kDataLoss, "the bundle goes on after its %d leaves", width);
    }
    if (bytes.size() < 2) {
      return ErrorF(StatusCode::kDataLoss, "the bundle ends in a length");
    }
    const size_t size =
        size_t{static_cast<uint8_t>(bytes[0])} << 8 | static_cast<uint8_t>(bytes[1]);
    bytes.remove_prefix(2);
    if (size > bytes.size()) {
      return ErrorF(StatusCode::kDataLoss,
                    "the bundle ends within its leaf %d: %d bytes of %d",
                    leaves.size(),
                    bytes.size(),
                    size);
    }
    leaves.push_back(bytes.substr(0, size));
    bytes.remove_prefix(size);
  }
  if (leaves.size() != width) {
    return ErrorF(StatusCode::kDataLoss, "the bundle has %d leaves, not %d", leaves.size(), width);
  }
  return leaves;
}

std::string EncodeTile(std::span<const Digest> hashes) {
  std::string bytes;
  bytes.reserve(hashes.size() * kHashBytes);
  for (const Digest& hash : hashes) {
    bytes.append(reinterpret_cast<const char*>(hash.bytes.data()), hash.bytes.size());
  }
  return bytes;
}

StatusOr<std::vector<Digest>> ParseTile(std::string_view bytes, uint64_t width) {
  if (bytes.size() != width * kHashBytes) {
    return ErrorF(StatusCode::kDataLoss,
                  "a tile of %d hashes has %d bytes, this one has %d",
                  width,
                  width * kHashBytes,
                  bytes.size());
  }
  std::vector<Digest> hashes(width);
  for (size_t i = 0; i < width; ++i) {
    std::memcpy(hashes[i].bytes.data(), bytes.data() + i * kHashBytes, kHashBytes);
  }
  return hashes;
}

Digest PerfectRoot(std::span<const Digest> hashes) {
  CHECK(std::has_single_bit(hashes.size()));
  std::vector<Digest> level(hashes.begin(), hashes.end());
  for (size_t size = level.size(); size > 1; size /= 2) {
    for (size_t i = 0; i < size / 2; ++i) {
      level[i] = NodeHash(level[2 * i], level[2 * i + 1]);
    }
  }
  return level[0];
}

}  // namespace inferd
