#include "governance/retention.h"

#include <algorithm>

#include "base/ulid.h"
#include "governance/vault_text.h"

namespace inferd {
namespace {

constexpr char kSchema[] =
    "CREATE TABLE IF NOT EXISTS holds(id TEXT PRIMARY KEY, tenant TEXT NOT NULL, subject TEXT,"
    "  from_us INTEGER, to_us INTEGER, rids TEXT NOT NULL, basis TEXT NOT NULL,"
    "  set_by TEXT NOT NULL, set_us INTEGER NOT NULL, release_asked_by TEXT NOT NULL DEFAULT '',"
    "  released INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;"
    "PRAGMA user_version=1;";
constexpr size_t kReferenceBytesMax = 64;

WallTime FromMicros(int64_t micros) { return WallTime(std::chrono::microseconds(micros)); }

std::vector<std::string> Split(std::string_view text) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const size_t end = std::min(text.find(' '), text.size());
    parts.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

std::string Join(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts) {
    text += (text.empty() ? "" : " ") + part;
  }
  return text;
}

Status CheckScope(const HoldScope& scope) {
  if (scope.tenant.empty()) {
    return ErrorF(StatusCode::kInvalidArgument, "a hold names its tenant");
  }
  if (scope.from.has_value() && scope.to.has_value() && *scope.from >= *scope.to) {
    return ErrorF(StatusCode::kInvalidArgument, "a hold's time ends after it begins");
  }
  if (scope.rids.size() > kHoldRidsMax) {
    return ErrorF(StatusCode::kInvalidArgument, "a hold names at most %d requests", kHoldRidsMax);
  }
  for (const std::string& rid : scope.rids) {
    if (!IsUlid(rid)) {
      return ErrorF(StatusCode::kInvalidArgument,
                    "a hold's requests are named by the rid of their leaves (26 characters)");
    }
  }
  return OkStatus();
}

// Does the hold cover this record, given the id of its subject's key?
bool CoversRecord(const Hold& hold,
                  const std::optional<std::string>& key_id,
                  std::string_view day,
                  const VaultEnvelope& envelope) {
  const HoldScope& scope = hold.scope;
  if (key_id.has_value() && envelope.key_id != *key_id) {
    return false;
  }
  if (!scope.rids.empty() &&
      std::find(scope.rids.begin(), scope.rids.end(), envelope.rid) == scope.rids.end()) {
    return false;
  }
  const bool after = !scope.from.has_value() || day >= DayText(*scope.from);
  const bool before = !scope.to.has_value() || day <= DayText(*scope.to - Duration(1));
  return after && before;
}

// Days before it are older than `days`.
WallTime LastDay(const Clock& clock, int days) {
  return clock.WallNow() - std::chrono::hours(24) * days;
}

LeafDraft HoldLeaf(LeafType type, const ActorFacts& actor, const Hold& hold) {
  LeafDraft draft;
  draft.type = type;
  draft.tenant = TenantId(hold.scope.tenant);
  draft.actor = actor;
  draft.subj = hold.scope.subject.value_or("");
  draft.detail["hold"] = hold.id;
  draft.detail["basis"] = hold.basis;
  draft.detail["num_rids"] = uint64_t{hold.scope.rids.size()};
  if (hold.scope.from.has_value()) {
    draft.detail["from_day"] = DayText(*hold.scope.from);
  }
  if (hold.scope.to.has_value()) {
    draft.detail["to_day"] = DayText(*hold.scope.to - Duration(1));
  }
  return draft;
}

}  // namespace

Status CheckReference(std::string_view text, std::string_view what) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("._:/-").find(c) != std::string_view::npos;
  };
  if (text.empty() || text.size() > kReferenceBytesMax ||
      !std::all_of(text.begin(), text.end(), allowed)) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "%s is a reference of 1 to %d letters, digits and ._:/- (no free text: it "
                  "becomes part of the log for good)",
                  what,
                  kReferenceBytesMax);
  }
  return OkStatus();
}

StatusOr<std::unique_ptr<Retention>> Retention::Open(const std::string& path, const Parts& parts) {
  ASSIGN_OR_RETURN(auto database, Sqlite::Open(path));
  RETURN_IF_ERROR(database->Execute(kSchema));
  return std::unique_ptr<Retention>(new Retention(std::move(database), parts));
}

