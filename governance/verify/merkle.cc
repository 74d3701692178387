#include "governance/verify/merkle.h"

#include <openssl/evp.h>

#include <bit>
#include <utility>

#include "base/check.h"

namespace inferd {
namespace {

// One context a thread: making one costs as much as hashing a leaf.
class TreeHasher {
 public:
  TreeHasher() : sha256_(EVP_MD_fetch(nullptr, "SHA256", nullptr)), context_(EVP_MD_CTX_new()) {
    CHECK(sha256_ != nullptr && context_ != nullptr);
    CHECK(EVP_DigestInit_ex2(context_, sha256_, nullptr) == 1);
  }
  ~TreeHasher() {
    EVP_MD_CTX_free(context_);
    EVP_MD_free(sha256_);
  }
  TreeHasher(const TreeHasher&) = delete;
  TreeHasher& operator=(const TreeHasher&) = delete;

  void Start() { CHECK(EVP_DigestInit_ex2(context_, nullptr, nullptr) == 1); }
  void Add(const void* bytes, size_t size) { CHECK(EVP_DigestUpdate(context_, bytes, size) == 1); }
  Digest Finish() {
    Digest digest;
    CHECK(EVP_DigestFinal_ex(context_, digest.bytes.data(), nullptr) == 1);
    return digest;
  }

 private:
  EVP_MD* sha256_;
  EVP_MD_CTX* context_;
};

TreeHasher& ThreadHasher() {
  thread_local TreeHasher hasher;
  return hasher;
}

// Leaves of the left subtree of a tree of `size` > 1: the largest power of two below it.
uint64_t LeftSize(uint64_t size) { return std::bit_floor(size - 1); }

// The hash of leaves [first, first + size), of which `first` is a multiple of bit_ceil(size).
StatusOr<Digest> RangeHash(uint64_t first, uint64_t size, const SubtreeHash& hash) {
  if (std::has_single_bit(size)) {
    const auto level = static_cast<uint32_t>(std::countr_zero(size));
    return hash(level, first >> level);
  }
  const uint64_t left_size = LeftSize(size);
  ASSIGN_OR_RETURN(const Digest left, RangeHash(first, left_size, hash));
  ASSIGN_OR_RETURN(const Digest right, RangeHash(first + left_size, size - left_size, hash));
  return NodeHash(left, right);
}

Status BadProof(const char* what) {
  return ErrorF(StatusCode::kDataLoss, "the proof does not hold: %s", what);
}

// The hashes that a proof combines on the way up, from RFC 9162 sections 2.1.3.2 and 2.1.4.2:
// `index` is the node's, `last` that of the level's last node.
struct Path {
  uint64_t index;
  uint64_t last;
  // Nothing stands to the right of the node, and it is a left child: it moves up unchanged.
  void SkipLonely() {
    while (index % 2 == 0 && index != 0) {
      Up();
    }
  }
  void Up() {
    index /= 2;
    last /= 2;
  }
};

}  // namespace

Digest LeafHash(std::string_view leaf) {
  TreeHasher& hasher = ThreadHasher();
  hasher.Start();
  hasher.Add("\0", 1);
  hasher.Add(leaf.data(), leaf.size());
  return hasher.Finish();
}

Digest NodeHash(const Digest& left, const Digest& right) {
  uint8_t node[65];
  node[0] = 1;
  std::copy(left.bytes.begin(), left.bytes.end(), node + 1);
  std::copy(right.bytes.begin(), right.bytes.end(), node + 33);
  TreeHasher& hasher = ThreadHasher();
  hasher.Start();
  hasher.Add(node, sizeof(node));
  return hasher.Finish();
}

Digest EmptyRoot() {
  TreeHasher& hasher = ThreadHasher();
  hasher.Start();
  return hasher.Finish();
}

StatusOr<MerkleFrontier> MerkleFrontier::From(uint64_t size, std::vector<Digest> roots) {
  if (static_cast<size_t>(std::popcount(size)) != roots.size()) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "a tree of %d leaves has %d perfect subtrees, not %d",
                  size,
                  std::popcount(size),
                  roots.size());
  }
  MerkleFrontier frontier;
  frontier.size_ = size;
  frontier.roots_ = std::move(roots);
  return frontier;
}

void MerkleFrontier::Append(const Digest& leaf_hash) {
  Digest hash = leaf_hash;
  for (uint64_t rest = size_; rest % 2 == 1; rest /= 2) {
    hash = NodeHash(roots_.back(), hash);
    roots_.pop_back();
  }
  roots_.push_back(hash);
  ++size_;
}

Digest MerkleFrontier::Root() const {
  if (roots_.empty()) {
    return EmptyRoot();
  }
  Digest root = roots_.back();
  for (size_t i = roots_.size() - 1; i-- > 0;) {
    root = NodeHash(roots_[i], root);
  }
  return root;
}

