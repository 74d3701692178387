// Publisher: durable leaves become bundles, tiles and a signed checkpoint (C2SP tlog-tiles).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file_batch.h"
#include "base/file_system.h"
#include "base/status.h"
#include "governance/verify/checkpoint.h"
#include "governance/verify/note.h"
#include "governance/verify/tile_tree.h"

namespace inferd {

// One thread.
class Publisher {
 public:
  struct Options {
    FileSystem* files = nullptr;
    std::string log_folder;    // log/<shard>
    std::string state_folder;  // state/<shard>
    std::string origin;
    const NoteSigner* signer = nullptr;
  };
  // Goes on with `tree`, whose files and whose leaves in the unfinished bundle (`tail`: the
  // bundle's bytes so far) are durable.
  Publisher(Options options, TileTree tree, std::string tail);

  // Adds leaves to the tree. Files may be written; nothing is promised before Publish().
  Status Add(std::string_view leaf, const Digest& hash);

  // Makes all files durable, then signs and keeps the checkpoint as `signed`, then publishes it. In
  // this order: what was signed is never more than what is on the device, and what was published
  // never more than what recovery knows to be signed. Nothing to do if nothing was added.
  Status Publish();

  // Publishes the last note with more signatures (verify/witness.h: AddCosignatures). OK without
  // effect if a newer checkpoint is published already; kInvalidArgument for another text.
  Status PublishCosigned(const std::string& note);

  const TileTree& tree() const { return tree_; }
  // As last published.
  const std::string& note() const { return note_; }

  // While recovering: a full tile or bundle that is there already must have these bytes; kDataLoss
  // if not.
  void CompareWithExisting(bool compare) { compare_ = compare; }

 private:
  Status PutFull(const std::string& path, std::string bytes);
  Status PutEdges();
  void RemovePartials();

  Options options_;
  TileTree tree_;
  std::string bundle_;  // bytes of the unfinished bundle
  FileBatch batch_;
  std::vector<std::string> finished_;  // full files whose partial ones can go
  uint64_t published_size_;
  bool published_once_ = false;
  bool compare_ = false;
  std::string note_;
};

}  // namespace inferd
