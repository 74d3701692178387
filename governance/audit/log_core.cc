#include "governance/audit/log_core.h"

#include <openssl/rand.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <fstream>
#include <utility>

#include "base/check.h"
#include "base/file_batch.h"
#include "base/log.h"
#include "base/ulid.h"
#include "governance/audit/canonical_json.h"
#include "governance/verify/leaf_view.h"
#include "governance/verify/merkle.h"

namespace inferd {
namespace {

bool IsAdministrative(LeafType type) {
  const std::string_view name = Name(type);
  return !name.starts_with("inference.") && !name.starts_with("egress.") &&
         type != LeafType::kDeniedSummary;
}

}  // namespace

ShardName QuarterOf(WallTime time) {
  const std::time_t seconds =
      std::chrono::floor<std::chrono::seconds>(time).time_since_epoch().count();
  std::tm utc = {};
  gmtime_r(&seconds, &utc);
  return {.year = static_cast<uint32_t>(utc.tm_year + 1900),
          .quarter = static_cast<uint32_t>(utc.tm_mon / 3 + 1),
          .serial = 0};
}

std::string ReadBootId() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  std::getline(file, id);
  return id;
}

LogCore::LogCore(AuditLogOptions options)
    : options_(std::move(options)),
      files_(*options_.files,
             options_.folder + '/' + std::string(kStateFolder),
             options_.reserve_bytes) {}
LogCore::~LogCore() = default;

StatusOr<std::unique_ptr<LogCore>> LogCore::Open(AuditLogOptions options,
                                                 RecoverySummary* summary) {
  if (options.folder.empty() || options.name.empty() || options.node.empty() ||
      options.signer == nullptr) {
    return ErrorF(StatusCode::kInvalidArgument, "audit log: folder, name, node and key are needed");
  }
  if (options.boot.empty()) {
    options.boot = "unknown";  // every leaf has the member
  }
  std::unique_ptr<LogCore> core(new LogCore(std::move(options)));
  RecoverySummary found;
  RETURN_IF_ERROR(core->Start(found));
  if (summary != nullptr) {
    *summary = found;
  }
  return core;
}

Status LogCore::Fail(Status status) {
  MutexLock lock(mutex_);
  if (status_.ok()) {
    Log(LogLevel::kError,
        "audit: the log takes no more leaves until it is started again",
        {{"reason", std::string(Message(status))}});
    status_ = ErrorF(StatusCode::kUnavailable,
                     "audit log: %s; it takes no leaves until inferd is started again",
                     Message(status));
  }
  return status_;
}

Status LogCore::status() const {
  MutexLock lock(mutex_);
  return status_;
}

std::string LogCore::origin() const {
  MutexLock lock(mutex_);
  return origin_;
}

size_t LogCore::num_unpublished() const {
  MutexLock lock(mutex_);
  return durable_.size() + num_publishing_;
}

// Fills in what the log adds. The chain moves on only if the leaf is good.
StatusOr<std::string> LogCore::Encode(LeafDraft& draft) {
  const WallTime wall = options_.clock->WallNow();
  if (draft.rid.value().empty()) {
    draft.rid = RequestId(NewUlid(wall));
  }
  const std::string log_origin = origin();
  const auto chain = chains_.find(draft.tenant.value());
  LeafChain fields{.origin = log_origin, .node = options_.node, .boot = options_.boot};
  CHECK(RAND_bytes(fields.nonce.data(), static_cast<int>(fields.nonce.size())) == 1);
  fields.wall = wall;
  fields.since_boot = options_.clock->Now().time_since_epoch();
  if (chain != chains_.end()) {
    fields.tseq = chain->second.next;
    fields.tprev = chain->second.last;
  }
  return EncodeLeaf(draft, fields);
}

