// Erasure: a subject's payloads become unreadable by destroying the subject's key, and the log says
// so. One person asks, another approves; a legal hold refuses.
//
// Leaves: erase.requested, erase.approved, then erase.executed{key_id, epoch, count} or
// erase.refused{hold}. A crash at any point is made up for at the next start: what was approved is
// executed, and what was executed has its leaf.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "governance/retention.h"

namespace inferd {

enum class ErasureState : uint8_t { kRequested, kApproved, kExecuted, kRefused };
std::string_view Name(ErasureState state);

struct ErasureRecord {
  std::string id;  // ULID
  SubjectRef subject;
  std::string basis;  // a case's reference
  ErasureState state = ErasureState::kRequested;
  std::string requested_by, approved_by;
  WallTime requested_at{};
  // Once approved: what goes, or went.
  std::string key_id;
  uint64_t num_records = 0;
  int64_t epoch = 0;    // once executed: the one that began with it
  std::string refusal;  // why, if refused
};

// Thread-safe; calls block on the disk and on the log.
class Erasure {
 public:
  // Everything outlives it. Finishes what a crash left approved.
  struct Parts {
    AuditLog& log;
    KeyStore& keys;
    Vault& vault;
    Retention& retention;
    const Clock& clock;
  };
  static StatusOr<std::unique_ptr<Erasure>> Open(const std::string& path, const Parts& parts);

  // kNotFound if nothing of the subject is kept.
  StatusOr<ErasureRecord> Request(const ActorFacts& actor,
                                  const SubjectRef& subject,
                                  const std::string& basis) EXCLUDES(mutex_);
  // Executes it, or refuses it if a hold covers the subject; the record says which.
  // kPermissionDenied if the actor is the one who asked.
  StatusOr<ErasureRecord> Approve(const ActorFacts& actor, const std::string& id) EXCLUDES(mutex_);
  StatusOr<std::vector<ErasureRecord>> List() EXCLUDES(mutex_);

 private:
  Erasure(std::unique_ptr<Sqlite> database, const Parts& parts)
      : database_(std::move(database)), parts_(parts) {}
  StatusOr<std::vector<ErasureRecord>> Records() REQUIRES(mutex_);
  Status Put(const ErasureRecord& record) REQUIRES(mutex_);
  Status Execute(ErasureRecord& record) REQUIRES(mutex_);
  Status Refuse(ErasureRecord& record, const Status& why) REQUIRES(mutex_);
  Status Append(LeafType type, const ErasureRecord& record, std::string_view actor_id)
      REQUIRES(mutex_);

  Mutex mutex_;
  const std::unique_ptr<Sqlite> database_;
  const Parts parts_;
};

}  // namespace inferd
