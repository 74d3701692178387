// Authenticator: who calls, by what the peer shows.
//
// What is shown must be good: a credential that is not is refused, and nothing else is tried in its
// place. In this order:
//   admin socket        the uid that the kernel tells; one of the administrators, if any are named
//   TLS                 the certificate's name, as PeerCertificate reads it
//   authorization       "Bearer ik_…": an API key, beside a certificate of the same tenant or alone
//   nothing, this host  the local tenant, if there is one
// A certificate and a key are looked at on every call, so that what is revoked ends with the next
// call of a connection that stands.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "base/thread_annotations.h"
#include "daemon/caller.h"
#include "governance/identity/api_key.h"
#include "governance/identity/revocations.h"
#include "governance/identity/tenant_directory.h"

namespace inferd {

// A person who may use the admin socket.
struct Administrator {
  std::string name;  // "uid:1000"
  std::vector<Role> roles;
  friend bool operator==(const Administrator&, const Administrator&) = default;
};

// Everybody who is known at a moment. Immutable once an Authenticator has it.
struct Identities {
  TenantDirectory tenants;
  // No tenants are named: whoever the listener lets in is the local tenant.
  bool single_tenant = true;
  TenantId local_tenant{"local"};             // of callers of this host; "": they need a credential
  std::vector<Administrator> administrators;  // none: whoever the socket lets in, with every role
  Revocations revocations;
  std::shared_ptr<const ApiKeyRing> keys;  // shared with the store that made it; nullptr: none
};

// Thread-safe. Calls do not block.
class Authenticator {
 public:
  explicit Authenticator(std::shared_ptr<const Identities> identities)
      : identities_(std::move(identities)) {}

  // From now on these are known; calls in progress end as they began.
  void Replace(std::shared_ptr<const Identities> identities) EXCLUDES(mutex_);
  std::shared_ptr<const Identities> identities() const EXCLUDES(mutex_);

  // kUnauthenticated says which rule was broken; never what a credential contains.
  StatusOr<Caller> Authenticate(const PeerFacts& peer, WallTime now) const;

 private:
  mutable Mutex mutex_;
  // Shared with the calls that are looking something up.
  std::shared_ptr<const Identities> identities_ GUARDED_BY(mutex_);
};

}  // namespace inferd
