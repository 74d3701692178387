// ApiKeyStore: the API keys of this daemon, in a file that holds no secret: of each key what it may
// do and its HMAC under the pepper.
//
// docs/identity.md describes the file. It is replaced as a whole at every change, durably, so a
// crash leaves the one before or the one after.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/file_system.h"
#include "base/status.h"
#include "base/thread_annotations.h"
#include "governance/identity/api_key.h"

namespace inferd {

inline constexpr size_t kApiKeysMax = 100'000;
inline constexpr uint64_t kApiKeyFileBytesMax = 128 << 20;

// Thread-safe.
class ApiKeyStore {
 public:
  // A folder without the file: no keys yet. kInvalidArgument names the entry of a file that is of
  // no use; kFailedPrecondition for keys that were made under another pepper. `files` outlives it.
  static StatusOr<std::unique_ptr<ApiKeyStore>> Open(FileSystem& files,
                                                     const std::string& folder,
                                                     SecretKey pepper);

  struct Made {
    ApiKey key;
    std::string text;  // to be shown once; nothing keeps it
  };
  // A new key, not in use before Add. `wanted` has all but id and mac. kInvalidArgument names what
  // it cannot have.
  StatusOr<Made> Make(ApiKey wanted) const;
  // The same rights as the key of this id has. kNotFound; kFailedPrecondition if it is revoked.
  StatusOr<Made> MakeSuccessor(const std::string& id, WallTime now, WallTime expires) const;
  // Durable and in use when it returns. kResourceExhausted beyond kApiKeysMax.
  Status Add(const ApiKey& key) EXCLUDES(mutex_);
  // The key ends at `time` if it would not sooner. kNotFound.
  StatusOr<ApiKey> Expire(const std::string& id, WallTime time) EXCLUDES(mutex_);
  // The key is refused from now on, even if the file cannot be written (then an error). kNotFound.
  StatusOr<ApiKey> Revoke(const std::string& id) EXCLUDES(mutex_);

  // All keys as they are now.
  std::shared_ptr<const ApiKeyRing> ring() const EXCLUDES(mutex_);

 private:
  ApiKeyStore(FileSystem& files, std::string folder, SecretKey pepper);
  StatusOr<ApiKey> Change(const std::string& id, void (*change)(ApiKey&, WallTime), WallTime time)
      EXCLUDES(mutex_);
  Status Save(const std::vector<ApiKey>& keys) const;
  void Use(std::vector<ApiKey> keys) REQUIRES(mutex_);

  FileSystem& files_;
  const std::string folder_;
  const SecretKey pepper_;
  mutable Mutex mutex_;  // one change at a time
  // Shared with calls that look a key up; refers to pepper_.
  std::shared_ptr<const ApiKeyRing> ring_ GUARDED_BY(mutex_);
};

}  // namespace inferd
