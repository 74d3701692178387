// AuditState: the audit log of this process and what stands around it, opened together: secrets,
// key store, vault, holds, erasures, views, search index, the join with requests, and what is done
// beside: upkeep, witnesses.
//
//   <state_directory>/log, state        the log (governance/audit)
//   <state_directory>/vault             payloads
//   <state_directory>/keys              keystore.sqlite and the secrets that no credential gives
//   <state_directory>/state             holds.sqlite, erasures.sqlite, views.sqlite
//   <state_directory>/backups           copies of the key store, 30 days
//   <state_directory>/index             audit.sqlite
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/file_system.h"
#include "base/status.h"
#include "base/thread_annotations.h"
#include "daemon/audit_join.h"
#include "daemon/audit_tasks.h"
#include "daemon/config.h"
#include "governance/audit/audit_gate.h"
#include "governance/audit/audit_spill.h"
#include "governance/audit/audit_writer.h"
#include "governance/audit_index.h"
#include "governance/erasure.h"
#include "governance/payload_access.h"
#include "governance/verify/note.h"
#include "governance/verify/shard_reader.h"

namespace inferd {

// Thread-safe. Secrets stay inside.
class AuditState {
 public:
  // kFailedPrecondition or kNotFound, naming the secret, if one is missing or others can read it.
  static StatusOr<std::unique_ptr<AuditState>> Open(const Config& config,
                                                    const std::string& hardware,
                                                    const Clock& clock);
  ~AuditState();  // closes the log in order

  AuditJoin& join() { return *join_; }
  AuditWriter& log() { return *log_; }
  Retention& retention() { return *retention_; }
  Erasure& erasure() { return *erasure_; }
  PayloadAccess& payloads() { return *payloads_; }
  AuditIndex& index() { return *index_; }
  const AuditTasks& tasks() const { return *tasks_; }
  Vault& vault() { return *vault_; }
  const NoteVerifier& verifier() const { return signer_.verifier(); }
  std::string log_folder() const { return folder_ + "/log"; }
  std::string SubjectOf(std::string_view tenant, std::string_view end_user) const;

  // The leaf is durable when it returns. For acts on the whole daemon (tenant "_log").
  Status RecordAct(LeafType type,
                   const ActorFacts& actor,
                   std::map<std::string, LeafDetail> detail);
  // The same for the daemon itself.
  Status RecordOwn(LeafType type,
                   std::map<std::string, LeafDetail> detail,
                   const std::optional<ModelFacts>& model = std::nullopt);

  // Publishes what is durable, and folds it into the index.
  Status CatchUp() EXCLUDES(index_mutex_);
  // The log's shards in their order, as published now.
  StatusOr<std::vector<std::unique_ptr<ShardReader>>> Shards() const;

 private:
  AuditState(std::string folder, NoteSigner signer, SecretKey subject_pepper)
      : folder_(std::move(folder)),
        signer_(std::move(signer)),
        subject_pepper_(std::move(subject_pepper)) {}
  Status OpenParts(const Config& config, const std::string& hardware, const Clock& clock);
  Status OpenLog(const Config& config, const Clock& clock);
  Status FoldIndex() EXCLUDES(index_mutex_);
  void KeepIndex();
  void SetAnnouncer(AuditTasks* tasks) EXCLUDES(announcer_mutex_);

  const std::string folder_;
  const NoteSigner signer_;
  const SecretKey subject_pepper_;
  // Destroyed from the last to the first. The log calls the gate back until it is closed.
  std::unique_ptr<AuditGate> gate_;
  std::unique_ptr<AuditWriter> log_;
  std::unique_ptr<AuditSpill> spill_;  // nullptr: nothing is guarded
  std::unique_ptr<KeyStore> keys_;
  std::unique_ptr<Vault> vault_;
  std::unique_ptr<Retention> retention_;
  std::unique_ptr<Erasure> erasure_;
  std::unique_ptr<PayloadAccess> payloads_;
  std::unique_ptr<AuditIndex> index_;
  std::unique_ptr<AuditJoin> join_;
  std::unique_ptr<AuditTasks> tasks_;
  Mutex announcer_mutex_;
  AuditTasks* announcer_ GUARDED_BY(announcer_mutex_) = nullptr;  // tasks_, while it may be asked
  Mutex index_mutex_;                                             // one fold at a time
  Mutex stop_mutex_;
  std::condition_variable stop_;
  bool stopping_ GUARDED_BY(stop_mutex_) = false;
  std::thread index_thread_;
};

// Who took a step of which only the name is kept: an administrator, or the daemon's own files.
ActorFacts PersonFacts(const std::string& name);

// Where the secrets are that no credential gives.
std::string KeysFolder(const Config& config);

// What the config says of each tenant's record.
std::map<std::string, AuditRule> AuditRulesOf(const Config& config);

// Makes the index anew from the log's published leaves. The daemon must not be running. Progress is
// called with leaves done and leaves in all of the shard at hand.
Status RebuildAuditIndex(const Config& config, const AuditIndex::Progress& progress);

}  // namespace inferd
