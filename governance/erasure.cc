#include "governance/erasure.h"

#include <algorithm>

#include "base/ulid.h"
#include "governance/vault_text.h"

namespace inferd {
namespace {

constexpr char kSchema[] =
    "CREATE TABLE IF NOT EXISTS erasures(id TEXT PRIMARY KEY, tenant TEXT NOT NULL,"
    "  subject TEXT NOT NULL, basis TEXT NOT NULL, state INTEGER NOT NULL,"
    "  requested_by TEXT NOT NULL, requested_us INTEGER NOT NULL, approved_by TEXT NOT NULL,"
    "  key_id BLOB NOT NULL, num_records INTEGER NOT NULL, epoch INTEGER NOT NULL,"
    "  refusal TEXT NOT NULL) WITHOUT ROWID;"
    "PRAGMA user_version=1;";

}  // namespace

std::string_view Name(ErasureState state) {
  switch (state) {
    case ErasureState::kRequested:
      return "requested";
    case ErasureState::kApproved:
      return "approved";
    case ErasureState::kExecuted:
      return "executed";
    case ErasureState::kRefused:
      return "refused";
  }
  return "";
}

StatusOr<std::unique_ptr<Erasure>> Erasure::Open(const std::string& path, const Parts& parts) {
  ASSIGN_OR_RETURN(auto database, Sqlite::Open(path));
  RETURN_IF_ERROR(database->Execute(kSchema));
  std::unique_ptr<Erasure> erasure(new Erasure(std::move(database), parts));
  MutexLock lock(erasure->mutex_);
  ASSIGN_OR_RETURN(auto records, erasure->Records());
  for (ErasureRecord& record : records) {
    if (record.state == ErasureState::kApproved) {
      RETURN_IF_ERROR(erasure->Execute(record));
    }
  }
  return erasure;
}

StatusOr<std::vector<ErasureRecord>> Erasure::Records() {
  ASSIGN_OR_RETURN(
      auto select,
      database_->Prepare("SELECT id, tenant, subject, basis, state, requested_by, requested_us, "
                         "approved_by, key_id, num_records, epoch, refusal FROM erasures "
                         "ORDER BY id"));
  std::vector<ErasureRecord> records;
  for (;;) {
    ASSIGN_OR_RETURN(const bool row, select.Step());
    if (!row) {
      return records;
    }
    ErasureRecord& record = records.emplace_back();
    record.id = select.Text(0);
    record.subject = {.tenant = std::string(select.Text(1)),
                      .subject = std::string(select.Text(2))};
    record.basis = select.Text(3);
    record.state = static_cast<ErasureState>(select.Integer(4));
    record.requested_by = select.Text(5);
    record.requested_at = WallTime(std::chrono::microseconds(select.Integer(6)));
    record.approved_by = select.Text(7);
    record.key_id = select.Blob(8);
    record.num_records = static_cast<uint64_t>(select.Integer(9));
    record.epoch = select.Integer(10);
    record.refusal = select.Text(11);
  }
}

Status Erasure::Put(const ErasureRecord& record) {
  ASSIGN_OR_RETURN(
      auto put,
      database_->Prepare("INSERT OR REPLACE INTO erasures VALUES(?,?,?,?,?,?,?,?,?,?,?,?)"));
  return put.Bind(1, record.id)
      .Bind(2, record.subject.tenant)
      .Bind(3, record.subject.subject)
      .Bind(4, record.basis)
      .Bind(5, static_cast<int64_t>(record.state))
      .Bind(6, record.requested_by)
      .Bind(7, MicrosOf(record.requested_at))
      .Bind(8, record.approved_by)
      .BindBlob(9, record.key_id)
      .Bind(10, static_cast<int64_t>(record.num_records))
      .Bind(11, record.epoch)
      .Bind(12, record.refusal)
      .Run();
}

Status Erasure::Append(LeafType type, const ErasureRecord& record, std::string_view actor_id) {
  LeafDraft draft;
  draft.type = type;
  draft.tenant = TenantId(record.subject.tenant);
  draft.actor = ActorFacts{.kind = "human", .id = std::string(actor_id), .authn = "peercred"};
  draft.subj = record.subject.subject;
  draft.detail["erasure"] = record.id;
  draft.detail["basis"] = record.basis;
  if (type == LeafType::kEraseExecuted) {
    draft.detail["key_id"] = HexOf(record.key_id);
    draft.detail["epoch"] = static_cast<uint64_t>(record.epoch);
    draft.detail["count"] = record.num_records;
  }
  if (type == LeafType::kEraseRefused) {
    draft.detail["why"] = record.refusal;
  }
  return parts_.log.AppendAndWait(std::move(draft)).status();
}

StatusOr<ErasureRecord> Erasure::Request(const ActorFacts& actor,
                                         const SubjectRef& subject,
                                         const std::string& basis) {
  RETURN_IF_ERROR(CheckReference(basis, "the basis of an erasure"));
  MutexLock lock(mutex_);
  RETURN_IF_ERROR(parts_.keys.KeyIdOf(subject));
  ErasureRecord record;
  record.requested_at = parts_.clock.WallNow();
  record.id = NewUlid(record.requested_at);
  record.subject = subject;
  record.basis = basis;
  record.requested_by = actor.id;
  RETURN_IF_ERROR(Append(LeafType::kEraseRequested, record, actor.id));
  RETURN_IF_ERROR(Put(record));
  return record;
}

StatusOr<ErasureRecord> Erasure::Approve(const ActorFacts& actor, const std::string& id) {
  MutexLock lock(mutex_);
  ASSIGN_OR_RETURN(auto records, Records());
  const auto found = std::find_if(
      records.begin(), records.end(), [&](const ErasureRecord& record) { return record.id == id; });
  if (found == records.end() || found->state != ErasureState::kRequested) {
    return ErrorF(StatusCode::kNotFound,
                  "no erasure %s waits for approval; `inferctl erase status` shows them",
                  id.substr(0, 64));
  }
  ErasureRecord& record = *found;
  if (record.requested_by == actor.id) {
    return ErrorF(StatusCode::kPermissionDenied,
                  "erasure %s was asked for by %s; a second person must approve it",
                  id,
                  actor.id);
  }
  ASSIGN_OR_RETURN(record.key_id, parts_.keys.KeyIdOf(record.subject));
  record.approved_by = actor.id;
  record.num_records = 0;
  RETURN_IF_ERROR(parts_.vault.ForEach(
      record.subject.tenant, [&](std::string_view, const VaultEnvelope& envelope) {
        record.num_records += envelope.key_id == record.key_id ? 1 : 0;
      }));
  RETURN_IF_ERROR(Append(LeafType::kEraseApproved, record, actor.id));
  record.state = ErasureState::kApproved;
  RETURN_IF_ERROR(Put(record));
  RETURN_IF_ERROR(Execute(record));
  return record;
}

// From approved to executed or refused. Repeats safely what a crash cut short.
Status Erasure::Execute(ErasureRecord& record) {
  auto epoch = parts_.keys.EpochOfDestruction(record.key_id);
  if (!epoch.ok()) {
    const Status destroyed = parts_.retention.RunUnlessHeld(record.subject, [&] {
      return parts_.keys.Destroy(record.subject, parts_.clock.WallNow()).status();
    });
    if (destroyed.code() == StatusCode::kFailedPrecondition) {
      return Refuse(record, destroyed);
    }
    RETURN_IF_ERROR(destroyed);
    epoch = parts_.keys.EpochOfDestruction(record.key_id);
    RETURN_IF_ERROR(epoch);
  }
  record.epoch = *epoch;
  RETURN_IF_ERROR(Append(LeafType::kEraseExecuted, record, record.approved_by));
  record.state = ErasureState::kExecuted;
  return Put(record);
}

Status Erasure::Refuse(ErasureRecord& record, const Status& why) {
  record.refusal = std::string(Message(why));
  RETURN_IF_ERROR(Append(LeafType::kEraseRefused, record, record.approved_by));
  record.state = ErasureState::kRefused;
  return Put(record);
}

StatusOr<std::vector<ErasureRecord>> Erasure::List() {
  MutexLock lock(mutex_);
  return Records();
}

}  // namespace inferd
