#include "governance/keys/dev_certificates.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>

#include "base/check.h"
#include "base/file.h"
#include "governance/keys/crypto.h"
#include "governance/keys/openssl_owners.h"
#include "governance/keys/secret_files.h"

namespace inferd {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kPemBytesMax = 1 << 16;
constexpr int kSerialBits = 127;  // RFC 5280 4.1.2.2: positive, at most 20 bytes
constexpr std::string_view kSpiffeScheme = "spiffe://";
// Clocks of two hosts differ a little.
constexpr Duration kBackdate = std::chrono::minutes(5);

constexpr std::string_view kNameBytes =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";

bool HasOnly(std::string_view text, std::string_view allowed) {
  return !text.empty() && text.size() <= 255 &&
         text.find_first_not_of(allowed) == std::string_view::npos;
}

bool IsAddress(const std::string& host) {
  in6_addr address = {};
  return inet_pton(AF_INET, host.c_str(), &address) == 1 ||
         inet_pton(AF_INET6, host.c_str(), &address) == 1;
}

// What OpenSSL's own little language takes as it is: no comma, no space.
Status CheckHost(const std::string& host) {
  if (!IsAddress(host) && !HasOnly(host, kNameBytes)) {
    return ErrorF(StatusCode::kInvalidArgument, "\"%s\" is no host name and no address", host);
  }
  return OkStatus();
}

Status CheckCaller(const std::string& id) {
  const bool spiffe = id.compare(0, kSpiffeScheme.size(), kSpiffeScheme) == 0;
  const std::string rest = spiffe ? id.substr(kSpiffeScheme.size()) : "";
  if (!HasOnly(rest, std::string(kNameBytes) + "/") || rest.front() == '/' || rest.back() == '/' ||
      rest.find('/') == std::string::npos || rest.find("//") != std::string::npos) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "\"%s\" is no SPIFFE id; write spiffe://example.org/NAME",
                  id);
  }
  return OkStatus();
}

PrivateKeyPtr NewKey() {
  PrivateKeyPtr key(EVP_EC_gen("P-256"));
  CHECK(key != nullptr);
  return key;
}

std::string Text(BIO& memory) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(&memory, &data);
  return {data, static_cast<size_t>(size)};
}

std::string ToPem(X509& certificate) {
  const BioPtr memory(BIO_new(BIO_s_mem()));
  CHECK(PEM_write_bio_X509(memory.get(), &certificate) == 1);
  return Text(*memory);
}

std::string ToPem(EVP_PKEY& key) {
  const BioPtr memory(BIO_new(BIO_s_secmem()));
  CHECK(PEM_write_bio_PrivateKey(memory.get(), &key, nullptr, nullptr, 0, nullptr, nullptr) == 1);
  return Text(*memory);
}

Status WriteCertificate(const std::string& path, X509& certificate) {
  const std::string pem = ToPem(certificate);
  RETURN_IF_ERROR(WriteSecretFile(path, pem));
  // It is no secret: whoever verifies us reads it.
  return chmod(path.c_str(), 0644) == 0
             ? OkStatus()
             : ErrorF(StatusCode::kUnavailable, "%s: cannot set its mode", path);
}

Status WriteKey(const std::string& path, EVP_PKEY& key) {
  std::string pem = ToPem(key);
  const Status status = WriteSecretFile(path, pem);
  Cleanse(pem);
  return status;
}

struct Authority {
  CertificatePtr certificate;
  PrivateKeyPtr key;
};

struct Extension {
  int nid;
  std::string value;
};

