// ChainChecker: what must hold between leaves: no tenant's chain has gaps or forks, each admitted
// request ends once, a running log is never silent for long.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/digest.h"
#include "governance/verify/leaf_view.h"

namespace inferd {

// Fed with the leaves of one shard after another, in order. One thread. Also the memory that a
// log's writer recovers: where each chain ends and which requests are open.
class ChainChecker {
 public:
  struct Chain {
    uint64_t next = 0;  // tseq of the next leaf
    Digest last;        // hash of the last leaf
    // False after leaves that could not be read: its next leaf is taken as it is.
    bool known = true;
    uint64_t num_leaves = 0;  // that were read
  };
  using Chains = std::map<std::string, Chain, std::less<>>;
  struct Intent {
    std::string tenant;
    std::string rid;
    std::string reserved;  // quota.res as JSON
  };
  enum class Kind : uint8_t { kLeaf, kChain, kIntent, kHeartbeat };
  using Problem = std::function<void(Kind kind, std::string what)>;

  // An open request, with the shard that its admitted leaf is in.
  struct OpenIntent {
    std::string origin;
    uint64_t index = 0;
    Intent intent;
  };

  // Chains start anew with every shard; open requests go on.
  void StartShard(std::string_view origin);
  // In place of the leaves of a shard so far, and of all shards before: what they led to.
  void Resume(std::string_view origin, Chains chains, const std::vector<OpenIntent>& open);
  // Leaves of unknown content: chains cannot be followed across them.
  void Skip();
  // Calls `problem` for each thing that does not hold and `warning` for what a person should read.
  void Add(uint64_t index,
           std::string_view leaf,
           const Digest& hash,
           const Problem& problem,
           const Problem& warning);

  const Chains& chains() const { return chains_; }
  std::vector<OpenIntent> OpenIntents() const;
  // By place: number of the shard, in the order they were started, and index.
  using Intents = std::map<std::pair<size_t, uint64_t>, Intent>;
  const Intents& open() const { return open_; }
  const std::string& origin(size_t shard) const { return origins_[shard]; }
  bool frozen() const { return frozen_; }
  using Counts = std::map<std::string, uint64_t, std::less<>>;
  Counts by_type() const;
  Counts by_tenant() const;

 private:
  void FollowChain(const LeafView& leaf, const Digest& hash, const Problem& problem);
  void FollowIntent(uint64_t index,
                    const LeafView& leaf,
                    const Problem& problem,
                    const Problem& warning);
  void FollowClock(const LeafView& leaf, const Problem& warning);
  void FollowLog(uint64_t index, const LeafView& leaf, const Problem& problem);

  // The shard that this leaf's `adm` is of; nothing if it was not read.
  std::optional<size_t> ShardOf(const LeafView& leaf) const;

  std::vector<std::string> origins_;
  Chains chains_;
  Intents open_;
  bool skipped_ = false;
  bool frozen_ = false;
  std::string last_boot_;
  std::string last_ts_;
  uint64_t last_mono_ns_ = 0;
  std::array<uint64_t, kNumLeafTypes> by_type_{};
  Counts by_unknown_type_;
  Counts by_tenant_before_;  // of the shards before
};

}  // namespace inferd
