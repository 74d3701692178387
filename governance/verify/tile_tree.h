// TileTree: a Merkle tree that grows, as the right edge of its tiles. What is left of the edge lies
// in full tiles, which never change.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/digest.h"
#include "base/status.h"
#include "governance/verify/log_layout.h"

namespace inferd {

// Full tiles of `level` in a tree of `size`.
inline uint64_t FullTiles(uint64_t size, uint32_t level) {
  return (size >> (8 * level)) / kTileWidth;
}

// Width of the edge of `level` in a tree of `size`: 0 where there is none.
inline uint64_t EdgeWidth(uint64_t size, uint32_t level) {
  return (size >> (8 * level)) % kTileWidth;
}

class TileTree {
 public:
  // Gets every tile that becomes full, lower levels first.
  using FullTile =
      std::function<Status(uint32_t level, uint64_t tile, std::span<const Digest> hashes)>;

  // Hashes of the right edge: those of a level that are not in a full tile.
  uint64_t size() const { return size_; }
  std::span<const Digest> Edge(uint32_t level) const { return edge_[level]; }
  // The tile that Edge(level) is the beginning of.
  uint64_t EdgeTile(uint32_t level) const { return FullTiles(size_, level); }

  // Passes on what `full` says; after an error the tree must not be used.
  Status Append(const Digest& leaf_hash, const FullTile& full);

  Digest Root() const;

  // A tree of this size whose edges are `edges`, lowest level first; kDataLoss if their widths do
  // not fit the size.
  static StatusOr<TileTree> From(uint64_t size, std::vector<std::vector<Digest>> edges);

 private:
  uint64_t size_ = 0;
  std::array<std::vector<Digest>, kTileLevelMax + 1> edge_;
};

}  // namespace inferd
