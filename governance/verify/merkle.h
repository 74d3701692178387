// Merkle trees as RFC 6962 section 2.1 hashes them: SHA-256, 0x00 before a leaf, 0x01 before two
// children, the left subtree of every node a power of two of leaves.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "base/digest.h"
#include "base/status.h"

namespace inferd {

// Proofs of trees of at most 2^63 leaves have at most this many hashes.
inline constexpr size_t kProofHashesMax = 64;

// SHA-256(0x00 ‖ leaf). Thread-safe, as all functions here.
Digest LeafHash(std::string_view leaf);
// SHA-256(0x01 ‖ left ‖ right).
Digest NodeHash(const Digest& left, const Digest& right);
// The root of a tree without leaves: SHA-256 of nothing.
Digest EmptyRoot();

// The roots of the perfect subtrees that a tree of some size is made of, largest first: all that is
// needed to append to it. Not thread-safe.
class MerkleFrontier {
 public:
  MerkleFrontier() = default;
  // `roots` are those of the subtrees of `size`'s set bits, highest first. kInvalidArgument if
  // their number differs.
  static StatusOr<MerkleFrontier> From(uint64_t size, std::vector<Digest> roots);

  void Append(const Digest& leaf_hash);
  uint64_t size() const { return size_; }
  Digest Root() const;

 private:
  uint64_t size_ = 0;
  std::vector<Digest> roots_;
};

// Checks that the leaf with this hash is number `index` of the tree of `size` leaves and this root.
// kDataLoss if the proof does not show it.
struct InclusionClaim {
  uint64_t index = 0;
  uint64_t size = 0;
  Digest leaf_hash;
  Digest root;
};
Status CheckInclusion(const InclusionClaim& claim, std::span<const Digest> proof);

// Checks that the tree of `size1` leaves is the beginning of the tree of `size2`. Nothing can be
// shown of an empty tree: size1 = 0 is kInvalidArgument.
struct ConsistencyClaim {
  uint64_t size1 = 0;
  uint64_t size2 = 0;
  Digest root1;
  Digest root2;
};
Status CheckConsistency(const ConsistencyClaim& claim, std::span<const Digest> proof);

// The root of the perfect subtree over leaves [index << level, (index + 1) << level).
using SubtreeHash = std::function<StatusOr<Digest>(uint32_t level, uint64_t index)>;

// The proofs that the above check; kInvalidArgument for an index or size beyond the tree.
StatusOr<std::vector<Digest>> ProveInclusion(uint64_t index,
                                             uint64_t size,
                                             const SubtreeHash& hash);
StatusOr<std::vector<Digest>> ProveConsistency(uint64_t size1,
                                               uint64_t size2,
                                               const SubtreeHash& hash);
// The root of the first `size` leaves.
StatusOr<Digest> RootOf(uint64_t size, const SubtreeHash& hash);

}  // namespace inferd
