#include "governance/keys/tls_files.h"

#include <openssl/pem.h>

#include <vector>

#include "base/file.h"
#include "governance/keys/crypto.h"
#include "governance/keys/secret_files.h"
#include "governance/keys/x509_text.h"

namespace inferd {
namespace {

constexpr uint64_t kPemBytesMax = 1 << 20;
constexpr size_t kCertificatesMax = 256;

Status Wrong(const std::string& path, std::string_view what) {
  return ErrorF(StatusCode::kFailedPrecondition, "%s: %s", path, what);
}

BioPtr Reader(const std::string& pem) {
  return BioPtr(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
}

// Keys without a passphrase alone: nobody is there to type one.
int NoPassphrase(char* /*buffer*/, int /*size*/, int /*writing*/, void* /*context*/) { return -1; }

StatusOr<std::vector<CertificatePtr>> ParseCertificates(const std::string& path,
                                                        const std::string& pem) {
  const BioPtr reader = Reader(pem);
  std::vector<CertificatePtr> certificates;
  while (X509* certificate = PEM_read_bio_X509(reader.get(), nullptr, NoPassphrase, nullptr)) {
    certificates.emplace_back(certificate);
    if (certificates.size() > kCertificatesMax) {
      return Wrong(path, absl::StrFormat("has more than %d certificates", kCertificatesMax));
    }
  }
  if (certificates.empty()) {
    return Wrong(path, "has no certificate in PEM form");
  }
  return certificates;
}

bool IsAuthority(X509& certificate) { return X509_check_ca(&certificate) == 1; }

}  // namespace

TlsMaterial::~TlsMaterial() { Cleanse(key); }

StatusOr<TlsMaterial> ReadTlsMaterial(const TlsPaths& paths, WallTime now) {
  TlsMaterial material;
  ASSIGN_OR_RETURN(material.certificate, ReadFile(paths.certificate, kPemBytesMax));
  ASSIGN_OR_RETURN(material.key, ReadSecretFile(paths.key));
  ASSIGN_OR_RETURN(material.client_ca, ReadFile(paths.client_ca, kPemBytesMax));
  ASSIGN_OR_RETURN(const auto chain, ParseCertificates(paths.certificate, material.certificate));
  ASSIGN_OR_RETURN(const auto authorities, ParseCertificates(paths.client_ca, material.client_ca));
  for (const CertificatePtr& authority : authorities) {
    if (!IsAuthority(*authority)) {
      return Wrong(paths.client_ca,
                   "a certificate in it is not an authority's (CA:TRUE is missing)");
    }
  }
  X509& own = *chain.front();
  if (IsAuthority(own)) {
    return Wrong(paths.certificate, "begins with an authority's certificate; ours comes first");
  }
  material.not_after = ToWallTime(*X509_get0_notAfter(&own));
  if (now < ToWallTime(*X509_get0_notBefore(&own)) || now >= material.not_after) {
    return Wrong(paths.certificate, "is not valid now: it is not yet, or no longer");
  }
  const BioPtr reader = Reader(material.key);
  const PrivateKeyPtr key(PEM_read_bio_PrivateKey(reader.get(), nullptr, NoPassphrase, nullptr));
  if (key == nullptr) {
    return Wrong(paths.key, "has no private key in PEM form without a passphrase");
  }
  if (X509_check_private_key(&own, key.get()) != 1) {
    return Wrong(paths.key, "is not the key of " + paths.certificate);
  }
  return material;
}

}  // namespace inferd
