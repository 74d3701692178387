// Parts of X.509 as values. For rooms that link OpenSSL; the objects are OpenSSL's.
#pragma once

#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/digest.h"
#include "governance/keys/openssl_owners.h"

namespace inferd {

// The first certificate, or revocation list, in the text; nullptr if there is none.
CertificatePtr ParseCertificate(std::string_view pem);
RevocationListPtr ParseRevocationList(std::string_view pem);

// Times centuries away come out as the farthest there is.
WallTime ToWallTime(const ASN1_TIME& time);
// Lower-case hex without leading zeros.
std::string SerialText(const ASN1_INTEGER& serial);
// SHA-256 of DER.
Digest NameDigest(const X509_NAME& name);
Digest PublicKeyDigest(X509& certificate);

}  // namespace inferd
