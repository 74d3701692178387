#include "daemon/authenticator.h"

#include "governance/identity/peer_certificate.h"

namespace inferd {
namespace {

constexpr std::string_view kBearer = "Bearer ";

// Breaking glass takes two persons.
std::vector<Role> AllRoles() {
  std::vector<Role> roles(kRoles.begin(), kRoles.end());
  std::erase(roles, Role::kBreakGlass);
  return roles;
}

Status Refuse(std::string_view why) { return {StatusCode::kUnauthenticated, std::string(why)}; }

// The organisation of a tenant that no file describes is the tenant itself.
std::string OrganisationOf(const Identities& known, const TenantId& tenant) {
  const TenantRecord* const record = known.tenants.FindTenant(tenant);
  return record == nullptr ? tenant.value() : record->organisation;
}

StatusOr<Caller> OfUid(const Identities& known, uint32_t uid) {
  Caller caller;
  const std::string name = absl::StrFormat("uid:%d", uid);
  caller.actor = {.kind = "human", .id = name, .authn = "peercred"};
  if (known.administrators.empty()) {
    caller.roles = AllRoles();
    return caller;
  }
  for (const Administrator& administrator : known.administrators) {
    if (administrator.name == name) {
      caller.roles = administrator.roles;
      return caller;
    }
  }
  return Refuse(name + " is none of identity.administrators");
}

StatusOr<Caller> OfCertificate(const Identities& known, const std::string& pem, WallTime now) {
  ASSIGN_OR_RETURN(const PeerCertificate certificate, ReadPeerCertificate(pem));
  if (!certificate.IsValidAt(now)) {
    return Refuse("the certificate is not valid at this time");
  }
  if (known.revocations.Has(certificate)) {
    return Refuse("the certificate is revoked");
  }
  if (certificate.name.size() > kLeafTextBytesMax) {
    return Refuse("the certificate's name is too long");
  }
  Caller caller;
  caller.actor = {.kind = "workload",
                  .id = certificate.name,
                  .authn = "mtls",
                  .cred = "sha256:" + certificate.public_key.Hex()};
  if (known.single_tenant) {
    if (known.local_tenant.value().empty()) {
      return Refuse("no tenant is configured");
    }
    caller.tenant = known.local_tenant;
    caller.roles = {Role::kTenantUser};
  } else {
    const auto match = known.tenants.Find(certificate.name);
    if (!match.has_value()) {
      return Refuse("the certificate's name is of no tenant here");
    }
    caller.tenant = match->tenant->id;
    caller.project = match->principal->project;
    caller.roles = match->principal->roles;
  }
  caller.organisation = OrganisationOf(known, caller.tenant);
  return caller;
}

StatusOr<Caller> OfKey(const Identities& known,
                       std::string_view text,
                       WallTime now,
                       const std::string& peer) {
  if (known.keys == nullptr) {
    return Refuse("this is no API key that is in use here");
  }
  ASSIGN_OR_RETURN(const ApiKey* const key, known.keys->Verify(text, now, AddressOf(peer)));
  if (known.tenants.FindTenant(key->tenant) == nullptr && key->tenant != known.local_tenant) {
    return Refuse("the API key's tenant is not here any more");
  }
  Caller caller;
  caller.tenant = key->tenant;
  caller.organisation = OrganisationOf(known, key->tenant);
  caller.project = key->project;
  caller.key_id = key->id;
  caller.actor = {
      .kind = "workload", .id = "key:" + key->id, .authn = "apikey", .cred = "key:" + key->id};
  caller.roles = {Role::kTenantUser};
  caller.scopes = key->scopes;
  return caller;
}

StatusOr<Caller> OfThisHost(const Identities& known) {
  Caller caller;
  caller.tenant = known.local_tenant;
  caller.organisation = OrganisationOf(known, known.local_tenant);
  caller.actor = {.kind = "workload", .id = known.local_tenant.value(), .authn = "none"};
  caller.roles = {Role::kTenantUser};
  return caller;
}

}  // namespace

std::string AddressOf(std::string_view peer) {
  const bool is_v6 = peer.starts_with("ipv6:");
  if (!is_v6 && !peer.starts_with("ipv4:")) {
    return "";
  }
  peer.remove_prefix(5);
  const size_t colon = peer.rfind(':');
  std::string_view host = peer.substr(0, colon);
  for (const auto& [open, close] : {std::pair("%5B", "%5D"), std::pair("[", "]")}) {
    if (is_v6 && host.starts_with(open) && host.ends_with(close)) {
      const size_t length = std::string_view(open).size();
      host = host.substr(length, host.size() - 2 * length);
    }
  }
  return std::string(host);
}

bool IsLocalPeer(std::string_view peer) {
  if (peer.starts_with("unix:")) {
    return true;
  }
  const std::string address = AddressOf(peer);
  return address == "::1" || address.starts_with("127.") || address.starts_with("::ffff:127.");
}

void Authenticator::Replace(std::shared_ptr<const Identities> identities) {
  MutexLock lock(mutex_);
  identities_.swap(identities);
}

std::shared_ptr<const Identities> Authenticator::identities() const {
  MutexLock lock(mutex_);
  return identities_;
}

StatusOr<Caller> Authenticator::Authenticate(const PeerFacts& peer, WallTime now) const {
  const std::shared_ptr<const Identities> known = identities();
  if (peer.uid.has_value()) {
    return OfUid(*known, *peer.uid);
  }
  std::optional<Caller> by_certificate;
  if (!peer.certificate.empty()) {
    ASSIGN_OR_RETURN(by_certificate, OfCertificate(*known, peer.certificate, now));
  }
  if (!peer.authorization.empty()) {
    const std::string_view text = peer.authorization.front();
    if (peer.authorization.size() != 1 || !text.starts_with(kBearer)) {
      return Refuse("authorization: one value is taken, \"Bearer KEY\"");
    }
    ASSIGN_OR_RETURN(Caller by_key, OfKey(*known, text.substr(kBearer.size()), now, peer.address));
    if (by_certificate.has_value() && by_certificate->tenant != by_key.tenant) {
      return Refuse("the API key is not of the certificate's tenant");
    }
    return by_key;
  }
  if (by_certificate.has_value()) {
    return *std::move(by_certificate);
  }
  if (!peer.over_tls && IsLocalPeer(peer.address) && !known->local_tenant.value().empty()) {
    return OfThisHost(*known);
  }
  return Refuse("a certificate or an API key is needed");
}

}  // namespace inferd
