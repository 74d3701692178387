#include "daemon/audit_state.h"

#include <algorithm>
#include <filesystem>

#include "base/file.h"
#include "base/log.h"
#include "base/sha256.h"
#include "governance/keys/note_key.h"
#include "governance/keys/secret_files.h"
#include "governance/verify/log_layout.h"

namespace inferd {
namespace {

namespace fs = std::filesystem;

constexpr auto kIndexPeriod = std::chrono::seconds(1);

AuditMode ModeOf(const std::string& name) {
  return name == "guarded"       ? AuditMode::kGuarded
         : name == "best_effort" ? AuditMode::kBestEffort
                                 : AuditMode::kStrict;
}

AuditLevel LevelOf(const std::string& name) {
  return name == "none"   ? AuditLevel::kNone
         : name == "full" ? AuditLevel::kFull
                          : AuditLevel::kMetadata;
}

// Digest of the running program, once a process.
const std::string& BuildDigest() {
  static const std::string kDigest = [] {
    const auto program = MappedFile::Open("/proc/self/exe");
    return program.ok() ? "sha256:" + Sha256Of(program->bytes()).Hex() : std::string();
  }();
  return kDigest;
}

}  // namespace

std::string KeysFolder(const Config& config) {
  return config.keys_directory.empty() ? config.state_directory + "/keys" : config.keys_directory;
}

std::map<std::string, AuditRule> AuditRulesOf(const Config& config) {
  std::map<std::string, AuditRule> rules;
  for (const TenantAudit& tenant : config.audit.tenants) {
    rules[tenant.name] = {.mode = ModeOf(tenant.mode), .level = LevelOf(tenant.level)};
  }
  return rules;
}

namespace {

AuditJoin::Options JoinOptions(const Config& config, const std::string& hardware) {
  AuditJoin::Options options;
  options.rule = {.mode = ModeOf(config.audit.mode), .level = LevelOf(config.audit.level)};
  options.tenants = AuditRulesOf(config);
  options.hardware = hardware;
  options.build = BuildDigest();
  return options;
}

Status MakeFolders(const std::string& root) {
  for (const char* name : {"", "/vault", "/keys", "/state", "/index"}) {
    std::error_code error;
    const std::string path = root + name;
    if (fs::create_directories(path, error)) {
      fs::permissions(path, fs::perms::owner_all, error);
    }
    if (error) {
      return ErrorF(StatusCode::kUnavailable, "%s: cannot make: %s", path, error.message());
    }
  }
  return OkStatus();
}

StatusOr<std::vector<std::unique_ptr<ShardReader>>> OpenShards(const std::string& log_folder,
                                                               const NoteVerifier& verifier) {
  std::vector<ShardName> names;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(log_folder, error)) {
    const auto name = ShardName::Parse(entry.path().filename().string());
    if (name.ok() && fs::exists(entry.path() / std::string(kCheckpointFile), error)) {
      names.push_back(*name);
    }
  }
  std::sort(names.begin(), names.end());
  std::vector<std::unique_ptr<ShardReader>> shards;
  for (const ShardName& name : names) {
    ASSIGN_OR_RETURN(
        auto shard,
        ShardReader::Open(
            SystemFiles(), log_folder + "/" + name.Text(), TrustPolicy::OfLog(verifier)));
    shards.push_back(std::move(shard));
  }
  return shards;
}

}  // namespace

StatusOr<std::unique_ptr<AuditState>> AuditState::Open(const Config& config,
                                                       const std::string& hardware,
                                                       const Clock& clock) {
  RETURN_IF_ERROR(MakeFolders(config.state_directory));
  const std::string keys = KeysFolder(config);
  ASSIGN_OR_RETURN(NoteSigner signer, ReadNoteKey(SecretFilePath(keys, kNoteKeyFile)));
  ASSIGN_OR_RETURN(SecretKey pepper, ReadKeyFile(SecretFilePath(keys, kSubjectPepperFile)));
  std::unique_ptr<AuditState> state(
      new AuditState(config.state_directory, std::move(signer), std::move(pepper)));
  RETURN_IF_ERROR(state->OpenParts(config, hardware, clock));
  return state;
}

