// Goal: hashes and proofs are those of RFC 6962. Method: published roots, the proof vectors of an
// independent implementation (skipped where they are not beside the checkout), and every proof of
// every small tree made, checked, and spoiled in every hash.
#include "governance/verify/merkle.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "governance/verify/base64.h"
#include "governance/verify/tiles.h"

namespace inferd {
namespace {

constexpr uint64_t kSizeMax = 40;

// A tree kept as its leaf hashes; any subtree by recomputing it.
struct SmallTree {
  std::vector<Digest> leaves;
  explicit SmallTree(uint64_t size) {
    for (uint64_t i = 0; i < size; ++i) {
      leaves.push_back(LeafHash(std::to_string(i)));
    }
  }
  SubtreeHash Hash() const {
    return [this](uint32_t level, uint64_t index) -> StatusOr<Digest> {
      return PerfectRoot(std::span(leaves).subspan(index << level, size_t{1} << level));
    };
  }
  Digest Root(uint64_t size) const {
    MerkleFrontier frontier;
    for (uint64_t i = 0; i < size; ++i) {
      frontier.Append(leaves[i]);
    }
    return frontier.Root();
  }
};

// certificate-transparency-go and the RFC's authors publish these for the leaves below.
TEST(Merkle, PublishedRoots) {
  const std::string leaves[] = {"",
                                std::string(1, '\0'),
                                "\x10",
                                "\x20\x21",
                                "\x30\x31",
                                "\x40\x41\x42\x43",
                                "\x50\x51\x52\x53\x54\x55\x56\x57",
                                "\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f"};
  const char* roots[] = {"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                         "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
                         "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
                         "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
                         "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
                         "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
                         "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
                         "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
                         "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"};
  MerkleFrontier frontier;
  EXPECT_EQ(frontier.Root().Hex(), roots[0]);
  for (size_t i = 0; i < std::size(leaves); ++i) {
    frontier.Append(LeafHash(leaves[i]));
    EXPECT_EQ(frontier.Root().Hex(), roots[i + 1]) << i;
  }
}

TEST(Merkle, EveryInclusionProofOfSmallTrees) {
  const SmallTree tree(kSizeMax);
  for (uint64_t size = 1; size <= kSizeMax; ++size) {
    for (uint64_t index = 0; index < size; ++index) {
      auto proof = ProveInclusion(index, size, tree.Hash());
      ASSERT_TRUE(proof.ok()) << proof.status();
      const InclusionClaim claim{index, size, tree.leaves[index], tree.Root(size)};
      EXPECT_TRUE(CheckInclusion(claim, *proof).ok()) << index << " of " << size;
      for (Digest& hash : *proof) {
        hash.bytes[7] ^= 1;
        EXPECT_FALSE(CheckInclusion(claim, *proof).ok());
        hash.bytes[7] ^= 1;
      }
      proof->push_back(claim.root);
      EXPECT_FALSE(CheckInclusion(claim, *proof).ok());
    }
  }
}

TEST(Merkle, EveryConsistencyProofOfSmallTrees) {
  const SmallTree tree(kSizeMax);
  for (uint64_t size2 = 1; size2 <= kSizeMax; ++size2) {
    for (uint64_t size1 = 1; size1 <= size2; ++size1) {
      auto proof = ProveConsistency(size1, size2, tree.Hash());
      ASSERT_TRUE(proof.ok()) << proof.status();
      const ConsistencyClaim claim{size1, size2, tree.Root(size1), tree.Root(size2)};
      EXPECT_TRUE(CheckConsistency(claim, *proof).ok()) << size1 << " in " << size2;
      for (Digest& hash : *proof) {
        hash.bytes[7] ^= 1;
        EXPECT_FALSE(CheckConsistency(claim, *proof).ok());
        hash.bytes[7] ^= 1;
      }
      proof->push_back(claim.root2);
      EXPECT_FALSE(CheckConsistency(claim, *proof).ok());
    }
  }
}

TEST(Merkle, FrontierFromItsRoots) {
  const SmallTree tree(kSizeMax);
  MerkleFrontier whole;
  for (uint64_t size = 0; size < kSizeMax; ++size) {
    std::vector<Digest> roots;
    uint64_t first = 0;
    for (int level = 63; level >= 0; --level) {
      if ((size >> level & 1) != 0) {
        roots.push_back(*tree.Hash()(static_cast<uint32_t>(level), first >> level));
        first += uint64_t{1} << level;
      }
    }
    const auto frontier = MerkleFrontier::From(size, roots);
    ASSERT_TRUE(frontier.ok()) << frontier.status();
    EXPECT_EQ(frontier->Root(), whole.Root());
    EXPECT_EQ(*RootOf(size, tree.Hash()), whole.Root());
    whole.Append(tree.leaves[size]);
  }
  EXPECT_FALSE(MerkleFrontier::From(3, {Digest()}).ok());
}

// A root of a vector. Two that are equal but shorter than a hash are to be taken for equal.
StatusOr<Digest> VectorHash(const std::string& base64) {
  ASSIGN_OR_RETURN(std::string bytes, DecodeBase64(base64));
  bytes.resize(kHashBytes);
  return DecodeHash(EncodeBase64(bytes));
}

Status CheckVector(const nlohmann::json& json) {
  std::vector<Digest> proof;
  if (json["proof"].is_array()) {
    for (const auto& text : json["proof"]) {
      ASSIGN_OR_RETURN(const Digest hash, DecodeHash(text.get<std::string>()));
      proof.push_back(hash);
    }
  }
  if (json.contains("leafIdx")) {
    InclusionClaim claim{json["leafIdx"], json["treeSize"], {}, {}};
    ASSIGN_OR_RETURN(claim.leaf_hash, DecodeHash(json["leafHash"].get<std::string>()));
    ASSIGN_OR_RETURN(claim.root, DecodeHash(json["root"].get<std::string>()));
    return CheckInclusion(claim, proof);
  }
  ConsistencyClaim claim{json["size1"], json["size2"], {}, {}};
  ASSIGN_OR_RETURN(claim.root1, VectorHash(json["root1"]));
  ASSIGN_OR_RETURN(claim.root2, VectorHash(json["root2"]));
  return CheckConsistency(claim, proof);
}

TEST(Merkle, VectorsOfAnotherImplementation) {
  const std::filesystem::path folder = INFERD_SOURCE_DIR "/../shared/data/merkle";
  if (!std::filesystem::exists(folder)) {
    GTEST_SKIP() << "no vectors of transparency-dev/merkle at " << folder;
  }
  std::map<bool, int> seen;
  int failures = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.path().extension() != ".json") {
      continue;
    }
    std::ifstream file(entry.path());
    const nlohmann::json json = nlohmann::json::parse(file);
    const bool wants_error = json["wantErr"];
    const Status status = CheckVector(json);
    EXPECT_EQ(status.ok(), !wants_error) << entry.path() << ": " << status;
    failures += status.ok() == wants_error ? 1 : 0;
    ++seen[wants_error];
  }
  EXPECT_GE(seen[true] + seen[false], 190);
  EXPECT_GE(seen[false], 10);
  std::printf("RESULT audit.merkle_vector_failures %d count\n", failures);
}

}  // namespace
}  // namespace inferd