// A certificate of `subject_key`, signed by `issuer` (by itself without one).
CertificatePtr Sign(const DevCertificates& wanted,
                    const std::string& name,
                    EVP_PKEY& subject_key,
                    const std::vector<Extension>& extensions,
                    const Authority* issuer) {
  CertificatePtr result(X509_new());
  X509* const x = result.get();
  CHECK(x != nullptr && X509_set_version(x, X509_VERSION_3) == 1);
  const BignumPtr serial(BN_new());
  CHECK(BN_rand(serial.get(), kSerialBits, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
        BN_to_ASN1_INTEGER(serial.get(), X509_get_serialNumber(x)) != nullptr);
  const auto set_time = [](ASN1_TIME* time, WallTime at) {
    CHECK(ASN1_TIME_set(time,
                        std::chrono::system_clock::to_time_t(
                            std::chrono::time_point_cast<std::chrono::seconds>(at))) != nullptr);
  };
  set_time(X509_getm_notBefore(x), wanted.now - kBackdate);
  set_time(X509_getm_notAfter(x), wanted.now + wanted.lifetime);
  X509_NAME* const subject = X509_get_subject_name(x);
  std::vector<unsigned char> bytes(name.begin(), name.end());
  CHECK(X509_NAME_add_entry_by_NID(subject,
                                   NID_commonName,
                                   MBSTRING_UTF8,
                                   bytes.data(),
                                   static_cast<int>(bytes.size()),
                                   -1,
                                   0) == 1);
  X509* const signer = issuer == nullptr ? x : issuer->certificate.get();
  CHECK(X509_set_issuer_name(x, X509_get_subject_name(signer)) == 1 &&
        X509_set_pubkey(x, &subject_key) == 1);
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, signer, x, nullptr, nullptr, 0);
  for (const Extension& extension : extensions) {
    const ExtensionPtr made(
        X509V3_EXT_conf_nid(nullptr, &context, extension.nid, extension.value.c_str()));
    CHECK(made != nullptr && X509_add_ext(x, made.get(), -1) == 1);
  }
  EVP_PKEY* const signing = issuer == nullptr ? &subject_key : issuer->key.get();
  CHECK(X509_sign(x, signing, EVP_sha256()) > 0);
  return result;
}

Authority NewAuthority(const DevCertificates& wanted) {
  Authority authority{nullptr, NewKey()};
  authority.certificate = Sign(wanted,
                               "inferd development authority",
                               *authority.key,
                               {{NID_basic_constraints, "critical,CA:TRUE,pathlen:0"},
                                {NID_key_usage, "critical,keyCertSign,cRLSign"},
                                {NID_subject_key_identifier, "hash"}},
                               nullptr);
  return authority;
}

StatusOr<Authority> ReadAuthority(const std::string& certificate_path,
                                  const std::string& key_path) {
  ASSIGN_OR_RETURN(const std::string certificate, ReadFile(certificate_path, kPemBytesMax));
  ASSIGN_OR_RETURN(std::string key, ReadSecretFile(key_path));
  const BioPtr certificate_reader(
      BIO_new_mem_buf(certificate.data(), static_cast<int>(certificate.size())));
  const BioPtr key_reader(BIO_new_mem_buf(key.data(), static_cast<int>(key.size())));
  Authority authority;
  authority.certificate.reset(
      PEM_read_bio_X509(certificate_reader.get(), nullptr, nullptr, nullptr));
  authority.key.reset(PEM_read_bio_PrivateKey(key_reader.get(), nullptr, nullptr, nullptr));
  Cleanse(key);
  if (authority.certificate == nullptr || authority.key == nullptr ||
      X509_check_private_key(authority.certificate.get(), authority.key.get()) != 1) {
    return ErrorF(StatusCode::kFailedPrecondition,
                  "%s and %s are not an authority and its key",
                  certificate_path,
                  key_path);
  }
  return authority;
}

// One certificate and its key, as two files.
struct Pair {
  std::string certificate_path, key_path;
  std::string name;           // CN
  std::string subject_names;  // subjectAltName in OpenSSL's language
  std::string purpose;        // extendedKeyUsage
};