Status AuditState::OpenLog(const Config& config, const Clock& clock) {
  const std::string& name = signer_.verifier().name();
  RecoverySummary summary;
  AuditLogOptions options;
  options.clock = &clock;
  options.folder = folder_;
  options.name = name;
  options.node = name.substr(name.rfind('/') + 1);
  options.boot = ReadBootId();
  options.signer = &signer_;
  options.reserve_bytes = static_cast<uint64_t>(config.audit.reserve_bytes);
  if (!config.audit.spill_directory.empty()) {
    ASSIGN_OR_RETURN(spill_,
                     AuditSpill::Open({.clock = &clock,
                                       .folder = config.audit.spill_directory,
                                       .node = options.node,
                                       .boot = options.boot}));
    options.ended_elsewhere = spill_->EndedRequests();
  }
  if (!config.audit.witness_policy.empty()) {
    options.on_new_origin = [this](const std::string& note) {
      MutexLock lock(announcer_mutex_);
      if (announcer_ != nullptr) {
        announcer_->Announce(note);
      }
    };
  }
  ASSIGN_OR_RETURN(log_, AuditWriter::Open(std::move(options), &summary));
  gate_ = std::make_unique<AuditGate>(*log_, clock, spill_.get());
  Log(LogLevel::kInfo,
      "audit log open",
      {{"origin", log_->origin()},
       {"recovered_frames", std::to_string(summary.frames)},
       {"torn_bytes", std::to_string(summary.torn_bytes)},
       {"closed", std::to_string(summary.closed)}});
  if (spill_ != nullptr) {
    RETURN_IF_ERROR(log_->Flush());
    ASSIGN_OR_RETURN(const auto shards, Shards());
    RETURN_IF_ERROR(spill_->Start(*log_, *shards.back()));
  }
  return OkStatus();
}

Status AuditState::OpenParts(const Config& config,
                             const std::string& hardware,
                             const Clock& clock) {
  RETURN_IF_ERROR(OpenLog(config, clock));
  ASSIGN_OR_RETURN(SecretKey root_kek,
                   ReadKeyFile(SecretFilePath(KeysFolder(config), kRootKekFile)));
  ASSIGN_OR_RETURN(keys_, KeyStore::Open(folder_ + "/keys/keystore.sqlite", std::move(root_kek)));
  vault_ = std::make_unique<Vault>(folder_ + "/vault", *keys_, clock);
  ASSIGN_OR_RETURN(
      retention_,
      Retention::Open(folder_ + "/state/holds.sqlite",
                      {.log = *log_, .keys = *keys_, .vault = *vault_, .clock = clock}));
  ASSIGN_OR_RETURN(erasure_,
                   Erasure::Open(folder_ + "/state/erasures.sqlite",
                                 {.log = *log_,
                                  .keys = *keys_,
                                  .vault = *vault_,
                                  .retention = *retention_,
                                  .clock = clock}));
  ASSIGN_OR_RETURN(payloads_,
                   PayloadAccess::Open(folder_ + "/state/views.sqlite",
                                       {.log = *log_, .vault = *vault_, .clock = clock}));
  ASSIGN_OR_RETURN(index_, AuditIndex::Open(folder_ + "/index/audit.sqlite"));
  ASSIGN_OR_RETURN(SecretKey pepper, SecretKey::From(subject_pepper_.bytes()));
  join_ = std::make_unique<AuditJoin>(
      *gate_, vault_.get(), std::move(pepper), JoinOptions(config, hardware));
  ASSIGN_OR_RETURN(tasks_,
                   AuditTasks::Start(config,
                                     {.log = *log_,
                                      .keys = *keys_,
                                      .retention = *retention_,
                                      .verifier = signer_.verifier(),
                                      .clock = clock}));
  SetAnnouncer(tasks_.get());
  index_thread_ = std::thread([this] { KeepIndex(); });
  return OkStatus();
}

