// Revocations: certificates that are of no use any more, whatever the handshake said. Looked up on
// every call, so that a connection that stands ends with the next call on it.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "base/digest.h"
#include "base/status.h"
#include "governance/identity/peer_certificate.h"

namespace inferd {

// A plain value.
class Revocations {
 public:
  // Adds the operator's list: a line for each, "public_key sha256:<hex>" (every certificate of that
  // key) or "serial <hex>" (of any issuer); '#' begins a comment. kInvalidArgument names the line.
  Status AddList(std::string_view text);
  // Adds an authority's revocation list (CRL, PEM; RFC 5280). Whoever may write the file is
  // trusted: its signature is not looked at, and its entries hold after its next update was due,
  // too.
  Status AddCrl(std::string_view pem);

  bool Has(const PeerCertificate& certificate) const;
  friend bool operator==(const Revocations&, const Revocations&) = default;
  size_t size() const { return public_keys_.size() + serials_.size() + issued_.size(); }

 private:
  std::set<Digest> public_keys_;
  std::set<std::string> serials_;
  std::set<std::pair<Digest, std::string>> issued_;  // issuer, serial
};

}  // namespace inferd
