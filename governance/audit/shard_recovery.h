// What a crash left of a shard, made whole again: docs/formats/wal.md says the rules.
#pragma once

#include <cstdint>
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
};

// `chains` gets every leaf of the shard. kDataLoss, starting with ROLLBACK_DETECTED, if the tree on
// the device is smaller than, or another than, what this node signed; kDataLoss for a WAL or leaves
// that are corrupt. Nothing is changed then.
StatusOr<RecoveredShard> RecoverShard(FileSystem& files,
                                      const ShardPlace& place,
                                      const NoteSigner& signer,
                                      ChainChecker& chains);

}  // namespace inferd
