// Shards: how a log starts with what its last process left, and how one follows another.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/file_batch.h"
#include "base/log.h"
#include "governance/audit/log_core.h"
#include "governance/quota/usage_fold.h"
#include "governance/verify/checkpoint.h"
#include "governance/verify/leaf_view.h"
#include "governance/verify/merkle.h"
#include "governance/verify/shard_reader.h"
#include "governance/verify/trust_policy.h"

namespace inferd {
namespace {

// Text of a JSON string without its escapes.
std::string Unescape(const std::string& text) {
  const auto json = nlohmann::json::parse('"' + text + '"', nullptr, false);
  return json.is_string() ? json.get<std::string>() : text;
}

// How many requests were open when this shard began.
uint64_t OpenAtGenesis(ShardReader& shard) {
  uint64_t open = 0;
  const Status read = shard.Visit(0, 1, [&open](uint64_t, std::string_view leaf) -> Status {
    ASSIGN_OR_RETURN(const LeafView view, ParseLeaf(leaf));
    const auto json = nlohmann::json::parse(view.detail, nullptr, false);
    open = json.is_object() && json.contains("open") ? json["open"].get<uint64_t>() : 0;
    return OkStatus();
  });
  return read.ok() ? open : 0;
}

Status NothingOlder(ChainChecker&) { return OkStatus(); }

}  // namespace

Status LogCore::Start(RecoverySummary& summary) {
  FileSystem& files = files_;
  const std::string log_root = options_.folder + '/' + std::string(kLogFolder);
  const std::string state_root = options_.folder + '/' + std::string(kStateFolder);
  RETURN_IF_ERROR(CreateFoldersDurably(files, log_root));
  RETURN_IF_ERROR(CreateFoldersDurably(files, state_root));
  ASSIGN_OR_RETURN(lock_, files.Lock(state_root + '/' + std::string(kLockFile)));
  if (const Status filled = files_.Fill(); !filled.ok()) {
    if (filled.code() != StatusCode::kResourceExhausted) {
      return filled;
    }
    Log(LogLevel::kError, "audit: no space for the reserve", {{"folder", state_root}});
  }

  ASSIGN_OR_RETURN(std::set<ShardName> shards, ListShards());
  const ShardName quarter = QuarterOf(options_.clock->WallNow());
  while (!shards.empty()) {
    const ShardName last = *shards.rbegin();
    const ShardPlace place = PlaceOf(options_.folder, options_.name, last);
    // One of them may be missing where the shard was being started when the power went.
    RETURN_IF_ERROR(CreateFoldersDurably(files, place.log_folder));
    RETURN_IF_ERROR(CreateFoldersDurably(files, place.state_folder));
    ChainChecker chains;
    const auto follow_older = [this, &shards](ChainChecker& older) {
      return FollowOlderShards(shards, older);
    };
    auto recovered = RecoverShard(files, place, *options_.signer, follow_older, chains);
    if (!recovered.ok()) {
      return StartAfterConflict(recovered.status(), last, summary);
    }
    if (recovered->publisher->tree().size() == 0) {
      shards.erase(last);  // without genesis: its predecessor is the last, and starts it again
      continue;
    }
    summary.frames = recovered->frames;
    summary.torn_bytes = recovered->torn_bytes;
    summary.snapshot_size = recovered->snapshot_size;
    summary.recovered = summary.frames > 0 || summary.torn_bytes > 0;
    const bool frozen = chains.frozen();
    Continue(last, chains, *std::move(recovered));
    if (frozen) {
      RETURN_IF_ERROR(
          Rotate(std::max(quarter, ShardName{last.year, last.quarter, last.serial + 1})));
    }
    RETURN_IF_ERROR(CloseIntents(chains, summary));
    RETURN_IF_ERROR(CommitLogLeaf(LeafType::kLogMode, {{"state", std::string("open")}}));
    return Publish();
  }
  return StartShard(quarter, {});
}

StatusOr<std::set<ShardName>> LogCore::ListShards() const {
  std::set<ShardName> shards;
  for (const std::string_view root : {kLogFolder, kStateFolder}) {
    ASSIGN_OR_RETURN(const std::vector<std::string> names,
                     options_.files->List(options_.folder + '/' + std::string(root)));
    for (const std::string& text : names) {
      if (const auto name = ShardName::Parse(text); name.ok()) {
        shards.insert(*name);
      }
    }
  }
  return shards;
}

// A shard whose genesis says that requests were open leaves it to older shards to say which.
Status LogCore::FollowOlderShards(const std::set<ShardName>& shards, ChainChecker& chains) const {
  const TrustPolicy policy = TrustPolicy::OfLog(options_.signer->verifier());
  std::vector<std::unique_ptr<ShardReader>> older;
  for (auto shard = shards.rbegin(); std::next(shard) != shards.rend(); ++shard) {
    const ShardPlace place = PlaceOf(options_.folder, options_.name, *shard);
    const auto reader = ShardReader::Open(*options_.files, place.log_folder, policy);
    if (reader.ok() && OpenAtGenesis(**reader) == 0) {
      break;
    }
    const ShardPlace before = PlaceOf(options_.folder, options_.name, *std::next(shard));
    auto previous = ShardReader::Open(*options_.files, before.log_folder, policy);
    if (!previous.ok()) {
      break;  // a shard in conflict, or archived: what was open in it stays open
    }
    older.push_back(*std::move(previous));
  }
  std::reverse(older.begin(), older.end());
  for (const auto& reader : older) {
    chains.StartShard(reader->origin());
    RETURN_IF_ERROR(reader->Visit(
        0, reader->checkpoint().checkpoint.size, [&chains](uint64_t index, std::string_view leaf) {
          chains.Add(index, leaf, LeafHash(leaf), [](auto, auto) {}, [](auto, auto) {});
          return OkStatus();
        }));
  }
  return OkStatus();
}

Status LogCore::StartAfterConflict(const Status& conflict,
                                   const ShardName& last,
                                   RecoverySummary& summary) {
  if (!options_.start_new_shard_after_conflict || conflict.code() != StatusCode::kDataLoss) {
    return conflict;
  }
  summary.conflict = Message(conflict).substr(0, kLeafTextBytesMax);
  return StartShard(std::max(QuarterOf(options_.clock->WallNow()),
                             ShardName{last.year, last.quarter, last.serial + 1}),
                    {{"conflict", summary.conflict}});
}

// Every request that was admitted and has no end gets one.
Status LogCore::CloseIntents(const ChainChecker& chains, RecoverySummary& summary) {
  std::vector<LeafDraft> drafts;
  for (const auto& [origin, index, intent] : chains.OpenIntents()) {
    if (options_.ended_elsewhere.contains(intent.rid)) {
      continue;
    }
    LeafDraft draft;
    draft.type = LeafType::kInferenceAborted;
    draft.tenant = TenantId(Unescape(intent.tenant));
    draft.rid = RequestId(intent.rid);
    draft.outcome.emplace();
    draft.outcome->status = "ABORTED";
    draft.outcome->err = "crash";
    // What was reserved is charged: how much of it was used is not known.
    draft.outcome->settle = AmountsOf(intent.reserved);
    draft.admitted = AuditReceipt{.origin = origin, .index = index, .leaf_hash = {}};
    draft.detail["cause"] = std::string("crash");
    drafts.push_back(std::move(draft));
    if (drafts.size() == options_.group_leaves_max) {
      RETURN_IF_ERROR(CommitDrafts(std::exchange(drafts, {}), nullptr));
    }
    ++summary.closed;
  }
  if (!drafts.empty()) {
    RETURN_IF_ERROR(CommitDrafts(std::move(drafts), nullptr));
  }
  if (!summary.recovered && summary.closed == 0) {
    return OkStatus();
  }
  summary.recovered = true;
  return CommitLogLeaf(
      LeafType::kLogRecovered,
      {{"frames", summary.frames}, {"torn_bytes", summary.torn_bytes}, {"closed", summary.closed}});
}

Status LogCore::StartShard(const ShardName& shard, std::map<std::string, LeafDetail> genesis) {
  FileSystem& files = files_;
  const ShardPlace place = PlaceOf(options_.folder, options_.name, shard);
  RETURN_IF_ERROR(CreateFoldersDurably(files, place.log_folder));
  RETURN_IF_ERROR(CreateFoldersDurably(files, place.state_folder));
  ChainChecker chains;
  ASSIGN_OR_RETURN(RecoveredShard fresh,
                   RecoverShard(files, place, *options_.signer, NothingOlder, chains));
  Continue(shard, chains, std::move(fresh));
  genesis["vkey"] = options_.signer->verifier().VKey();
  RETURN_IF_ERROR(CommitLogLeaf(LeafType::kLogGenesis, std::move(genesis)));
  return Publish();
}

void LogCore::Continue(const ShardName& shard,
                       const ChainChecker& chains,
                       RecoveredShard recovered) {
  MutexLock publishing(publish_mutex_);
  shard_ = shard;
  chains_.clear();
  for (const auto& [tenant, chain] : chains.chains()) {
    chains_[Unescape(tenant)] = chain;
  }
  open_.clear();
  for (ChainChecker::OpenIntent& request : chains.OpenIntents()) {
    open_.emplace(std::pair(std::move(request.origin), request.index), std::move(request.intent));
  }
  snapshot_at_ = recovered.snapshot_size;
  next_index_ = recovered.publisher->tree().size();
  MakeWal(recovered.next_wal_number, recovered.next_group);
  publisher_ = std::move(recovered.publisher);
  MutexLock lock(mutex_);
  origin_ = PlaceOf(options_.folder, options_.name, shard).origin;
}

void LogCore::MakeWal(uint64_t next_number, uint64_t next_group) {
  wal_ = std::make_unique<WalWriter>(
      WalWriter::Options{.files = &files_,
                         .folder = PlaceOf(options_.folder, options_.name, shard_).state_folder,
                         .segment_bytes = options_.segment_bytes,
                         .first_number = next_number,
                         .first_group = next_group});
}

void LogCore::RotateIfDue() {
  const ShardName quarter = QuarterOf(options_.clock->WallNow());
  const bool full = next_index_ >= options_.shard_leaves_max;
  const bool over = ShardName{shard_.year, shard_.quarter, 0} < quarter;
  if (!status().ok() || !(full || over)) {
    return;
  }
  const ShardName next =
      std::max(quarter, ShardName{shard_.year, shard_.quarter, shard_.serial + 1});
  if (!Announced(next)) {
    return;
  }
  const std::string next_origin = PlaceOf(options_.folder, options_.name, next).origin;
  if (CommitLogLeaf(LeafType::kLogFrozen, {{"open", open_.size()}, {"next_origin", next_origin}})
          .ok()) {
    (void)Rotate(next);
  }
}

// Who witnesses the log should know the next shard before this one ends: else a log that goes on
// under another name could be taken for one that stopped. They are waited for, but not for ever.
bool LogCore::Announced(const ShardName& next) {
  if (!options_.on_new_origin) {
    return true;
  }
  const TimePoint now = options_.clock->Now();
  const std::string origin = PlaceOf(options_.folder, options_.name, next).origin;
  {
    MutexLock lock(mutex_);
    if (announced_ == origin) {
      const bool late = now - announced_at_ >= options_.announce_wait_max;
      if (late && !announced_known_) {
        Log(LogLevel::kWarning,
            "audit: no witness has taken the next shard's origin; the shard ends all the same",
            {{"origin", origin}});
      }
      return late || announced_known_;
    }
    announced_ = origin;
    announced_at_ = now;
    announced_known_ = false;
  }
  options_.on_new_origin(
      SignCheckpoint({.origin = origin, .size = 0, .root = EmptyRoot()}, *options_.signer));
  return false;
}

void LogCore::OriginKnown(const std::string& origin) {
  MutexLock lock(mutex_);
  announced_known_ = announced_known_ || origin == announced_;
}

// The shard at hand is frozen: publishes its end, and starts the next one with it.
Status LogCore::Rotate(const ShardName& next) {
  RETURN_IF_ERROR(Publish());
  std::map<std::string, LeafDetail> genesis;
  {
    MutexLock publishing(publish_mutex_);
    genesis["prev_origin"] = origin();
    genesis["prev_size"] = publisher_->tree().size();
    genesis["prev_root"] = publisher_->tree().Root();
    genesis["open"] = open_.size();
  }
  auto open = std::move(open_);
  const Status started = StartShard(next, std::move(genesis));
  open_ = std::move(open);
  snapshot_due_ = true;  // else a start reads the shard before for what is open in it
  return started.ok() ? started : Fail(started);
}

}  // namespace inferd
