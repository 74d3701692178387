#include "governance/upkeep.h"

#include <filesystem>

namespace inferd {
namespace {

ActorFacts Self() { return {.kind = "service", .id = "inferd", .authn = "none"}; }

}  // namespace

Status Upkeep::Record(const std::string& act, const std::string& key, const LeafDetail& value) {
  LeafDraft draft;
  draft.type = LeafType::kAdminAction;
  draft.tenant = TenantId(std::string(kLogTenant));
  draft.actor = Self();
  draft.detail["act"] = act;
  draft.detail[key] = value;
  return parts_.log.AppendAndWait(std::move(draft)).status();
}

Status Upkeep::Expire() {
  ASSIGN_OR_RETURN(const uint64_t expired,
                   KeyStore::ExpireBackups(options_.backup_folder, parts_.clock.WallNow()));
  return expired == 0 ? OkStatus() : Record("keys.backup_expired", "count", expired);
}

Status Upkeep::BackUp() {
  const WallTime now = parts_.clock.WallNow();
  const auto newest = KeyStore::NewestBackup(options_.backup_folder);
  const bool due =
      !newest.has_value() || *newest > now || now - *newest >= options_.backup_interval;
  if (options_.backup_interval == Duration(0) || !due) {
    return OkStatus();
  }
  ASSIGN_OR_RETURN(const std::string path, parts_.keys.Backup(options_.backup_folder, now));
  return Record("keys.backup", "file", std::filesystem::path(path).filename().string());
}

Status Upkeep::Purge() {
  const WallTime now = parts_.clock.WallNow();
  const bool due =
      purged_at_ == WallTime() || purged_at_ > now || now - purged_at_ >= options_.purge_interval;
  if (options_.retention_days == 0 || !due) {
    return OkStatus();
  }
  RETURN_IF_ERROR(parts_.retention.PurgeAll(Self(), options_.retention_days));
  purged_at_ = now;
  return OkStatus();
}

Status Upkeep::RunIfDue() {
  Status first;
  for (const Status& status : {Expire(), BackUp(), Purge()}) {
    if (first.ok()) {
      first = status;
    }
  }
  return first;
}

}  // namespace inferd
