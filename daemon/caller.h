// Caller: who a call is of, as its credential says it; and what of the connection says so.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "governance/audit/leaf.h"
#include "governance/identity/tenant_directory.h"

namespace inferd {

// A plain value. Comes from an Authenticator alone: no field of a request ever makes one.
struct Caller {
  TenantId tenant{};           // empty for administrators, who are of no tenant
  std::string organisation{};  // the tenant's
  std::string project{};       // "": none
  std::string key_id{};        // of the API key; "": none was used
  ActorFacts actor{};          // as leaves name it
  std::vector<Role> roles{};
  // Of an API key: what it may be used for. nullopt: whatever the roles allow.
  std::optional<std::vector<std::string>> scopes{};

  bool Has(Role role) const { return std::find(roles.begin(), roles.end(), role) != roles.end(); }
  bool MayUse(std::string_view scope) const {
    return !scopes.has_value() || std::find(scopes->begin(), scopes->end(), scope) != scopes->end();
  }
};

// What a connection and a call's metadata say of their peer.
struct PeerFacts {
  std::string address{};  // as gRPC has it: "ipv4:127.0.0.1:4711", "ipv6:%5B::1%5D:4711", "unix:"
  std::string certificate{};  // PEM of the peer's own; "": none was shown
  bool over_tls = false;
  std::vector<std::string> authorization{};  // every value of this metadata key
  std::optional<uint32_t> uid{};             // of a peer of the admin socket
};

// The IP address of a peer, without port and brackets; "" for a Unix peer and for what is no
// address.
std::string AddressOf(std::string_view peer);
// Is the peer a process of this host?
bool IsLocalPeer(std::string_view peer);

}  // namespace inferd
