#include "governance/audit/log_core.h"

#include <openssl/rand.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/check.h"
#include "base/file_batch.h"
#include "base/log.h"
#include "base/ulid.h"
#include "governance/audit/canonical_json.h"
#include "governance/verify/leaf_view.h"
#include "governance/verify/merkle.h"
#include "governance/verify/shard_reader.h"
#include "governance/verify/trust_policy.h"

namespace inferd {
namespace {

constexpr std::string_view kReserveFile = "reserve";
constexpr uint64_t kReserveChunkBytes = 1 << 20;

// Text of a JSON string without its escapes.
std::string Unescape(const std::string& text) {
  const auto json = nlohmann::json::parse('"' + text + '"', nullptr, false);
  return json.is_string() ? json.get<std::string>() : text;
}

QuotaAmounts ReadAmounts(const std::string& reserved) {
  const auto json = nlohmann::json::parse(reserved, nullptr, false);
  const auto get = [&json](const char* key) {
    return json.is_object() && json.contains(key) && json[key].is_number_unsigned()
               ? json[key].get<uint64_t>()
               : uint64_t{0};
  };
  return {.in = get("in"),
          .out = get("out"),
          .conc = get("conc"),
          .kv = get("kv"),
          .micro = get("micro")};
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

LogCore::LogCore(AuditLogOptions options) : options_(std::move(options)) {}
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

Status LogCore::Start(RecoverySummary& summary) {
  FileSystem& files = *options_.files;
  const std::string log_root = options_.folder + '/' + std::string(kLogFolder);
  const std::string state_root = options_.folder + '/' + std::string(kStateFolder);
  RETURN_IF_ERROR(CreateFoldersDurably(files, log_root));
  RETURN_IF_ERROR(CreateFoldersDurably(files, state_root));
  ASSIGN_OR_RETURN(lock_, files.Lock(state_root + '/' + std::string(kLockFile)));
  RETURN_IF_ERROR(KeepReserve());

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
    LeafDraft draft;
    draft.type = LeafType::kInferenceAborted;
    draft.tenant = TenantId(Unescape(intent.tenant));
    draft.rid = RequestId(intent.rid);
    draft.outcome.emplace();
    draft.outcome->status = "ABORTED";
    draft.outcome->err = "crash";
    // What was reserved is charged: how much of it was used is not known.
    draft.outcome->settle = ReadAmounts(intent.reserved);
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
  FileSystem& files = *options_.files;
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
      WalWriter::Options{.files = options_.files,
                         .folder = PlaceOf(options_.folder, options_.name, shard_).state_folder,
                         .segment_bytes = options_.segment_bytes,
                         .first_number = next_number,
                         .first_group = next_group});
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
  (void)CommitLogLeaf(LeafType::kLogHeartbeat,
                      {{"size", next_index_}, {"open", open_.size()}, {"tenants", chains_.size()}});
}

void LogCore::RotateIfDue() {
  const ShardName quarter = QuarterOf(options_.clock->WallNow());
  const bool full = next_index_ >= options_.shard_leaves_max;
  const bool over = ShardName{shard_.year, shard_.quarter, 0} < quarter;
  if (status().ok() && (full || over)) {
    const ShardName next{shard_.year, shard_.quarter, shard_.serial + 1};
    if (Status status = CommitLogLeaf(LeafType::kLogFrozen, {{"open", open_.size()}});
        status.ok()) {
      (void)Rotate(std::max(quarter, next));
    }
  }
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
  const Status made = wal_->PrepareSpare();
  return made.ok() ? made : Fail(made);
}

Status LogCore::CheckSpace() {
  const auto space = options_.files->Space(options_.folder);
  if (!space.ok()) {
    return space.status();
  }
  const double free = static_cast<double>(space->free_bytes) /
                      static_cast<double>(std::max<uint64_t>(space->total_bytes, 1));
  const bool low = free < options_.free_refuse;
  if (low != low_space_.exchange(low)) {
    Log(low ? LogLevel::kError : LogLevel::kInfo,
        low ? "audit: the disk is nearly full, requests are refused"
            : "audit: there is space again",
        {{"free_bytes", std::to_string(space->free_bytes)}});
  }
  return OkStatus();
}

Status LogCore::CheckRoom(const LeafDraft& draft) const {
  return !low_space_.load() || IsAdministrative(draft.type)
             ? OkStatus()
             : ErrorF(StatusCode::kUnavailable,
                      "audit log: less than %g %% of the disk is free; free some space under %s",
                      100 * options_.free_refuse,
                      options_.folder);
}

// Blocks that nothing else can take, so that the end of the disk can still be recorded.
Status LogCore::KeepReserve() {
  const std::string folder = options_.folder + '/' + std::string(kStateFolder);
  ASSIGN_OR_RETURN(const std::vector<std::string> names, options_.files->List(folder));
  if (options_.reserve_bytes == 0 ||
      std::find(names.begin(), names.end(), kReserveFile) != names.end()) {
    return OkStatus();
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<WritableFile> file,
                   options_.files->Create(folder + '/' + std::string(kReserveFile)));
  const std::string zeros(kReserveChunkBytes, '\0');
  for (uint64_t at = 0; at < options_.reserve_bytes; at += zeros.size()) {
    RETURN_IF_ERROR(file->WriteAt(at, zeros));
  }
  return file->Sync();
}

}  // namespace inferd
