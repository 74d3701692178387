#include "governance/keys/x509_text.h"

#include <openssl/pem.h>

#include <algorithm>

#include "base/check.h"
#include "base/sha256.h"

namespace inferd {
namespace {

BioPtr Reader(std::string_view pem) {
  return BioPtr(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
}

// `encode(nullptr)` gives the size, `encode(&out)` writes and moves on.
template <typename Encode>
Digest DerDigest(const Encode& encode) {
  const int size = encode(nullptr);
  CHECK(size > 0);
  std::string bytes(static_cast<size_t>(size), '\0');
  auto* out = static_cast<unsigned char*>(static_cast<void*>(bytes.data()));
  CHECK(encode(&out) == size);
  return Sha256Of(bytes);
}

}  // namespace

CertificatePtr ParseCertificate(std::string_view pem) {
  return CertificatePtr(PEM_read_bio_X509(Reader(pem).get(), nullptr, nullptr, nullptr));
}

RevocationListPtr ParseRevocationList(std::string_view pem) {
  return RevocationListPtr(PEM_read_bio_X509_CRL(Reader(pem).get(), nullptr, nullptr, nullptr));
}

WallTime ToWallTime(const ASN1_TIME& time) {
  // In days and seconds since the epoch, which is the one thing OpenSSL gives without a locale.
  int days = 0;
  int seconds = 0;
  const std::unique_ptr<ASN1_TIME, OpensslDeleter<ASN1_STRING_free>> epoch(
      ASN1_TIME_set(nullptr, 0));
  ASN1_TIME_diff(&days, &seconds, epoch.get(), &time);
  // Certificates have years from 0 to 9999; a WallTime has those of 292 years around 1970.
  constexpr int kDaysMax = 290 * 365;
  return WallTime(std::chrono::hours(24) * std::clamp(days, -kDaysMax, kDaysMax) +
                  std::chrono::seconds(seconds));
}

std::string SerialText(const ASN1_INTEGER& serial) {
  const BignumPtr number(ASN1_INTEGER_to_BN(&serial, nullptr));
  const std::unique_ptr<char, decltype([](char* text) { OPENSSL_free(text); })> hex(
      BN_bn2hex(number.get()));
  std::string text(hex.get());
  for (char& c : text) {
    c = c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  const size_t first = text.find_first_not_of('0');
  return first == std::string::npos ? "0" : text.substr(first);
}

Digest NameDigest(const X509_NAME& name) {
  return DerDigest([&name](unsigned char** out) { return i2d_X509_NAME(&name, out); });
}

Digest PublicKeyDigest(X509& certificate) {
  X509_PUBKEY* const key = X509_get_X509_PUBKEY(&certificate);
  return DerDigest([key](unsigned char** out) { return i2d_X509_PUBKEY(key, out); });
}

}  // namespace inferd
