// PeerCertificate: who a caller's certificate says it is.
//
// The rules are those of the X.509-SVID specification (github.com/spiffe/spiffe,
// standards/X509-SVID.md) where the certificate has a URI name, and a plain one where it has none:
// exactly one DNS name. That the certificate is of an authority that we trust is for the
// handshake to check.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/digest.h"
#include "base/status.h"

namespace inferd {

// A plain value.
struct PeerCertificate {
  enum class NameKind : uint8_t { kSpiffe, kDns };
  NameKind name_kind = NameKind::kSpiffe;
  std::string name;    // "spiffe://example.org/search", or a DNS name in lower case
  std::string serial;  // lower-case hex without leading zeros
  Digest issuer;       // SHA-256 of the issuer's name, DER
  Digest public_key;   // SHA-256 of SubjectPublicKeyInfo, DER
  WallTime not_before, not_after;

  bool IsValidAt(WallTime time) const { return not_before <= time && time < not_after; }
};

// Of the first certificate in `pem`. kUnauthenticated for one that names nobody, or more than one:
// an authority's, one that may sign others, without a URI and with no or several DNS names, with
// several URIs, or with a URI that is no SPIFFE id of a workload. The error names the rule, never
// the certificate's content.
StatusOr<PeerCertificate> ReadPeerCertificate(std::string_view pem);

// "spiffe://" trust domain "/" path, as the SPIFFE-ID specification has them.
bool IsSpiffeId(std::string_view text);

}  // namespace inferd
