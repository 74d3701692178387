#include "governance/key_store.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <vector>

#include "governance/audit/canonical_json.h"
#include "governance/vault_text.h"

namespace inferd {
namespace {

constexpr char kSchema[] =
    "CREATE TABLE IF NOT EXISTS epochs(epoch INTEGER PRIMARY KEY, wrapped BLOB NOT NULL);"
    "CREATE TABLE IF NOT EXISTS tenants(tenant TEXT PRIMARY KEY, wrapped BLOB NOT NULL)"
    "  WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS subjects(key_id BLOB PRIMARY KEY, tenant TEXT NOT NULL,"
    "  subject TEXT NOT NULL, wrapped BLOB NOT NULL, UNIQUE(tenant, subject)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS destroyed(key_id BLOB PRIMARY KEY, epoch INTEGER NOT NULL,"
    "  at_us INTEGER NOT NULL) WITHOUT ROWID;"
    "PRAGMA user_version=1;";
constexpr std::string_view kBackupPrefix = "keystore-";
constexpr std::string_view kBackupSuffix = ".sqlite";
constexpr size_t kBackupDigits = 20;  // microseconds since 1970

std::string BackupName(WallTime time) {
  return absl::StrFormat("%s%020d%s", kBackupPrefix, MicrosOf(time), kBackupSuffix);
}

// Names of the copies in a folder, oldest first.
std::vector<std::string> BackupsIn(const std::string& folder) {
  const size_t size = kBackupPrefix.size() + kBackupDigits + kBackupSuffix.size();
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    std::string name = entry.path().filename().string();
    if (name.size() == size && name.starts_with(kBackupPrefix) && name.ends_with(kBackupSuffix)) {
      names.push_back(std::move(name));
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

// What a wrapped key is bound to, so that a blob moved to another row does not open.
std::string EpochPlace(int64_t epoch) { return absl::StrFormat("inferd-wrap-v1 epoch %d", epoch); }
std::string TenantPlace(std::string_view tenant) {
  return absl::StrFormat("inferd-wrap-v1 tenant %s", tenant);
}
std::string SubjectPlace(std::string_view tenant, std::string_view key_id) {
  return absl::StrFormat("inferd-wrap-v1 subject %s %s", HexOf(key_id), tenant);
}

std::string Wrap(const SecretKey& with, const std::string& place, const SecretKey& key) {
  return AeadSeal(with, place, key.bytes());
}

StatusOr<SecretKey> Unwrap(const SecretKey& with,
                           const std::string& place,
                           std::string_view wrapped) {
  ASSIGN_OR_RETURN(std::string bytes, AeadOpen(with, place, wrapped));
  StatusOr<SecretKey> key = SecretKey::From(bytes);
  Cleanse(bytes);
  return key;
}

}  // namespace

StatusOr<std::unique_ptr<KeyStore>> KeyStore::Open(const std::string& path, SecretKey root_kek) {
  ASSIGN_OR_RETURN(auto database, Sqlite::Open(path));
  std::unique_ptr<KeyStore> store(new KeyStore(std::move(database), std::move(root_kek)));
  MutexLock lock(store->mutex_);
  RETURN_IF_ERROR(store->CreateTables());
  const auto key = store->EpochKey();
  if (!key.ok()) {
    return ErrorF(key.status().code(),
                  "%s: the root key (root.kek) does not open this key store: %s",
                  path,
                  Message(key.status()));
  }
  RETURN_IF_ERROR(store->database_->TruncateLog());
  return store;
}

Status KeyStore::CreateTables() {
  RETURN_IF_ERROR(database_->Execute(kSchema));
  ASSIGN_OR_RETURN(auto select, database_->Prepare("SELECT max(epoch) FROM epochs"));
  ASSIGN_OR_RETURN(const bool row, select.Step());
  if (row && !select.IsNull(0)) {
    epoch_ = select.Integer(0);
    return OkStatus();
  }
  return MakeFirstEpoch();
}

Status KeyStore::MakeFirstEpoch() {
  epoch_ = 1;
  ASSIGN_OR_RETURN(auto insert, database_->Prepare("INSERT INTO epochs VALUES(?, ?)"));
  return insert.Bind(1, epoch_)
      .BindBlob(2, Wrap(root_kek_, EpochPlace(epoch_), SecretKey::Random()))
      .Run();
}

StatusOr<SecretKey> KeyStore::EpochKey() {
  ASSIGN_OR_RETURN(auto select, database_->Prepare("SELECT wrapped FROM epochs WHERE epoch=?"));
  ASSIGN_OR_RETURN(const bool row, select.Bind(1, epoch_).Step());
  if (!row) {
    return ErrorF(StatusCode::kDataLoss, "the key store has no key of epoch %d", epoch_);
  }
  return Unwrap(root_kek_, EpochPlace(epoch_), select.Blob(0));
}

StatusOr<SecretKey> KeyStore::TenantKey(const SecretKey& epoch_key, std::string_view tenant) {
  ASSIGN_OR_RETURN(auto select, database_->Prepare("SELECT wrapped FROM tenants WHERE tenant=?"));
  ASSIGN_OR_RETURN(const bool row, select.Bind(1, tenant).Step());
  if (!row) {
    return ErrorF(StatusCode::kNotFound, "tenant %s has no key", tenant);
  }
  return Unwrap(epoch_key, TenantPlace(tenant), select.Blob(0));
}

Status KeyStore::PutTenantKey(const SecretKey& epoch_key,
                              std::string_view tenant,
                              const SecretKey& tenant_key) {
  ASSIGN_OR_RETURN(auto put, database_->Prepare("INSERT OR REPLACE INTO tenants VALUES(?, ?)"));
  return put.Bind(1, tenant).BindBlob(2, Wrap(epoch_key, TenantPlace(tenant), tenant_key)).Run();
}

StatusOr<SecretKey> KeyStore::TenantKeyOrNew(std::string_view tenant) {
  ASSIGN_OR_RETURN(const SecretKey epoch_key, EpochKey());
  auto key = TenantKey(epoch_key, tenant);
  if (key.status().code() != StatusCode::kNotFound) {
    return key;
  }
  SecretKey fresh = SecretKey::Random();
  RETURN_IF_ERROR(PutTenantKey(epoch_key, tenant, fresh));
  return fresh;
}

StatusOr<SubjectKey> KeyStore::NewSubjectKey(const SubjectRef& subject) {
  SubjectKey result{.key_id = RandomBytes(kKeyIdBytes), .key = SecretKey::Random()};
  RETURN_IF_ERROR(database_->Transaction([&]() REQUIRES(mutex_) -> Status {
    ASSIGN_OR_RETURN(const SecretKey tenant_key, TenantKeyOrNew(subject.tenant));
    ASSIGN_OR_RETURN(auto insert, database_->Prepare("INSERT INTO subjects VALUES(?, ?, ?, ?)"));
    return insert.BindBlob(1, result.key_id)
        .Bind(2, subject.tenant)
        .Bind(3, subject.subject)
        .BindBlob(4, Wrap(tenant_key, SubjectPlace(subject.tenant, result.key_id), result.key))
        .Run();
  }));
  RETURN_IF_ERROR(database_->TruncateLog());
  return result;
}

StatusOr<SubjectKey> KeyStore::KeyForSealing(const SubjectRef& subject) {
  MutexLock lock(mutex_);
  ASSIGN_OR_RETURN(
      auto select,
      database_->Prepare("SELECT key_id, wrapped FROM subjects WHERE tenant=? AND subject=?"));
  ASSIGN_OR_RETURN(const bool row, select.Bind(1, subject.tenant).Bind(2, subject.subject).Step());
  if (!row) {
    select.Reset();
    return NewSubjectKey(subject);
  }
  ASSIGN_OR_RETURN(const SecretKey epoch_key, EpochKey());
  ASSIGN_OR_RETURN(const SecretKey tenant_key, TenantKey(epoch_key, subject.tenant));
  SubjectKey result{.key_id = std::string(select.Blob(0)), .key = {}};
  ASSIGN_OR_RETURN(result.key,
                   Unwrap(tenant_key, SubjectPlace(subject.tenant, result.key_id), select.Blob(1)));
  return result;
}

StatusOr<SecretKey> KeyStore::KeyForOpening(std::string_view key_id) {
  MutexLock lock(mutex_);
  ASSIGN_OR_RETURN(auto select,
                   database_->Prepare("SELECT tenant, wrapped FROM subjects WHERE key_id=?"));
  ASSIGN_OR_RETURN(const bool row, select.BindBlob(1, key_id).Step());
  if (!row) {
    return ErrorF(StatusCode::kNotFound,
                  "key %s is gone: what was encrypted with it was erased",
                  HexOf(key_id));
  }
  const std::string tenant(select.Text(0));
  ASSIGN_OR_RETURN(const SecretKey epoch_key, EpochKey());
  ASSIGN_OR_RETURN(const SecretKey tenant_key, TenantKey(epoch_key, tenant));
  return Unwrap(tenant_key, SubjectPlace(tenant, key_id), select.Blob(1));
}

StatusOr<std::string> KeyStore::KeyIdOf(const SubjectRef& subject) {
  MutexLock lock(mutex_);
  ASSIGN_OR_RETURN(auto select,
                   database_->Prepare("SELECT key_id FROM subjects WHERE tenant=? AND subject=?"));
  ASSIGN_OR_RETURN(const bool row, select.Bind(1, subject.tenant).Bind(2, subject.subject).Step());
  if (!row) {
    return ErrorF(StatusCode::kNotFound,
                  "tenant %s: this subject has no key: no payload of it is kept",
                  subject.tenant);
  }
  return std::string(select.Blob(0));
}

StatusOr<KeyStore::Destroyed> KeyStore::Destroy(const SubjectRef& subject, WallTime now) {
  ASSIGN_OR_RETURN(const std::string key_id, KeyIdOf(subject));
  MutexLock lock(mutex_);
  const int64_t epoch_before = epoch_;
  const Status status = database_->Transaction([&]() REQUIRES(mutex_) -> Status {
    ASSIGN_OR_RETURN(auto remove, database_->Prepare("DELETE FROM subjects WHERE key_id=?"));
    RETURN_IF_ERROR(remove.BindBlob(1, key_id).Run());
    RETURN_IF_ERROR(Rotate(subject.tenant));
    ASSIGN_OR_RETURN(auto note, database_->Prepare("INSERT INTO destroyed VALUES(?, ?, ?)"));
    return note.BindBlob(1, key_id).Bind(2, epoch_).Bind(3, MicrosOf(now)).Run();
  });
  if (!status.ok()) {
    epoch_ = epoch_before;
    return status;
  }
  RETURN_IF_ERROR(database_->TruncateLog());
  return Destroyed{.key_id = key_id, .epoch = epoch_};
}

Status KeyStore::Rotate(std::string_view tenant) {
  ASSIGN_OR_RETURN(const SecretKey old_key, EpochKey());
  const SecretKey new_key = SecretKey::Random();
  RETURN_IF_ERROR(RewrapTenants(old_key, new_key, tenant));
  ASSIGN_OR_RETURN(auto remove, database_->Prepare("DELETE FROM epochs"));
  RETURN_IF_ERROR(remove.Run());
  ++epoch_;
  ASSIGN_OR_RETURN(auto insert, database_->Prepare("INSERT INTO epochs VALUES(?, ?)"));
  return insert.Bind(1, epoch_).BindBlob(2, Wrap(root_kek_, EpochPlace(epoch_), new_key)).Run();
}

// Every tenant's key moves under the new epoch's; the tenant `fresh` gets a new one altogether.
Status KeyStore::RewrapTenants(const SecretKey& old_key,
                               const SecretKey& new_key,
                               std::string_view fresh) {
  std::vector<std::string> tenants;
  ASSIGN_OR_RETURN(auto select, database_->Prepare("SELECT tenant FROM tenants"));
  for (;;) {
    ASSIGN_OR_RETURN(const bool row, select.Step());
    if (!row) {
      break;
    }
    tenants.emplace_back(select.Text(0));
  }
  for (const std::string& tenant : tenants) {
    ASSIGN_OR_RETURN(SecretKey key, TenantKey(old_key, tenant));
    if (tenant == fresh) {
      SecretKey replacement = SecretKey::Random();
      RETURN_IF_ERROR(RewrapSubjects(key, replacement, tenant));
      key = std::move(replacement);
    }
    RETURN_IF_ERROR(PutTenantKey(new_key, tenant, key));
  }
  return OkStatus();
}

Status KeyStore::RewrapSubjects(const SecretKey& old_key,
                                const SecretKey& new_key,
                                std::string_view tenant) {
  std::vector<std::string> key_ids;
  ASSIGN_OR_RETURN(auto list, database_->Prepare("SELECT key_id FROM subjects WHERE tenant=?"));
  list.Bind(1, tenant);
  for (;;) {
    ASSIGN_OR_RETURN(const bool row, list.Step());
    if (!row) {
      break;
    }
    key_ids.emplace_back(list.Blob(0));
  }
  ASSIGN_OR_RETURN(auto select, database_->Prepare("SELECT wrapped FROM subjects WHERE key_id=?"));
  ASSIGN_OR_RETURN(auto update, database_->Prepare("UPDATE subjects SET wrapped=? WHERE key_id=?"));
  for (const std::string& key_id : key_ids) {
    ASSIGN_OR_RETURN(const bool row, select.BindBlob(1, key_id).Step());
    const std::string place = SubjectPlace(tenant, key_id);
    ASSIGN_OR_RETURN(const SecretKey key,
                     Unwrap(old_key, place, row ? select.Blob(0) : std::string_view()));
    select.Reset();
    RETURN_IF_ERROR(update.BindBlob(1, Wrap(new_key, place, key)).BindBlob(2, key_id).Run());
  }
  return OkStatus();
}

StatusOr<int64_t> KeyStore::EpochOfDestruction(std::string_view key_id) {
  MutexLock lock(mutex_);
  ASSIGN_OR_RETURN(auto select, database_->Prepare("SELECT epoch FROM destroyed WHERE key_id=?"));
  ASSIGN_OR_RETURN(const bool row, select.BindBlob(1, key_id).Step());
  if (!row) {
    return ErrorF(StatusCode::kNotFound, "key %s was not destroyed", HexOf(key_id));
  }
  return select.Integer(0);
}

StatusOr<std::string> KeyStore::Backup(const std::string& folder, WallTime now) {
  const std::string path = folder + '/' + BackupName(now);
  MutexLock lock(mutex_);
  RETURN_IF_ERROR(database_->BackupTo(path));
  return path;
}

StatusOr<uint64_t> KeyStore::ExpireBackups(const std::string& folder, WallTime now) {
  const std::string limit = BackupName(now - std::chrono::hours(24) * kKeyBackupDaysMax);
  uint64_t expired = 0;
  for (const std::string& name : BackupsIn(folder)) {
    if (name >= limit) {
      break;
    }
    std::error_code error;
    std::filesystem::remove(std::filesystem::path(folder) / name, error);
    if (error) {
      return ErrorF(StatusCode::kUnavailable,
                    "%s/%s: an expired backup of the key store cannot be removed: %s",
                    folder,
                    name,
                    error.message());
    }
    ++expired;
  }
  return expired;
}

std::optional<WallTime> KeyStore::NewestBackup(const std::string& folder) {
  const std::vector<std::string> names = BackupsIn(folder);
  int64_t micros = 0;
  if (names.empty()) {
    return std::nullopt;
  }
  const char* const digits = names.back().data() + kBackupPrefix.size();
  std::from_chars(digits, digits + kBackupDigits, micros);
  return WallTime(std::chrono::microseconds(micros));
}

int64_t KeyStore::epoch() const {
  MutexLock lock(mutex_);
  return epoch_;
}

std::string SubjectHash(const SecretKey& pepper, std::string_view tenant, std::string_view user) {
  if (user.empty()) {
    return "";
  }
  std::string message = "infer-subject-v1";
  message.push_back('\0');
  message += tenant;
  message.push_back('\0');
  message += user;
  const Digest digest = HmacSha256(pepper, message);
  return Base64Url(digest.bytes);
}

}  // namespace inferd
