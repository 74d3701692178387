#include "governance/identity/revocations.h"

#include "governance/keys/x509_text.h"

namespace inferd {
namespace {

constexpr std::string_view kPublicKey = "public_key sha256:";
constexpr std::string_view kSerial = "serial ";

std::string_view Trimmed(std::string_view line) {
  line = line.substr(0, line.find('#'));
  constexpr std::string_view kSpace = " \t\r";
  const size_t first = line.find_first_not_of(kSpace);
  return first == std::string_view::npos
             ? std::string_view()
             : line.substr(first, line.find_last_not_of(kSpace) - first + 1);
}

// As SerialText writes them; "" if it is none.
std::string ParseSerial(std::string_view text) {
  std::string serial;
  for (const char c : text) {
    if (c >= 'A' && c <= 'F') {
      serial.push_back(static_cast<char>(c - 'A' + 'a'));
    } else if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')) {
      serial.push_back(c);
    } else if (c != ':') {
      return "";
    }
  }
  const size_t first = serial.find_first_not_of('0');
  return first == std::string::npos ? (serial.empty() ? "" : "0") : serial.substr(first);
}

}  // namespace

Status Revocations::AddList(std::string_view text) {
  int number = 0;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = Trimmed(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    ++number;
    if (line.empty()) {
      continue;
    }
    const auto digest =
        Digest::FromHex(line.starts_with(kPublicKey) ? line.substr(kPublicKey.size()) : "");
    const std::string serial =
        line.starts_with(kSerial) ? ParseSerial(line.substr(kSerial.size())) : "";
    if (digest.ok()) {
      public_keys_.insert(*digest);
    } else if (!serial.empty()) {
      serials_.insert(serial);
    } else {
      return ErrorF(StatusCode::kInvalidArgument,
                    "line %d: write \"public_key sha256:<hex>\" or \"serial <hex>\"",
                    number);
    }
  }
  return OkStatus();
}

Status Revocations::AddCrl(std::string_view pem) {
  const RevocationListPtr list = ParseRevocationList(pem);
  if (list == nullptr) {
    return ErrorF(StatusCode::kInvalidArgument, "it has no revocation list (CRL) in PEM form");
  }
  const Digest issuer = NameDigest(*X509_CRL_get_issuer(list.get()));
  STACK_OF(X509_REVOKED)* const entries = X509_CRL_get_REVOKED(list.get());
  for (int i = 0; i < sk_X509_REVOKED_num(entries); ++i) {
    const X509_REVOKED* const entry = sk_X509_REVOKED_value(entries, i);
    issued_.emplace(issuer, SerialText(*X509_REVOKED_get0_serialNumber(entry)));
  }
  return OkStatus();
}

bool Revocations::Has(const PeerCertificate& certificate) const {
  return public_keys_.contains(certificate.public_key) || serials_.contains(certificate.serial) ||
         issued_.contains({certificate.issuer, certificate.serial});
}

}  // namespace inferd