Status LogCore::CommitDrafts(std::vector<LeafDraft> drafts,
                             std::vector<StatusOr<AuditReceipt>>* receipts) {
  std::vector<std::string> leaves;
  std::vector<Digest> hashes;
  const std::string log_origin = origin();
  for (LeafDraft& draft : drafts) {
    auto leaf = Encode(draft);
    if (!leaf.ok()) {
      if (receipts == nullptr) {
        return Fail(leaf.status());
      }
      receipts->push_back(leaf.status());
      continue;
    }
    const Digest hash = LeafHash(*leaf);
    if (receipts != nullptr) {
      receipts->push_back(AuditReceipt{
          .origin = log_origin, .index = next_index_ + leaves.size(), .leaf_hash = hash});
    }
    ChainChecker::Chain& chain = chains_[draft.tenant.value()];
    ++chain.next;
    chain.last = hash;
    FollowIntent(draft, *leaf, next_index_ + leaves.size());
    leaves.push_back(*std::move(leaf));
    hashes.push_back(hash);
  }
  if (leaves.empty()) {
    return OkStatus();
  }
  if (const Status status = wal_->Commit(next_index_, leaves); !status.ok()) {
    return Fail(status);
  }
  next_index_ += leaves.size();
  // None covers log.frozen: that a shard has ended is for recovery to read.
  const bool due = (snapshot_due_ || next_index_ - snapshot_at_ >= options_.snapshot_leaves) &&
                   drafts.back().type != LeafType::kLogFrozen;
  std::optional<ChainSnapshot> snapshot = due ? std::optional(TakeSnapshot()) : std::nullopt;
  MutexLock lock(mutex_);
  for (size_t i = 0; i < leaves.size(); ++i) {
    durable_.push_back({std::move(leaves[i]), hashes[i]});
  }
  if (snapshot) {
    snapshot_ = std::move(snapshot);
  }
  return OkStatus();
}

void LogCore::FollowIntent(const LeafDraft& draft, std::string_view leaf, uint64_t index) {
  if (draft.type == LeafType::kInferenceAdmitted) {
    const auto view = ParseLeaf(leaf);
    CHECK(view.ok());
    open_.emplace(std::pair(origin(), index),
                  ChainChecker::Intent{.tenant = std::string(view->tenant),
                                       .rid = std::string(view->rid),
                                       .reserved = std::string(view->reserved)});
  } else if (draft.admitted && (draft.type == LeafType::kInferenceCompleted ||
                                draft.type == LeafType::kInferenceAborted)) {
    open_.erase({draft.admitted->origin, draft.admitted->index});
  }
}

// Of the leaves so far. The publisher fills in the root.
ChainSnapshot LogCore::TakeSnapshot() {
  snapshot_due_ = false;
  snapshot_at_ = next_index_;
  ChainSnapshot snapshot{
      .origin = origin(), .size = next_index_, .root = {}, .chains = {}, .open = {}};
  for (const auto& [tenant, chain] : chains_) {
    const std::string quoted = JsonString(tenant);
    snapshot.chains.emplace(quoted.substr(1, quoted.size() - 2), chain);
  }
  for (const auto& [place, intent] : open_) {
    snapshot.open.push_back({.origin = place.first, .index = place.second, .intent = intent});
  }
  return snapshot;
}

// Nothing depends on it but the time of the next start.
void LogCore::KeepSnapshot(const ChainSnapshot& snapshot) {
  const std::string folder = options_.folder + '/' + std::string(kStateFolder) +
                             snapshot.origin.substr(options_.name.size());
  const Status kept = WriteFileDurably(
      *options_.files, folder, std::string(kChainSnapshotFile), EncodeChainSnapshot(snapshot));
  if (!kept.ok()) {
    Log(LogLevel::kError,
        "audit: the snapshot of the chains was not kept; the next start takes longer",
        {{"reason", std::string(Message(kept))}});
  }
}

Status LogCore::CommitLogLeaf(LeafType type, std::map<std::string, LeafDetail> detail) {
  LeafDraft draft;
  draft.type = type;
  draft.tenant = TenantId(std::string(kLogTenant));
  draft.detail = std::move(detail);
  std::vector<LeafDraft> drafts;
  drafts.push_back(std::move(draft));
  return CommitDrafts(std::move(drafts), nullptr);
}

void LogCore::Commit(std::vector<Entry> entries) {
  CHECK(entries.size() <= options_.group_leaves_max);
  std::vector<StatusOr<AuditReceipt>> receipts;
  Status status = this->status();
  if (status.ok()) {
    std::vector<LeafDraft> drafts;
    drafts.reserve(entries.size());
    for (Entry& entry : entries) {
      drafts.push_back(std::move(entry.draft));
    }
    status = CommitDrafts(std::move(drafts), &receipts);
  }
  for (size_t i = 0; i < entries.size(); ++i) {
    entries[i].done(status.ok() ? std::move(receipts[i]) : StatusOr<AuditReceipt>(status));
  }
}

void LogCore::Heartbeat() {
  if (!status().ok()) {
    return;
  }
  std::map<std::string, LeafDetail> detail = {
      {"size", next_index_}, {"open", open_.size()}, {"tenants", chains_.size()}};
  const ClockSync sync = options_.clock->Sync();
  detail["ntp"] = std::string(Name(sync.state));
  if (sync.state != ClockSync::State::kUnknown) {
    detail["ntp_offset_ns"] = std::to_string(sync.offset.count());
    detail["ntp_error_max_ns"] = std::to_string(sync.error_max.count());
  }
  (void)CommitLogLeaf(LeafType::kLogHeartbeat, std::move(detail));
}

