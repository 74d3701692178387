#include "governance/verify/chain_checker.h"

#include <algorithm>
#include <utility>

#include "governance/verify/verifier.h"

namespace inferd {
namespace {

constexpr uint64_t kSilenceNsMax = (kHeartbeatSeconds + kHeartbeatSlackSeconds) * 1'000'000'000;

void Count(std::map<std::string, uint64_t, std::less<>>& counts, std::string_view name) {
  const auto found = counts.find(name);
  if (found == counts.end()) {
    counts.emplace(name, 1);
  } else {
    ++found->second;
  }
}

void Assign(std::string& to, std::string_view from) {
  if (to != from) {
    to = from;
  }
}

}  // namespace

void ChainChecker::StartShard(std::string_view origin) {
  origin_ = origin;
  origins_.push_back(origin_);
  chains_.clear();
  skipped_ = false;
  frozen_ = false;
  last_boot_.clear();
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
  Count(by_type_, view->type_name);
  Count(by_tenant_, view->tenant);
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
  chain = {.next = leaf.tseq + 1, .last = hash, .known = true};
}

void ChainChecker::FollowIntent(uint64_t index,
                                const LeafView& leaf,
                                const Problem& problem,
                                const Problem& warning) {
  if (leaf.type == LeafType::kInferenceAdmitted) {
    open_.emplace(std::pair(origin_, index),
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
  const std::string origin(leaf.adm_origin.empty() ? origin_ : leaf.adm_origin);
  const auto found = open_.find({origin, *leaf.adm});
  if (found == open_.end()) {
    if (skipped_ || std::find(origins_.begin(), origins_.end(), origin) == origins_.end()) {
      warning(Kind::kIntent,
              absl::StrFormat("ends leaf %d of %s, which was not read", *leaf.adm, origin));
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