Pair ServerPair(const DevCertificates& wanted) {
  std::vector<std::string> hosts = {"localhost", "127.0.0.1", "::1"};
  for (const std::string& host : wanted.hosts) {
    if (std::find(hosts.begin(), hosts.end(), host) == hosts.end()) {
      hosts.push_back(host);
    }
  }
  std::string names;
  for (const std::string& host : hosts) {
    names += (names.empty() ? "" : ",") + std::string(IsAddress(host) ? "IP:" : "DNS:") + host;
  }
  const std::string base = wanted.directory + "/";
  return {base + kDevServerFile, base + kDevServerKeyFile, "inferd", names, "serverAuth"};
}

Pair CallerPair(const DevCertificates& wanted, const std::string& caller) {
  const std::string name = DevCallerName(caller);
  const std::string base = wanted.directory + "/" + name;
  return {base + ".pem", base + ".key", name, "URI:" + caller, "clientAuth"};
}

Status WritePair(const DevCertificates& wanted, const Pair& pair, const Authority& authority) {
  const PrivateKeyPtr key = NewKey();
  const CertificatePtr certificate = Sign(wanted,
                                          pair.name,
                                          *key,
                                          {{NID_basic_constraints, "critical,CA:FALSE"},
                                           {NID_key_usage, "critical,digitalSignature"},
                                           {NID_ext_key_usage, pair.purpose},
                                           {NID_subject_key_identifier, "hash"},
                                           {NID_authority_key_identifier, "keyid"},
                                           {NID_subject_alt_name, pair.subject_names}},
                                          &authority);
  RETURN_IF_ERROR(WriteKey(pair.key_path, *key));
  return WriteCertificate(pair.certificate_path, *certificate);
}

Status MakeDirectory(const std::string& path) {
  std::error_code error;
  if (fs::create_directories(path, error)) {
    fs::permissions(path, fs::perms::owner_all, error);
  }
  return error ? ErrorF(StatusCode::kUnavailable, "%s: cannot make: %s", path, error.message())
               : OkStatus();
}

bool IsThere(const std::string& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

}  // namespace

std::string DevCallerName(std::string_view spiffe_id) {
  return std::string(spiffe_id.substr(spiffe_id.rfind('/') + 1));
}

StatusOr<std::vector<std::string>> WriteDevCertificates(const DevCertificates& wanted) {
  for (const std::string& host : wanted.hosts) {
    RETURN_IF_ERROR(CheckHost(host));
  }
  const std::string ca_path = wanted.directory + "/" + kDevCaFile;
  const std::string ca_key_path = wanted.directory + "/" + kDevCaKeyFile;
  std::vector<Pair> pairs;
  const Pair server = ServerPair(wanted);
  if (!IsThere(server.certificate_path)) {
    pairs.push_back(server);
  }
  for (const std::string& caller : wanted.callers) {
    RETURN_IF_ERROR(CheckCaller(caller));
    pairs.push_back(CallerPair(wanted, caller));
  }
  // All or none, as far as a look beforehand can tell.
  for (const Pair& pair : pairs) {
    for (const std::string& path : {pair.certificate_path, pair.key_path}) {
      if (IsThere(path) || path == ca_path || path == ca_key_path) {
        return ErrorF(
            StatusCode::kAlreadyExists, "%s: is there already; keys are not overwritten", path);
      }
    }
  }
  RETURN_IF_ERROR(MakeDirectory(wanted.directory));
  std::vector<std::string> written;
  Authority authority;
  if (IsThere(ca_path)) {
    ASSIGN_OR_RETURN(authority, ReadAuthority(ca_path, ca_key_path));
  } else {
    authority = NewAuthority(wanted);
    RETURN_IF_ERROR(WriteKey(ca_key_path, *authority.key));
    RETURN_IF_ERROR(WriteCertificate(ca_path, *authority.certificate));
    written = {ca_path, ca_key_path};
  }
  for (const Pair& pair : pairs) {
    RETURN_IF_ERROR(WritePair(wanted, pair, authority));
    written.push_back(pair.certificate_path);
    written.push_back(pair.key_path);
  }
  return written;
}

}  // namespace inferd
