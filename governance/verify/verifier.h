// The whole verification of a log: every leaf hashed, the tree rebuilt and compared with tiles and
// checkpoint, every tenant's chain followed, every admitted request seen to its end.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/digest.h"
#include "base/file_system.h"
#include "base/status.h"
#include "governance/verify/checkpoint.h"
#include "governance/verify/trust_policy.h"

namespace inferd {

// Longest time between leaves of a running log: heartbeats come every minute.
inline constexpr uint64_t kHeartbeatSeconds = 60;
inline constexpr uint64_t kHeartbeatSlackSeconds = 30;

// Something that does not hold. `file` is relative to the shard's folder.
struct Finding {
  enum class Kind : uint8_t { kFile, kLeaf, kChain, kIntent, kCheckpoint, kHeartbeat };
  Kind kind = Kind::kFile;
  std::string shard;
  uint64_t index = 0;  // of the leaf, for all but kFile and kCheckpoint
  std::string file;
  std::string what;
};
std::string ToText(const Finding& finding);

struct VerifyOptions {
  // Parse leaves and follow chains; else hashes alone (fsck).
  bool chains = true;
  // Notes of earlier checkpoints, from witnesses, receipts or archives: each must lie on the way.
  std::vector<std::string> earlier_notes;
  // Called about every second's work with leaves done and leaves in all.
  std::function<void(uint64_t done, uint64_t total)> progress;
};

inline constexpr size_t kFindingsMax = 1000;

// What verification found. Sound if `problems` is empty; warnings are for a person to read.
struct VerifyReport {
  struct Shard {
    std::string name;
    Checkpoint checkpoint;
    // The largest tree that the policy's quorum stands behind, and how many cosigned it; leaves
    // after it are signed by the log alone. The checkpoint's where no witness is asked for.
    uint64_t witnessed_size = 0;
    size_t num_witnesses = 0;
    bool frozen = false;
  };
  std::vector<Shard> shards;
  uint64_t num_leaves = 0;
  std::map<std::string, uint64_t> leaves_by_type;
  std::map<std::string, uint64_t> leaves_by_tenant;
  uint64_t open_intents = 0;  // admitted, without an end yet
  uint64_t num_problems = 0;  // `problems` holds the first kFindingsMax
  std::vector<Finding> problems;
  std::vector<Finding> warnings;  // the first kFindingsMax
};

// Verifies the shards in `log_folder` (the folder `log/` of a node) in their order. A Status only
// for what keeps it from starting: no shard, no permission.
StatusOr<VerifyReport> VerifyLog(FileSystem& files,
                                 const std::string& log_folder,
                                 const TrustPolicy& policy,
                                 const VerifyOptions& options);

}  // namespace inferd