Status LogCore::Publish() {
  MutexLock publishing(publish_mutex_);
  return PublishLocked();
}

Status LogCore::PublishLocked() {
  RETURN_IF_ERROR(status());
  std::deque<Durable> leaves;
  std::optional<ChainSnapshot> snapshot;
  {
    MutexLock lock(mutex_);
    leaves = std::exchange(durable_, {});
    snapshot = std::exchange(snapshot_, std::nullopt);
    num_publishing_ = leaves.size();
  }
  Status status;
  for (const Durable& durable : leaves) {
    if (status = publisher_->Add(durable.leaf, durable.hash); !status.ok()) {
      return Fail(status);
    }
    if (snapshot && publisher_->tree().size() == snapshot->size) {
      snapshot->root = publisher_->tree().Root();
    }
  }
  if (status = publisher_->Publish(); !status.ok()) {
    return Fail(status);
  }
  {
    MutexLock lock(mutex_);
    num_publishing_ = 0;
  }
  if (snapshot) {
    KeepSnapshot(*snapshot);
  }
  if (status = wal_->Retire(publisher_->tree().size()); !status.ok()) {
    return Fail(status);
  }
  if (options_.on_checkpoint) {
    options_.on_checkpoint(publisher_->note());
  }
  return OkStatus();
}

Status LogCore::Close() {
  if (closed_ || !status().ok()) {
    return status();
  }
  closed_ = true;
  snapshot_due_ = true;
  RETURN_IF_ERROR(CommitLogLeaf(LeafType::kLogMode, {{"state", std::string("closed")}}));
  return Publish();
}

Status LogCore::PublishCosigned(const std::string& note) {
  MutexLock publishing(publish_mutex_);
  RETURN_IF_ERROR(status());
  const Status published = publisher_->PublishCosigned(note);
  return published.ok() || published.code() == StatusCode::kInvalidArgument ? published
                                                                            : Fail(published);
}

Status LogCore::PrepareSpare() {
  MutexLock publishing(publish_mutex_);
  RETURN_IF_ERROR(status());
  if (files_.released()) {
    return OkStatus();  // what is left is for leaves
  }
  const Status made = wal_->PrepareSpare();
  return made.ok() ? made : Fail(made);
}

Status LogCore::CheckSpace() {
  ASSIGN_OR_RETURN(const DiskSpace space, files_.Space(options_.folder));
  if (files_.released()) {
    // Only if it leaves enough for requests.
    const uint64_t reserve = files_.reserve_bytes();
    const DiskSpace after{.total_bytes = space.total_bytes,
                          .free_bytes = space.free_bytes - std::min(space.free_bytes, reserve)};
    if (LevelOf(after, options_.space, SpaceLevel::kRefuse) < SpaceLevel::kRefuse) {
      (void)files_.Fill();
    }
  }
  const SpaceLevel level =
      files_.released() ? SpaceLevel::kRefuse : LevelOf(space, options_.space, space_level_.load());
  if (level != space_level_.exchange(level)) {
    space_changed_ = true;
    Log(level == SpaceLevel::kPlenty ? LogLevel::kInfo
        : level == SpaceLevel::kWarn ? LogLevel::kWarning
                                     : LogLevel::kError,
        level == SpaceLevel::kRefuse   ? "audit: the disk is nearly full, requests are refused"
        : level == SpaceLevel::kPlenty ? "audit: there is space again"
                                       : "audit: the disk is filling up",
        {{"level", std::string(Name(level))},
         {"free_bytes", std::to_string(space.free_bytes)},
         {"total_bytes", std::to_string(space.total_bytes)}});
  }
  return OkStatus();
}

void LogCore::RecordSpace() {
  if (status().ok() && space_changed_.exchange(false)) {
    (void)CommitLogLeaf(LeafType::kLogMode,
                        {{"state", "disk_" + std::string(Name(space_level_.load()))},
                         {"reserve", std::string(files_.released() ? "released" : "kept")}});
  }
}

Status LogCore::CheckRoom(const LeafDraft& draft) const {
  const bool low = space_level_.load() == SpaceLevel::kRefuse || files_.released();
  return !low || IsAdministrative(draft.type)
             ? OkStatus()
             : ErrorF(StatusCode::kUnavailable,
                      "audit log: less than %g %% of the disk is free; free some space under %s",
                      100 * options_.space.refuse,
                      options_.folder);
}

}  // namespace inferd
