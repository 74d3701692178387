#include "governance/verify/tile_tree.h"

#include <bit>
#include <optional>

#include "base/check.h"
#include "governance/verify/merkle.h"
#include "governance/verify/tiles.h"

namespace inferd {

Status TileTree::Append(const Digest& leaf_hash, const FullTile& full) {
  ++size_;
  Digest hash = leaf_hash;
  for (uint32_t level = 0; level <= kTileLevelMax; ++level) {
    std::vector<Digest>& edge = edge_[level];
    edge.push_back(hash);
    if (edge.size() < kTileWidth) {
      break;
    }
    CHECK(level < kTileLevelMax);  // 2^64 leaves
    RETURN_IF_ERROR(full(level, EdgeTile(level) - 1, edge));
    hash = PerfectRoot(edge);
    edge.clear();
  }
  return OkStatus();
}

Digest TileTree::Root() const {
  std::optional<Digest> root;
  for (const std::vector<Digest>& edge : edge_) {
    size_t end = edge.size();
    // Perfect subtrees from the right: the lowest set bit of what is left.
    while (end > 0) {
      const size_t width = size_t{1} << std::countr_zero(end);
      end -= width;
      const Digest subtree = PerfectRoot(std::span(edge).subspan(end, width));
      root = root ? NodeHash(subtree, *root) : subtree;
    }
  }
  return root ? *root : EmptyRoot();
}

StatusOr<TileTree> TileTree::From(uint64_t size, std::vector<std::vector<Digest>> edges) {
  TileTree tree;
  tree.size_ = size;
  for (uint32_t level = 0; level <= kTileLevelMax; ++level) {
    if (level < edges.size()) {
      tree.edge_[level] = std::move(edges[level]);
    }
    if (tree.edge_[level].size() != EdgeWidth(size, level)) {
      return ErrorF(StatusCode::kDataLoss,
                    "level %d of a tree of %d leaves has %d hashes at its edge, not %d",
                    level,
                    size,
                    EdgeWidth(size, level),
                    tree.edge_[level].size());
    }
  }
  return tree;
}

}  // namespace inferd