StatusOr<std::vector<Hold>> Retention::Holds(std::string_view where) {
  ASSIGN_OR_RETURN(auto select,
                   database_->Prepare("SELECT id, tenant, subject, from_us, to_us, rids, basis, "
                                      "set_by, set_us, release_asked_by, released FROM holds " +
                                      std::string(where) + " ORDER BY id"));
  std::vector<Hold> holds;
  for (;;) {
    ASSIGN_OR_RETURN(const bool row, select.Step());
    if (!row) {
      return holds;
    }
    Hold& hold = holds.emplace_back();
    hold.id = select.Text(0);
    hold.scope.tenant = select.Text(1);
    if (!select.IsNull(2)) {
      hold.scope.subject = select.Text(2);
    }
    if (!select.IsNull(3)) {
      hold.scope.from = FromMicros(select.Integer(3));
    }
    if (!select.IsNull(4)) {
      hold.scope.to = FromMicros(select.Integer(4));
    }
    hold.scope.rids = Split(select.Text(5));
    hold.basis = select.Text(6);
    hold.set_by = select.Text(7);
    hold.set_at = FromMicros(select.Integer(8));
    hold.release_asked_by = select.Text(9);
    hold.released = select.Integer(10) != 0;
  }
}

StatusOr<Hold> Retention::SetHold(const ActorFacts& actor,
                                  const HoldScope& scope,
                                  const std::string& basis) {
  RETURN_IF_ERROR(CheckScope(scope));
  RETURN_IF_ERROR(CheckReference(basis, "the basis of a hold"));
  MutexLock lock(mutex_);
  ASSIGN_OR_RETURN(const auto active, Holds("WHERE released=0"));
  if (active.size() >= kHoldsMax) {
    return ErrorF(StatusCode::kResourceExhausted, "%d holds are active, the most", kHoldsMax);
  }
  Hold hold;
  hold.set_at = parts_.clock.WallNow();
  hold.id = NewUlid(hold.set_at);
  hold.scope = scope;
  hold.basis = basis;
  hold.set_by = actor.id;
  RETURN_IF_ERROR(parts_.log.AppendAndWait(HoldLeaf(LeafType::kHoldSet, actor, hold)));
  ASSIGN_OR_RETURN(auto insert,
                   database_->Prepare("INSERT INTO holds(id, tenant, subject, from_us, to_us, "
                                      "rids, basis, set_by, set_us) VALUES(?,?,?,?,?,?,?,?,?)"));
  insert.Bind(1, hold.id).Bind(2, scope.tenant).Bind(6, Join(scope.rids)).Bind(7, basis);
  insert.Bind(8, hold.set_by).Bind(9, MicrosOf(hold.set_at));
  if (scope.subject.has_value()) {
    insert.Bind(3, *scope.subject);
  }
  if (scope.from.has_value()) {
    insert.Bind(4, MicrosOf(*scope.from));
  }
  if (scope.to.has_value()) {
    insert.Bind(5, MicrosOf(*scope.to));
  }
  RETURN_IF_ERROR(insert.Run());
  return hold;
}

StatusOr<Hold> Retention::FindHold(const std::string& id) {
  ASSIGN_OR_RETURN(const auto holds, Holds("WHERE released=0"));
  const auto found =
      std::find_if(holds.begin(), holds.end(), [&](const Hold& hold) { return hold.id == id; });
  if (found == holds.end()) {
    return ErrorF(StatusCode::kNotFound,
                  "no active hold %s; `inferctl hold list` shows them",
                  id.substr(0, kReferenceBytesMax));
  }
  return *found;
}

StatusOr<Hold> Retention::ReleaseHold(const ActorFacts& actor, const std::string& id) {
  MutexLock lock(mutex_);
  ASSIGN_OR_RETURN(Hold hold, FindHold(id));
  if (hold.release_asked_by == actor.id) {
    return ErrorF(StatusCode::kPermissionDenied,
                  "hold %s: %s asked for its release already; a second person must agree",
                  id,
                  actor.id);
  }
  const bool second = !hold.release_asked_by.empty();
  LeafDraft leaf = HoldLeaf(LeafType::kHoldReleased, actor, hold);
  leaf.detail["step"] = std::string(second ? "released" : "asked");
  if (second) {
    leaf.detail["asked_by"] = hold.release_asked_by;
    hold.released = true;
  } else {
    hold.release_asked_by = actor.id;
  }
  RETURN_IF_ERROR(parts_.log.AppendAndWait(std::move(leaf)));
  ASSIGN_OR_RETURN(
      auto update,
      database_->Prepare("UPDATE holds SET release_asked_by=?, released=? WHERE id=?"));
  RETURN_IF_ERROR(update.Bind(1, hold.release_asked_by)
                      .Bind(2, int64_t{hold.released ? 1 : 0})
                      .Bind(3, id)
                      .Run());
  return hold;
}

