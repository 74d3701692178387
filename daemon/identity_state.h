// IdentityState: who may call this daemon, as the tenant files, the configuration and the lists of
// revocations say now; and what a reload changes.
//
// A reload takes effect as a whole or not at all: tenant files with their quotas, revocations and
// the listener's certificates are read and checked, the change gets its leaf, then it is applied,
// and calls in progress go on as they began.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/digest.h"
#include "base/status.h"
#include "base/thread_annotations.h"
#include "daemon/authenticator.h"
#include "daemon/config.h"
#include "daemon/tenant_files.h"
#include "daemon/tls_credentials.h"
#include "governance/audit/leaf.h"
#include "governance/identity/api_key_store.h"

namespace inferd {

// Of the revocations' files: what stat says of each.
using RevocationStamps = std::array<int64_t, 6>;

// What a reload changed.
struct IdentityChange {
  std::vector<std::string> diff;  // a line each: "+ acme", "~ acme: principal + spiffe://…"
  size_t num_tenants = 0;
  Digest digest;  // of the tenant files
};

// Thread-safe.
class IdentityState {
 public:
  // Writes the leaf of a change, and waits for it.
  using Record = std::function<Status(const ActorFacts& actor, const IdentityChange& change)>;
  // Tells engine, quotas and audit of tenants' shares, limits and records; all of it or nothing.
  // `config` is the daemon's with the tenants of the files in it.
  using Apply = std::function<Status(const Config& before, const Config& config)>;
  struct Hooks {
    Record record;                  // may be empty: there is no audit log
    Apply apply;                    // may be empty
    TlsCredentials* tls = nullptr;  // absent: no TLS; outlives the reloads
  };

  // Reads everything. Errors as ReadTenantFiles, TenantDirectory::Build, Revocations.
  static StatusOr<std::unique_ptr<IdentityState>> Open(const Config& config);

  Authenticator& authenticator() { return authenticator_; }
  // With the tenants of the files in it.
  Config effective() const EXCLUDES(mutex_);

  // Set once, before the first reload.
  void set_hooks(Hooks hooks);
  // Records what was read at the start.
  Status RecordStart();
  // Reads tenant files, revocations and TLS files again. What takes rights away meanwhile does not
  // wait for it.
  StatusOr<IdentityChange> Reload(const ActorFacts& actor) EXCLUDES(reload_mutex_, mutex_);
  // The same for revocations alone, if their files changed; call it about once a second. False if
  // they did not.
  StatusOr<bool> ReloadRevocationsIfChanged() EXCLUDES(mutex_);
  // API keys are what the store has now; to be called after every change of it. The next reload
  // keeps them. `store` outlives the calls that look keys up.
  void UseKeysOf(const ApiKeyStore& store) EXCLUDES(mutex_);

 private:
  struct Loaded {
    std::shared_ptr<Identities> identities;  // shared with the Authenticator once it is complete
    Config effective;
    Digest digest;
  };
  explicit IdentityState(const Config& config, Loaded loaded);
  static StatusOr<Loaded> Load(const Config& config);
  static IdentityChange ChangeBetween(const Loaded& old, const Loaded& loaded);
  std::pair<Loaded, RevocationStamps> Current() const EXCLUDES(mutex_);

  const Config config_;  // without the files
  Authenticator authenticator_;
  Hooks hooks_;
  // One reload at a time, its wait for the leaf included. Taken before the other, which waits for
  // nothing but the revocations' files.
  Mutex reload_mutex_;
  mutable Mutex mutex_;
  Loaded current_ GUARDED_BY(mutex_);
  RevocationStamps stamps_ GUARDED_BY(mutex_){};
};

}  // namespace inferd
