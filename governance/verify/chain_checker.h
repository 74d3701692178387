// ChainChecker: what must hold between leaves: no tenant's chain has gaps or forks, each admitted
// request ends once, a running log is never silent for long.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
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
    bool known =
        true;  // false after leaves that could not be read: its next leaf is taken as it is
  };
  struct Intent {
    std::string tenant;
    std::string rid;
    std::string reserved;  // quota.res as JSON
  };
  enum class Kind : uint8_t { kLeaf, kChain, kIntent, kHeartbeat };
  using Problem = std::function<void(Kind kind, std::string what)>;

  // Chains start anew with every shard; open requests go on.
  void StartShard(std::string_view origin);
  // Leaves of unknown content: chains cannot be followed across them.
  void Skip();
  // Calls `problem` for each thing that does not hold and `warning` for what a person should read.
  void Add(uint64_t index,
           std::string_view leaf,
           const Digest& hash,
           const Problem& problem,
           const Problem& warning);

  using Chains = std::map<std::string, Chain, std::less<>>;
  const Chains& chains() const { return chains_; }
  // By origin and index.
  using Intents = std::map<std::pair<std::string, uint64_t>, Intent>;
  const Intents& open() const { return open_; }
  bool frozen() const { return frozen_; }
  const std::map<std::string, uint64_t, std::less<>>& by_type() const { return by_type_; }
  const std::map<std::string, uint64_t, std::less<>>& by_tenant() const { return by_tenant_; }

 private:
  void FollowChain(const LeafView& leaf, const Digest& hash, const Problem& problem);
  void FollowIntent(uint64_t index,
                    const LeafView& leaf,
                    const Problem& problem,
                    const Problem& warning);
  void FollowClock(const LeafView& leaf, const Problem& warning);
  void FollowLog(uint64_t index, const LeafView& leaf, const Problem& problem);

  std::string origin_;
  std::vector<std::string> origins_;
  Chains chains_;
  Intents open_;
  bool skipped_ = false;
  bool frozen_ = false;
  std::string last_boot_;
  std::string last_ts_;
  uint64_t last_mono_ns_ = 0;
  std::map<std::string, uint64_t, std::less<>> by_type_;
  std::map<std::string, uint64_t, std::less<>> by_tenant_;
};

}  // namespace inferd
