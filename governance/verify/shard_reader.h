// ShardReader: the published files of one shard, from a folder. It trusts nothing but the key:
// whoever reads more than the checkpoint checks it with verifier.h or with a proof.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/file_system.h"
#include "base/status.h"
#include "governance/verify/checkpoint.h"
#include "governance/verify/entry_reader.h"
#include "governance/verify/merkle.h"
#include "governance/verify/tile_tree.h"
#include "governance/verify/trust_policy.h"

namespace inferd {

// One thread.
class ShardReader final : public EntryReader {
 public:
  // `folder` holds the shard's checkpoint and tiles. kNotFound without a checkpoint, kDataLoss or
  // kInvalidArgument if it is not one that a log of the policy signed. The quorum is not asked for.
  static StatusOr<std::unique_ptr<ShardReader>> Open(FileSystem& files,
                                                     std::string folder,
                                                     TrustPolicy policy);

  // The same as of another note than the published one: what recovery knows to be signed.
  static StatusOr<std::unique_ptr<ShardReader>> OpenAt(FileSystem& files,
                                                       std::string folder,
                                                       TrustPolicy policy,
                                                       std::string note);

  const std::string& origin() const override { return opened_.checkpoint.origin; }
  // Reads the checkpoint again.
  StatusOr<uint64_t> Size() override;
  Status Visit(uint64_t first, uint64_t last, const Visitor& visit) override;

  // As of the last Open or Size.
  const SignedCheckpoint& checkpoint() const { return opened_; }
  const std::string& note() const { return note_; }
  const std::string& folder() const { return folder_; }

  // The bundle and the tile as the tree of the checkpoint has them: a partial one, or the beginning
  // of a longer one where the partial one is gone. kDataLoss if neither is there or has that width.
  StatusOr<std::string> ReadBundle(uint64_t bundle);
  StatusOr<std::vector<Digest>> ReadTile(uint32_t level, uint64_t tile);
  // Which file ReadBundle and ReadTile take, if it is there: for messages.
  std::string BundleFile(uint64_t bundle) const;
  std::string TileFile(uint32_t level, uint64_t tile) const;

  // For proofs; keeps the last tile of each level.
  SubtreeHash Hashes();

  // The tree of `size` leaves from its edge's tiles, for a size at most the checkpoint's.
  StatusOr<TileTree> ReadTree(uint64_t size);

 private:
  ShardReader(FileSystem& files, std::string folder, TrustPolicy policy)
      : files_(files), folder_(std::move(folder)), policy_(std::move(policy)) {}
  Status Reload();
  Status Take(std::string note);

  FileSystem& files_;
  std::string folder_;
  TrustPolicy policy_;
  std::string note_;
  SignedCheckpoint opened_;
  std::map<uint32_t, std::pair<uint64_t, std::vector<Digest>>> tiles_;  // by level
};

// Width of bundle or tile number `tile` of `level` in a tree of `size`; 0 beyond the tree.
uint64_t WidthOfTile(uint64_t size, uint32_t level, uint64_t tile);

}  // namespace inferd
