#include "governance/identity/peer_certificate.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "base/sha256.h"
#include "governance/keys/openssl_owners.h"
#include "governance/keys/x509_text.h"

namespace inferd {
namespace {

constexpr size_t kSpiffeIdBytesMax = 2048;
constexpr size_t kTrustDomainBytesMax = 255;
constexpr size_t kDnsNameBytesMax = 253;
constexpr std::string_view kScheme = "spiffe://";
constexpr std::string_view kDomainBytes = "abcdefghijklmnopqrstuvwxyz0123456789.-_";
constexpr std::string_view kSegmentBytes =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
constexpr std::string_view kDnsBytes = "abcdefghijklmnopqrstuvwxyz0123456789.-_";

Status Refused(std::string_view rule) {
  return ErrorF(StatusCode::kUnauthenticated, "the caller's certificate %s", rule);
}

bool HasOnly(std::string_view text, std::string_view allowed) {
  return !text.empty() && text.find_first_not_of(allowed) == std::string_view::npos;
}

struct Names {
  std::vector<std::string> uris, dns;
};

// nullopt if the extension is there and is not what it should be.
std::optional<Names> SubjectNames(X509& certificate) {
  Names names;
  int critical = -1;  // not there; anything else without a value: broken, or there twice
  const std::unique_ptr<GENERAL_NAMES, OpensslDeleter<GENERAL_NAMES_free>> list(
      static_cast<GENERAL_NAMES*>(
          X509_get_ext_d2i(&certificate, NID_subject_alt_name, &critical, nullptr)));
  if (list == nullptr) {
    return critical == -1 ? std::optional(names) : std::nullopt;
  }
  for (int i = 0; i < sk_GENERAL_NAME_num(list.get()); ++i) {
    const GENERAL_NAME* const name = sk_GENERAL_NAME_value(list.get(), i);
    if (name->type == GEN_URI || name->type == GEN_DNS) {
      const ASN1_IA5STRING* const text = name->d.ia5;
      const auto* const data = ASN1_STRING_get0_data(text);
      std::string value(data, data + ASN1_STRING_length(text));
      (name->type == GEN_URI ? names.uris : names.dns).push_back(std::move(value));
    }
  }
  return names;
}

Status CheckUsage(X509& certificate, bool has_uri) {
  // Not X509_check_ca: it calls nobody an authority whose key usage says otherwise.
  if ((X509_get_extension_flags(&certificate) & (EXFLAG_CA | EXFLAG_INVALID)) != 0) {
    return Refused("is an authority's");
  }
  const int place = X509_get_ext_by_NID(&certificate, NID_key_usage, -1);
  if (place < 0) {
    return has_uri ? Refused("has a URI and no key usage") : OkStatus();
  }
  const uint32_t usage = X509_get_key_usage(&certificate);
  if ((usage & (KU_KEY_CERT_SIGN | KU_CRL_SIGN)) != 0) {
    return Refused("may sign certificates or revocations");
  }
  if (has_uri && ((usage & KU_DIGITAL_SIGNATURE) == 0 ||
                  X509_EXTENSION_get_critical(X509_get_ext(&certificate, place)) != 1)) {
    return Refused("has a URI, and a key usage that is not critical or not for signatures");
  }
  return OkStatus();
}

Status NameOf(const Names& names, PeerCertificate& peer) {
  if (names.uris.size() > 1) {
    return Refused("has more than one URI");
  }
  if (names.uris.size() == 1) {
    if (!IsSpiffeId(names.uris.front())) {
      return Refused("has a URI that is no SPIFFE id of a workload");
    }
    peer.name_kind = PeerCertificate::NameKind::kSpiffe;
    peer.name = names.uris.front();
    return OkStatus();
  }
  if (names.dns.size() != 1) {
    return Refused(names.dns.empty() ? "names nobody" : "has no URI and more than one DNS name");
  }
  peer.name_kind = PeerCertificate::NameKind::kDns;
  peer.name = names.dns.front();
  std::transform(peer.name.begin(), peer.name.end(), peer.name.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return peer.name.size() <= kDnsNameBytesMax && HasOnly(peer.name, kDnsBytes)
             ? OkStatus()
             : Refused("has a DNS name of no host");
}

}  // namespace

bool IsSpiffeId(std::string_view text) {
  if (text.size() > kSpiffeIdBytesMax || !text.starts_with(kScheme)) {
    return false;
  }
  text.remove_prefix(kScheme.size());
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos || slash > kTrustDomainBytesMax ||
      !HasOnly(text.substr(0, slash), kDomainBytes)) {
    return false;
  }
  while (!text.empty()) {  // "/segment" by "/segment"
    text.remove_prefix(text.find('/') + 1);
    const std::string_view segment = text.substr(0, text.find('/'));
    if (!HasOnly(segment, kSegmentBytes) || segment == "." || segment == "..") {
      return false;
    }
    text.remove_prefix(segment.size());
  }
  return true;
}

StatusOr<PeerCertificate> ReadPeerCertificate(std::string_view pem) {
  const CertificatePtr certificate = ParseCertificate(pem);
  if (certificate == nullptr) {
    return Refused("is no X.509 certificate");
  }
  const std::optional<Names> names = SubjectNames(*certificate);
  if (!names) {
    return Refused("has alternative names that do not parse");
  }
  RETURN_IF_ERROR(CheckUsage(*certificate, !names->uris.empty()));
  PeerCertificate peer;
  RETURN_IF_ERROR(NameOf(*names, peer));
  peer.serial = SerialText(*X509_get0_serialNumber(certificate.get()));
  peer.issuer = NameDigest(*X509_get_issuer_name(certificate.get()));
  peer.public_key = PublicKeyDigest(*certificate);
  peer.not_before = ToWallTime(*X509_get0_notBefore(certificate.get()));
  peer.not_after = ToWallTime(*X509_get0_notAfter(certificate.get()));
  return peer;
}

}  // namespace inferd