StatusOr<std::vector<Hold>> Retention::ListHolds() {
  MutexLock lock(mutex_);
  return Holds("");
}

StatusOr<std::optional<std::string>> Retention::KeyIdOf(const Hold& hold) {
  if (!hold.scope.subject.has_value()) {
    return std::optional<std::string>();
  }
  auto key_id = parts_.keys.KeyIdOf({.tenant = hold.scope.tenant, .subject = *hold.scope.subject});
  if (key_id.status().code() == StatusCode::kNotFound) {
    return std::optional<std::string>("");
  }
  RETURN_IF_ERROR(key_id);
  return std::optional(*std::move(key_id));
}

StatusOr<bool> Retention::Covers(const Hold& hold, const SubjectRef& subject) {
  if (hold.scope.tenant != subject.tenant ||
      (hold.scope.subject.has_value() && *hold.scope.subject != subject.subject)) {
    return false;
  }
  if (hold.scope.rids.empty() && !hold.scope.from.has_value() && !hold.scope.to.has_value()) {
    return true;
  }
  ASSIGN_OR_RETURN(const std::string key_id, parts_.keys.KeyIdOf(subject));
  bool covered = false;
  RETURN_IF_ERROR(parts_.vault.ForEach(
      subject.tenant, [&](std::string_view day, const VaultEnvelope& envelope) {
        covered = covered || CoversRecord(hold, key_id, day, envelope);
      }));
  return covered;
}

Status Retention::RunUnlessHeld(const SubjectRef& subject, const std::function<Status()>& act) {
  MutexLock lock(mutex_);
  ASSIGN_OR_RETURN(const auto holds, Holds("WHERE released=0"));
  for (const Hold& hold : holds) {
    ASSIGN_OR_RETURN(const bool covered, Covers(hold, subject));
    if (covered) {
      return ErrorF(StatusCode::kFailedPrecondition,
                    "hold %s (%s) keeps this subject's payloads; it must be released first",
                    hold.id,
                    hold.basis);
    }
  }
  return act();
}

StatusOr<Vault::Purged> Retention::Purge(const ActorFacts& actor,
                                         const std::string& tenant,
                                         int days) {
  if (days < kRetentionDaysMin) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "payloads stay for %d days at least; %d were asked for",
                  kRetentionDaysMin,
                  days);
  }
  MutexLock lock(mutex_);
  ASSIGN_OR_RETURN(const auto holds, Holds("WHERE released=0"));
  std::vector<std::pair<Hold, std::optional<std::string>>> covering;
  for (const Hold& hold : holds) {
    if (hold.scope.tenant == tenant) {
      ASSIGN_OR_RETURN(auto key_id, KeyIdOf(hold));
      covering.emplace_back(hold, std::move(key_id));
    }
  }
  LeafDraft leaf;
  leaf.type = LeafType::kAdminAction;
  leaf.tenant = TenantId(tenant);
  leaf.actor = actor;
  leaf.detail["act"] = std::string("vault.purge");
  leaf.detail["days"] = static_cast<uint64_t>(days);
  RETURN_IF_ERROR(parts_.log.AppendAndWait(leaf));
  ASSIGN_OR_RETURN(
      const Vault::Purged purged,
      parts_.vault.Purge(tenant,
                         LastDay(parts_.clock, days),
                         [&](std::string_view day, const VaultEnvelope& envelope) {
                           return std::any_of(
                               covering.begin(), covering.end(), [&](const auto& entry) {
                                 return CoversRecord(entry.first, entry.second, day, envelope);
                               });
                         }));
  leaf.detail["act"] = std::string("vault.purged");
  leaf.detail["days_removed"] = purged.days;
  leaf.detail["days_held"] = purged.days_held;
  RETURN_IF_ERROR(parts_.log.AppendAndWait(std::move(leaf)));
  return purged;
}

Status Retention::PurgeAll(const ActorFacts& actor, int days) {
  for (const std::string& tenant : parts_.vault.TenantsBefore(LastDay(parts_.clock, days))) {
    RETURN_IF_ERROR(Annotate(Purge(actor, tenant, days).status(), "tenant " + tenant));
  }
  return OkStatus();
}

}  // namespace inferd