Status CheckInclusion(const InclusionClaim& claim, std::span<const Digest> proof) {
  if (claim.index >= claim.size) {
    return ErrorF(
        StatusCode::kInvalidArgument, "leaf %d is not in a tree of %d", claim.index, claim.size);
  }
  Path path{claim.index, claim.size - 1};
  Digest hash = claim.leaf_hash;
  for (const Digest& sibling : proof) {
    if (path.last == 0) {
      return BadProof("it has too many hashes");
    }
    if (path.index % 2 == 1 || path.index == path.last) {
      hash = NodeHash(sibling, hash);
      path.SkipLonely();
    } else {
      hash = NodeHash(hash, sibling);
    }
    path.Up();
  }
  if (path.last != 0) {
    return BadProof("it has too few hashes");
  }
  return hash == claim.root ? OkStatus() : BadProof("it leads to another root");
}

Status CheckConsistency(const ConsistencyClaim& claim, std::span<const Digest> proof) {
  if (claim.size1 == 0 || claim.size1 > claim.size2) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "a tree of %d leaves cannot be shown to be the beginning of one of %d",
                  claim.size1,
                  claim.size2);
  }
  if (claim.size1 == claim.size2) {
    return proof.empty() && claim.root1 == claim.root2
               ? OkStatus()
               : BadProof("trees of one size have other roots, or the proof is not empty");
  }
  Path path{claim.size1 - 1, claim.size2 - 1};
  while (path.index % 2 == 1) {
    path.Up();
  }
  // Where the first tree is perfect, its root starts the proof and need not be in it.
  const bool perfect = std::has_single_bit(claim.size1);
  if (!perfect && proof.empty()) {
    return BadProof("it has too few hashes");
  }
  Digest hash1 = perfect ? claim.root1 : proof.front();
  Digest hash2 = hash1;
  for (const Digest& hash : proof.subspan(perfect ? 0 : 1)) {
    if (path.last == 0) {
      return BadProof("it has too many hashes");
    }
    if (path.index % 2 == 1 || path.index == path.last) {
      hash1 = NodeHash(hash, hash1);
      hash2 = NodeHash(hash, hash2);
      path.SkipLonely();
    } else {
      hash2 = NodeHash(hash2, hash);
    }
    path.Up();
  }
  if (path.last != 0) {
    return BadProof("it has too few hashes");
  }
  return hash1 == claim.root1 && hash2 == claim.root2 ? OkStatus()
                                                      : BadProof("it leads to other roots");
}

StatusOr<std::vector<Digest>> ProveInclusion(uint64_t index,
                                             uint64_t size,
                                             const SubtreeHash& hash) {
  if (index >= size) {
    return ErrorF(StatusCode::kInvalidArgument, "leaf %d is not in a tree of %d", index, size);
  }
  // From the root down; a proof goes from the leaf up.
  std::vector<Digest> proof;
  uint64_t first = 0;
  while (size > 1) {
    const uint64_t left_size = LeftSize(size);
    const bool right = index - first >= left_size;
    ASSIGN_OR_RETURN(const Digest sibling,
                     right ? RangeHash(first, left_size, hash)
                           : RangeHash(first + left_size, size - left_size, hash));
    proof.push_back(sibling);
    first += right ? left_size : 0;
    size = right ? size - left_size : left_size;
  }
  return std::vector<Digest>(proof.rbegin(), proof.rend());
}

StatusOr<std::vector<Digest>> ProveConsistency(uint64_t size1,
                                               uint64_t size2,
                                               const SubtreeHash& hash) {
  if (size1 == 0 || size1 > size2) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "a tree of %d leaves cannot be shown to be the beginning of one of %d",
                  size1,
                  size2);
  }
  std::vector<Digest> proof;
  uint64_t first = 0;
  uint64_t size = size2;
  while (first + size != size1) {
    const uint64_t left_size = LeftSize(size);
    const bool right = size1 - first > left_size;
    ASSIGN_OR_RETURN(const Digest sibling,
                     right ? RangeHash(first, left_size, hash)
                           : RangeHash(first + left_size, size - left_size, hash));
    proof.push_back(sibling);
    first += right ? left_size : 0;
    size = right ? size - left_size : left_size;
  }
  if (first != 0) {
    ASSIGN_OR_RETURN(const Digest shared, RangeHash(first, size, hash));
    proof.push_back(shared);
  }
  return std::vector<Digest>(proof.rbegin(), proof.rend());
}

StatusOr<Digest> RootOf(uint64_t size, const SubtreeHash& hash) {
  return size == 0 ? StatusOr<Digest>(EmptyRoot()) : RangeHash(0, size, hash);
}

}  // namespace inferd