AuditState::~AuditState() {
  {
    MutexLock lock(stop_mutex_);
    stopping_ = true;
  }
  stop_.notify_one();
  if (index_thread_.joinable()) {
    index_thread_.join();
  }
  SetAnnouncer(nullptr);
  tasks_.reset();
  join_.reset();
  if (gate_ != nullptr) {
    gate_->Tick(/*all=*/true);
  }
  if (log_ != nullptr) {
    const Status closed = log_->Close();
    if (!closed.ok()) {
      Log(LogLevel::kError, "audit log not closed", {{"error", std::string(Message(closed))}});
    }
  }
}

void AuditState::SetAnnouncer(AuditTasks* tasks) {
  MutexLock lock(announcer_mutex_);
  announcer_ = tasks;
}

std::string AuditState::SubjectOf(std::string_view tenant, std::string_view end_user) const {
  return SubjectHash(subject_pepper_, tenant, end_user);
}

Status AuditState::RecordOwn(LeafType type,
                             std::map<std::string, LeafDetail> detail,
                             const std::optional<ModelFacts>& model) {
  LeafDraft draft;
  draft.type = type;
  draft.tenant = TenantId(std::string(kLogTenant));
  draft.actor = ActorFacts{.kind = "service", .id = "inferd", .authn = "none"};
  draft.model = model;
  draft.detail = std::move(detail);
  return log_->AppendAndWait(std::move(draft)).status();
}

ActorFacts PersonFacts(const std::string& name) {
  return {.kind = name.starts_with("uid:") ? "human" : "service",
          .id = name,
          .authn = name.starts_with("uid:") ? "peercred" : "none"};
}

Status AuditState::RecordAct(LeafType type,
                             const ActorFacts& actor,
                             std::map<std::string, LeafDetail> detail) {
  LeafDraft draft;
  draft.type = type;
  draft.tenant = TenantId(std::string(kLogTenant));
  draft.actor = actor;
  draft.detail = std::move(detail);
  return log_->AppendAndWait(std::move(draft)).status();
}

StatusOr<std::vector<std::unique_ptr<ShardReader>>> AuditState::Shards() const {
  return OpenShards(log_folder(), signer_.verifier());
}

Status AuditState::CatchUp() {
  RETURN_IF_ERROR(log_->Flush());
  return FoldIndex();
}

Status AuditState::FoldIndex() {
  MutexLock lock(index_mutex_);
  ASSIGN_OR_RETURN(const auto shards, Shards());
  for (const auto& shard : shards) {
    RETURN_IF_ERROR(index_->CatchUp(*shard));
  }
  return OkStatus();
}

void AuditState::KeepIndex() {
  bool failed = false;
  for (;;) {
    {
      MutexLock lock(stop_mutex_);
      stop_.wait_for(
          lock.std_lock(), kIndexPeriod, [this]() NO_THREAD_SAFETY_ANALYSIS { return stopping_; });
      if (stopping_) {
        return;
      }
    }
    gate_->Tick();
    const Status folded = FoldIndex();
    if (!folded.ok() && !failed) {
      // Evidence is in the log; a search will say the same.
      Log(LogLevel::kError, "audit index behind", {{"error", std::string(Message(folded))}});
    }
    failed = !folded.ok();
  }
}

Status RebuildAuditIndex(const Config& config, const AuditIndex::Progress& progress) {
  ASSIGN_OR_RETURN(const NoteSigner signer,
                   ReadNoteKey(SecretFilePath(KeysFolder(config), kNoteKeyFile)));
  ASSIGN_OR_RETURN(const auto shards,
                   OpenShards(config.state_directory + "/log", signer.verifier()));
  const std::string path = config.state_directory + "/index/audit.sqlite";
  {
    // Another process holds the lock of an index that is in use.
    RETURN_IF_ERROR(AuditIndex::Open(path));
  }
  RETURN_IF_ERROR(RemoveAuditIndex(path));
  ASSIGN_OR_RETURN(const auto index, AuditIndex::Open(path));
  for (const auto& shard : shards) {
    RETURN_IF_ERROR(index->CatchUp(*shard, progress));
  }
  return OkStatus();
}

}  // namespace inferd
