// KeyStore: the keys under which payloads are encrypted, and their destruction.
//
//   root KEK (a credential) -> epoch key -> tenant KEK -> subject KEK -> a record's DEK and salt
//
// Each key is wrapped (AES-256-GCM) by the one above it; the wrapped keys of the upper four levels
// lie in one SQLite file, a record's in its envelope (vault.h). Destroying a subject's KEK makes
// every payload of that subject unreadable. A disk may keep old wrapped blobs (wear levelling,
// freed blocks), so a destruction also gives the tenant a new KEK and everyone a new epoch key, and
// forgets the old ones: what remains of the old blobs hangs on a key that no longer exists in the
// store. A backup of the store from before the destruction still opens; backups therefore expire
// (kKeyBackupDaysMax).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/status.h"
#include "base/thread_annotations.h"
#include "governance/keys/crypto.h"
#include "governance/sqlite.h"

namespace inferd {

inline constexpr int kKeyBackupDaysMax = 30;
inline constexpr size_t kKeyIdBytes = 16;

// Whose payload it is: a tenant, and the keyed hash of the tenant's end user (SubjectHash), or ""
// for what names none.
struct SubjectRef {
  std::string tenant;
  std::string subject;
};

// A subject's KEK and its name: 16 random bytes. Never reused.
struct SubjectKey {
  std::string key_id;
  SecretKey key;
};

// Thread-safe. No unwrapped key stays in memory but the root's.
class KeyStore {
 public:
  // Makes the store if there is none. kDataLoss if the root KEK is not the one it was made with.
  static StatusOr<std::unique_ptr<KeyStore>> Open(const std::string& path, SecretKey root_kek);

  // The subject's key to encrypt with; made, durably, if there is none.
  StatusOr<SubjectKey> KeyForSealing(const SubjectRef& subject) EXCLUDES(mutex_);
  // The key of this id to decrypt with. kNotFound if it was destroyed or never was.
  StatusOr<SecretKey> KeyForOpening(std::string_view key_id) EXCLUDES(mutex_);
  // The id of the subject's key. kNotFound if there is none.
  StatusOr<std::string> KeyIdOf(const SubjectRef& subject) EXCLUDES(mutex_);

  // What a destruction did, for its leaf.
  struct Destroyed {
    std::string key_id;
    int64_t epoch = 0;  // the one that began with it
  };
  // Destroys the subject's key and rotates the epoch, as one durable step. kNotFound if the subject
  // has no key: nothing of it was ever encrypted, or it was destroyed before.
  StatusOr<Destroyed> Destroy(const SubjectRef& subject, WallTime now) EXCLUDES(mutex_);
  // The epoch that began with the destruction of this key. kNotFound if it was not destroyed.
  StatusOr<int64_t> EpochOfDestruction(std::string_view key_id) EXCLUDES(mutex_);

  // Copies the store into `folder`. Returns the path of the copy.
  StatusOr<std::string> Backup(const std::string& folder, WallTime now) EXCLUDES(mutex_);
  // Removes copies in `folder` that are older than kKeyBackupDaysMax; how many.
  static StatusOr<uint64_t> ExpireBackups(const std::string& folder, WallTime now);
  // When the newest copy in `folder` was made, by its name.
  static std::optional<WallTime> NewestBackup(const std::string& folder);

  int64_t epoch() const EXCLUDES(mutex_);

 private:
  KeyStore(std::unique_ptr<Sqlite> database, SecretKey root_kek)
      : database_(std::move(database)), root_kek_(std::move(root_kek)) {}
  Status CreateTables() REQUIRES(mutex_);
  Status MakeFirstEpoch() REQUIRES(mutex_);
  StatusOr<SecretKey> EpochKey() REQUIRES(mutex_);
  StatusOr<SecretKey> TenantKey(const SecretKey& epoch_key, std::string_view tenant)
      REQUIRES(mutex_);
  Status PutTenantKey(const SecretKey& epoch_key,
                      std::string_view tenant,
                      const SecretKey& tenant_key) REQUIRES(mutex_);
  StatusOr<SecretKey> TenantKeyOrNew(std::string_view tenant) REQUIRES(mutex_);
  StatusOr<SubjectKey> NewSubjectKey(const SubjectRef& subject) REQUIRES(mutex_);
  Status Rotate(std::string_view tenant) REQUIRES(mutex_);
  Status RewrapTenants(const SecretKey& old_key, const SecretKey& new_key, std::string_view fresh)
      REQUIRES(mutex_);
  Status RewrapSubjects(const SecretKey& old_key, const SecretKey& new_key, std::string_view tenant)
      REQUIRES(mutex_);

  mutable Mutex mutex_;
  const std::unique_ptr<Sqlite> database_;
  const SecretKey root_kek_;
  int64_t epoch_ GUARDED_BY(mutex_) = 0;
};

// The end user `user` of the tenant, as leaves and the key store name it: HMAC-SHA-256 under the
// subject pepper, base64url without padding. "" for "".
std::string SubjectHash(const SecretKey& pepper, std::string_view tenant, std::string_view user);

}  // namespace inferd
