// What a crash left of a shard, made whole again: docs/formats/wal.md says the rules.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/file_system.h"
#include "base/status.h"
#include "governance/audit/publisher.h"
#include "governance/verify/chain_checker.h"
#include "governance/verify/log_layout.h"
#include "governance/verify/note.h"

namespace inferd {

// Folders and names of one shard of a node's log.
struct ShardPlace {
  std::string log_folder;
  std::string state_folder;
  std::string origin;
};
ShardPlace PlaceOf(const std::string& root, const std::string& log_name, const ShardName& shard);

// A shard as it goes on: all durable leaves are in its tree and published, its WAL is empty.
struct RecoveredShard {
  std::unique_ptr<Publisher> publisher;
  uint64_t frames = 0;      // leaves that were in the WAL alone
  uint64_t torn_bytes = 0;  // of leaves that no one was told to be durable
  uint64_t next_wal_number = 0;
  uint64_t next_group = 1;
  uint64_t snapshot_size = 0;  // leaves that the snapshot of the chains stood for; 0: there is none
};

using FollowOlder = std::function<Status(ChainChecker& chains)>;

// Brings `chains` to the end of the shard: from the snapshot of the chains if there is one that
// fits, else from `follow_older`, which follows the shards before, and every leaf. kDataLoss,
// starting with ROLLBACK_DETECTED, if the tree on the device is smaller than, or another than, what
// this node signed; kDataLoss for a WAL or leaves that are corrupt. Nothing is changed then.
StatusOr<RecoveredShard> RecoverShard(FileSystem& files,
                                      const ShardPlace& place,
                                      const NoteSigner& signer,
                                      const FollowOlder& follow_older,
                                      ChainChecker& chains);

}  // namespace inferd
