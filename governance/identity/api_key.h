// API keys: secrets that callers without a certificate show.
//
//   ik_<environment>_<id>_<secret>_<checksum>
//
// environment: 1 to 16 of a-z 0-9. id: 12 of 0-9 A-Z a-z, public. secret: 43 of them, 256 random
// bits. checksum: CRC-32C of all before its underscore, 6 of them, so that a mistyped key, or one
// that was cut, is known without asking anybody. What is stored is HMAC-SHA256(pepper, all but the
// checksum): whoever steals the list cannot call.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/digest.h"
#include "base/ids.h"
#include "base/status.h"
#include "governance/identity/network.h"
#include "governance/keys/crypto.h"

namespace inferd {

inline constexpr size_t kApiKeyIdBytes = 12;

// When a key last let a call in. Thread-safe.
class ApiKeyUse {
 public:
  void Note(WallTime now) {
    nanos_.store(now.time_since_epoch().count(), std::memory_order_relaxed);
  }
  std::optional<WallTime> last() const {
    const int64_t nanos = nanos_.load(std::memory_order_relaxed);
    return nanos == 0 ? std::nullopt : std::optional(WallTime(Duration(nanos)));
  }

 private:
  std::atomic<int64_t> nanos_{0};  // 0: never
};

// What is known of a key; never its secret.
struct ApiKey {
  std::string id;
  std::string environment;
  TenantId tenant;
  std::string project;
  std::vector<std::string> scopes;  // what it may be used for
  std::vector<Network> sources;     // where from; empty: anywhere
  WallTime created;
  WallTime expires;
  bool revoked = false;
  Digest mac;
  // Of this process alone. Shared by all copies of the key, of which every change of the list makes
  // one: calls under way note their use in an older one.
  std::shared_ptr<ApiKeyUse> use = std::make_shared<ApiKeyUse>();
};

// Is it a key's text, with the right checksum? Says nothing of whether anybody issued it.
bool IsApiKeyText(std::string_view text);

// A new key's text, shown once; fills id and mac of `key`, whose environment is set.
std::string MakeApiKey(const SecretKey& pepper, ApiKey& key);

// All keys of a moment, for looking them up. Immutable, so thread-safe.
class ApiKeyRing {
 public:
  // `pepper` outlives the ring. Ids are distinct.
  ApiKeyRing(std::vector<ApiKey> keys, const SecretKey& pepper);

  // The key that the text is, if it may be used now from this address (an IP address; "" for a Unix
  // peer). kUnauthenticated else, with one message for a text that is no key, an unknown id and a
  // wrong secret; the last two take the same time and touch memory alike. What only the holder of
  // the secret can learn is said: revoked, expired, not from here. Notes the key's use.
  StatusOr<const ApiKey*> Verify(std::string_view text,
                                 WallTime now,
                                 std::string_view source_address) const;

  const std::vector<ApiKey>& keys() const { return keys_; }  // by id

 private:
  const SecretKey& pepper_;
  std::vector<ApiKey> keys_;
  // Of each key: id and mac side by side. One more than keys, so that there is always one.
  struct Slot {
    unsigned __int128 id = 0;  // its bytes as a number, compared without a branch
    Digest mac;
  };
  std::vector<Slot> slots_;  // sorted by id
};

}  // namespace inferd
