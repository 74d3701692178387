#include "governance/verify/chain_checker.h"

#include <algorithm>
#include <utility>

#include "governance/verify/verifier.h"

namespace inferd {
namespace {

constexpr uint64_t kSilenceNsMax = (kHeartbeatSeconds + kHeartbeatSlackSeconds) * 1'000'000'000;

void Assign(std::string& to, std::string_view from) {
  if (to != from) {
    to = from;
  }
}

}  // namespace

void ChainChecker::StartShard(std::string_view origin) {
  origins_.emplace_back(origin);
  by_tenant_before_ = by_tenant();
  chains_.clear();
  skipped_ = false;
  frozen_ = false;
  last_boot_.clear();
}

void ChainChecker::Resume(std::string_view origin,
                          Chains chains,
                          const std::vector<OpenIntent>& open) {
  for (const OpenIntent& request : open) {
    if (request.origin != origin &&
        std::find(origins_.begin(), origins_.end(), request.origin) == origins_.end()) {
      origins_.push_back(request.origin);
    }
  }
  StartShard(origin);
  chains_ = std::move(chains);
  for (const OpenIntent& request : open) {
    const auto shard = std::find(origins_.begin(), origins_.end(), request.origin);
    open_.emplace(std::pair(static_cast<size_t>(shard - origins_.begin()), request.index),
                  request.intent);
  }
}

void ChainChecker::Skip() {
  for (auto& [tenant, chain] : chains_) {
    chain.known = false;
  }
  skipped_ = true;
}

void ChainChecker::Add(uint64_t index,
                       std::string_view leaf,
                       const Digest& hash,
                       const Problem& problem,
                       const Problem& warning) {
  const auto view = ParseLeaf(leaf);
  if (!view.ok()) {
    problem(Kind::kLeaf, std::string(Message(view.status())));
    Skip();
    return;
  }
  if (view->type) {
    ++by_type_[static_cast<size_t>(*view->type)];
  } else {
    ++by_unknown_type_[std::string(view->type_name)];
  }
  FollowLog(index, *view, problem);
  FollowChain(*view, hash, problem);
  FollowIntent(index, *view, problem, warning);
  FollowClock(*view, warning);
}

void ChainChecker::FollowLog(uint64_t index, const LeafView& leaf, const Problem& problem) {
  if ((leaf.type == LeafType::kLogGenesis) != (index == 0)) {
    problem(Kind::kChain,
            index == 0 ? "the first leaf is not log.genesis" : "log.genesis is not the first leaf");
  }
  if (frozen_) {
    problem(Kind::kChain, "a leaf after log.frozen");
  }
  frozen_ = frozen_ || leaf.type == LeafType::kLogFrozen;
}

void ChainChecker::FollowChain(const LeafView& leaf, const Digest& hash, const Problem& problem) {
  auto found = chains_.find(leaf.tenant);
  if (found == chains_.end()) {
    found = chains_.emplace(leaf.tenant, Chain{.last = {}, .known = !skipped_}).first;
  }
  Chain& chain = found->second;
  if (chain.known && leaf.tseq != chain.next) {
    problem(Kind::kChain,
            absl::StrFormat("tenant %s: tseq is %d after %d leaves: %s",
                            leaf.tenant,
                            leaf.tseq,
                            chain.next,
                            leaf.tseq > chain.next ? "leaves are missing" : "the chain forks"));
  } else if (chain.known && leaf.tprev != chain.last) {
    problem(Kind::kChain,
            absl::StrFormat("tenant %s: tprev is not the hash of its leaf before, tseq %d",
                            leaf.tenant,
                            leaf.tseq));
  }
  chain = {.next = leaf.tseq + 1, .last = hash, .known = true, .num_leaves = chain.num_leaves + 1};
}

void ChainChecker::FollowIntent(uint64_t index,
                                const LeafView& leaf,
                                const Problem& problem,
                                const Problem& warning) {
  if (leaf.type == LeafType::kInferenceAdmitted) {
    open_.emplace(std::pair(origins_.size() - 1, index),
                  Intent{.tenant = std::string(leaf.tenant),
                         .rid = std::string(leaf.rid),
                         .reserved = std::string(leaf.reserved)});
    return;
  }
  if (leaf.type != LeafType::kInferenceCompleted && leaf.type != LeafType::kInferenceAborted) {
    return;
  }
  if (!leaf.adm) {
    problem(Kind::kIntent, absl::StrFormat("%s without adm", leaf.type_name));
    return;
  }
  const std::optional<size_t> shard = ShardOf(leaf);
  const auto found = shard ? open_.find({*shard, *leaf.adm}) : open_.end();
  if (found == open_.end()) {
    if (skipped_ || !shard) {
      warning(Kind::kIntent,
              absl::StrFormat("ends leaf %d of %s, which was not read",
                              *leaf.adm,
                              leaf.adm_origin.empty() ? origins_.back() : leaf.adm_origin));
    } else {
      problem(Kind::kIntent,
              absl::StrFormat("ends leaf %d, which is no open request: an orphan, or ended twice",
                              *leaf.adm));
    }
    return;
  }
  if (found->second.rid != leaf.rid || found->second.tenant != leaf.tenant) {
    problem(Kind::kIntent, absl::StrFormat("ends leaf %d of another request", *leaf.adm));
  }
  open_.erase(found);
}

std::optional<size_t> ChainChecker::ShardOf(const LeafView& leaf) const {
  if (leaf.adm_origin.empty()) {
    return origins_.size() - 1;
  }
  const auto found = std::find(origins_.begin(), origins_.end(), leaf.adm_origin);
  return found == origins_.end()
             ? std::nullopt
             : std::optional<size_t>(static_cast<size_t>(found - origins_.begin()));
}

std::vector<ChainChecker::OpenIntent> ChainChecker::OpenIntents() const {
  std::vector<OpenIntent> open;
  for (const auto& [place, intent] : open_) {
    open.push_back({.origin = origins_[place.first], .index = place.second, .intent = intent});
  }
  return open;
}

ChainChecker::Counts ChainChecker::by_type() const {
  Counts counts = by_unknown_type_;
  for (size_t type = 0; type < by_type_.size(); ++type) {
    if (by_type_[type] > 0) {
      counts.emplace(Name(static_cast<LeafType>(type)), by_type_[type]);
    }
  }
  return counts;
}

ChainChecker::Counts ChainChecker::by_tenant() const {
  Counts counts = by_tenant_before_;
  for (const auto& [tenant, chain] : chains_) {
    counts[tenant] += chain.num_leaves;
  }
  return counts;
}

void ChainChecker::FollowClock(const LeafView& leaf, const Problem& warning) {
  if (leaf.boot == last_boot_) {
    const bool starts = leaf.type == LeafType::kLogRecovered || leaf.type == LeafType::kLogMode ||
                        leaf.type == LeafType::kInferenceAborted;
    if (leaf.mono_ns < last_mono_ns_) {
      warning(Kind::kHeartbeat, "the monotonic clock went back");
    } else if (!starts && leaf.mono_ns - last_mono_ns_ > kSilenceNsMax) {
      warning(Kind::kHeartbeat,
              absl::StrFormat("the log was silent for %d s before this leaf",
                              (leaf.mono_ns - last_mono_ns_) / 1'000'000'000));
    }
    if (leaf.ts < last_ts_) {
      warning(Kind::kHeartbeat, "the wall clock went back");
    }
  }
  Assign(last_boot_, leaf.boot);
  Assign(last_ts_, leaf.ts);
  last_mono_ns_ = leaf.mono_ns;
}

}  // namespace inferd
