#include "governance/registry/model_signature.h"

#include <openssl/pem.h>
#include <openssl/x509_vfy.h>

#include <array>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/check.h"
#include "base/sha256.h"
#include "governance/keys/openssl_owners.h"
#include "governance/verify/base64.h"
#include "governance/verify/dsse.h"

namespace inferd {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kMediaType = "application/vnd.dev.sigstore.bundle.v0.3+json";

using DigestContextPtr = std::unique_ptr<EVP_MD_CTX, OpensslDeleter<EVP_MD_CTX_free>>;
using StorePtr = std::unique_ptr<X509_STORE, OpensslDeleter<X509_STORE_free>>;
using StoreContextPtr = std::unique_ptr<X509_STORE_CTX, OpensslDeleter<X509_STORE_CTX_free>>;
struct FreeStack {
  void operator()(STACK_OF(X509) * stack) const { sk_X509_pop_free(stack, X509_free); }
};
using CertificatesPtr = std::unique_ptr<STACK_OF(X509), FreeStack>;

Status Bad(std::string_view why) {
  return ErrorF(StatusCode::kInvalidArgument, "not a model's signature: %s", why);
}

BioPtr Reader(std::string_view pem) {
  return BioPtr(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
}

const unsigned char* Bytes(std::string_view text) {
  return static_cast<const unsigned char*>(static_cast<const void*>(text.data()));
}

// The hash that goes with a key's curve; nullptr for a key that model signing does not know.
const EVP_MD* HashOf(const EVP_PKEY& key) {
  if (EVP_PKEY_get_base_id(&key) != EVP_PKEY_EC) {
    return nullptr;
  }
  std::array<char, 32> curve{};
  size_t size = 0;
  if (EVP_PKEY_get_group_name(&key, curve.data(), curve.size(), &size) != 1) {
    return nullptr;
  }
  switch (OBJ_txt2nid(curve.data())) {
    case NID_X9_62_prime256v1:
      return EVP_sha256();
    case NID_secp384r1:
      return EVP_sha384();
    case NID_secp521r1:
      return EVP_sha512();
    default:
      return nullptr;
  }
}

std::string PublicPem(const EVP_PKEY& key) {
  const BioPtr memory(BIO_new(BIO_s_mem()));
  CHECK(PEM_write_bio_PUBKEY(memory.get(), &key) == 1);
  char* data = nullptr;
  const long size = BIO_get_mem_data(memory.get(), &data);
  return {data, static_cast<size_t>(size)};
}

std::string KeyHint(const EVP_PKEY& key) { return Sha256Of(PublicPem(key)).Hex(); }

bool Verifies(EVP_PKEY& key, const ModelSignature& signature) {
  const std::string message = DssePreAuthentication(kStatementPayloadType, signature.payload);
  const DigestContextPtr context(EVP_MD_CTX_new());
  const EVP_MD* hash = HashOf(key);
  return hash != nullptr &&
         EVP_DigestVerifyInit(context.get(), nullptr, hash, nullptr, &key) == 1 &&
         EVP_DigestVerify(context.get(),
                          Bytes(signature.signature),
                          signature.signature.size(),
                          Bytes(message),
                          message.size()) == 1;
}

CertificatePtr ParseDer(std::string_view der) {
  const unsigned char* at = Bytes(der);
  CertificatePtr certificate(d2i_X509(nullptr, &at, static_cast<long>(der.size())));
  return at == Bytes(der) + der.size() ? std::move(certificate) : nullptr;
}

StatusOr<StorePtr> ReadAuthorities(std::string_view pem) {
  StorePtr store(X509_STORE_new());
  const BioPtr reader = Reader(pem);
  int count = 0;
  while (const CertificatePtr certificate{
      PEM_read_bio_X509(reader.get(), nullptr, nullptr, nullptr)}) {
    X509_STORE_add_cert(store.get(), certificate.get());
    ++count;
  }
  if (count == 0) {
    return ErrorF(StatusCode::kFailedPrecondition,
                  "the authorities for models' signatures hold no PEM certificate");
  }
  return store;
}

// May whoever holds it sign? Key usage says so, or else extended key usage.
bool IsForSignatures(X509& certificate) {
  const uint32_t flags = X509_get_extension_flags(&certificate);
  const bool usage = (flags & EXFLAG_KUSAGE) != 0 &&
                     (X509_get_key_usage(&certificate) & KU_DIGITAL_SIGNATURE) != 0;
  const bool extended = (flags & EXFLAG_XKUSAGE) != 0 &&
                        (X509_get_extended_key_usage(&certificate) & XKU_CODE_SIGN) != 0;
  return (flags & EXFLAG_INVALID) == 0 && (usage || extended);
}

std::string SubjectOf(const X509& certificate) {
  const BioPtr memory(BIO_new(BIO_s_mem()));
  X509_NAME_print_ex(memory.get(), X509_get_subject_name(&certificate), 0, XN_FLAG_RFC2253);
  char* data = nullptr;
  const long size = BIO_get_mem_data(memory.get(), &data);
  return {data, static_cast<size_t>(size)};
}

StatusOr<std::string> VerifyByCertificate(const ModelSignature& signature,
                                          const ModelTrust& trust) {
  if (trust.authorities.empty()) {
    return ErrorF(StatusCode::kPermissionDenied,
                  "a certificate signed the model, and no authority is trusted for that");
  }
  ASSIGN_OR_RETURN(const StorePtr store, ReadAuthorities(trust.authorities));
  const CertificatePtr signer = ParseDer(signature.certificates.front());
  const CertificatesPtr others(sk_X509_new_null());
  for (size_t i = 1; i < signature.certificates.size(); ++i) {
    CertificatePtr other = ParseDer(signature.certificates[i]);
    if (other == nullptr) {
      return Bad("one of its certificates cannot be read");
    }
    sk_X509_push(others.get(), other.release());
  }
  tm begin = {};
  if (signer == nullptr || ASN1_TIME_to_tm(X509_get0_notBefore(signer.get()), &begin) != 1) {
    return Bad("its certificate cannot be read");
  }
  const StoreContextPtr context(X509_STORE_CTX_new());
  CHECK(X509_STORE_CTX_init(context.get(), store.get(), signer.get(), others.get()) == 1);
  X509_STORE_CTX_set_time(context.get(), 0, timegm(&begin));
  // An authority that the operator names counts, root or not.
  X509_STORE_CTX_set_flags(context.get(), X509_V_FLAG_PARTIAL_CHAIN);
  if (X509_verify_cert(context.get()) != 1) {
    return ErrorF(StatusCode::kPermissionDenied,
                  "the certificate that signed the model: %s",
                  X509_verify_cert_error_string(X509_STORE_CTX_get_error(context.get())));
  }
  if (!IsForSignatures(*signer)) {
    return ErrorF(StatusCode::kPermissionDenied,
                  "the certificate that signed the model is not for signatures");
  }
  EVP_PKEY* const key = X509_get0_pubkey(signer.get());
  if (key == nullptr || !Verifies(*key, signature)) {
    return ErrorF(StatusCode::kPermissionDenied, "the model's signature does not verify");
  }
  return "certificate " + SubjectOf(*signer);
}

StatusOr<std::string> VerifyByKey(const ModelSignature& signature, const ModelTrust& trust) {
  for (const std::string& pem : trust.public_keys) {
    const PrivateKeyPtr key(PEM_read_bio_PUBKEY(Reader(pem).get(), nullptr, nullptr, nullptr));
    if (key == nullptr || HashOf(*key) == nullptr) {
      return ErrorF(StatusCode::kFailedPrecondition,
                    "a key for models' signatures is not the PEM of a P-256, P-384 or P-521 key");
    }
    std::string hint = KeyHint(*key);
    if (!signature.key_hint.empty() && signature.key_hint != hint) {
      continue;
    }
    if (Verifies(*key, signature)) {
      return "key " + hint;
    }
  }
  return ErrorF(StatusCode::kPermissionDenied,
                "no trusted key verifies the model's signature (its key: %s)",
                signature.key_hint.empty() ? "unnamed" : signature.key_hint);
}

const Json* Member(const Json& object, const char* key) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  return found == object.end() ? nullptr : &*found;
}

std::optional<std::string> Base64Member(const Json& object, const char* key) {
  const Json* member = Member(object, key);
  const auto* text = member == nullptr ? nullptr : member->get_ptr<const std::string*>();
  auto bytes = DecodeBase64(text == nullptr ? "?" : *text);
  return bytes.ok() ? std::optional(*std::move(bytes)) : std::nullopt;
}

Status ReadMaterial(const Json& material, ModelSignature& signature) {
  if (Member(material, "certificate") != nullptr) {
    return ErrorF(StatusCode::kUnimplemented,
                  "the model is signed by way of Sigstore's public service, which cannot be "
                  "checked offline; sign it with a key or a certificate");
  }
  if (const Json* key = Member(material, "publicKey"); key != nullptr) {
    const Json* hint = Member(*key, "hint");
    if (hint != nullptr && hint->is_string()) {
      signature.key_hint = *hint;
      return Digest::FromHex(signature.key_hint).ok() ? OkStatus() : Bad("its key's hint");
    }
    return OkStatus();
  }
  const Json* chain = Member(material, "x509CertificateChain");
  const Json* certificates = chain == nullptr ? nullptr : Member(*chain, "certificates");
  if (certificates == nullptr || !certificates->is_array() || certificates->empty() ||
      certificates->size() > ModelSignature::kCertificatesMax) {
    return Bad("neither a key nor certificates vouch for it");
  }
  for (const Json& certificate : *certificates) {
    auto der = Base64Member(certificate, "rawBytes");
    if (!der || ParseDer(*der) == nullptr) {
      return Bad("one of its certificates cannot be read");
    }
    signature.certificates.push_back(*std::move(der));
  }
  return OkStatus();
}

}  // namespace

StatusOr<ModelSignature> ParseModelSignature(std::string_view text) {
  if (text.size() > ModelSignature::kBundleBytesMax) {
    return Bad("it is too long");
  }
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  const Json* type = Member(json, "mediaType");
  const Json* material = Member(json, "verificationMaterial");
  const Json* envelope = Member(json, "dsseEnvelope");
  if (type == nullptr || *type != kMediaType || material == nullptr || envelope == nullptr) {
    return Bad("it is no Sigstore bundle of version 0.3");
  }
  ModelSignature signature;
  RETURN_IF_ERROR(ReadMaterial(*material, signature));
  const Json* payload_type = Member(*envelope, "payloadType");
  const Json* signatures = Member(*envelope, "signatures");
  if (payload_type == nullptr || *payload_type != kStatementPayloadType || signatures == nullptr ||
      !signatures->is_array() || signatures->size() != 1) {
    return Bad("its envelope holds something else, or not one signature");
  }
  auto payload = Base64Member(*envelope, "payload");
  auto bytes = Base64Member(signatures->front(), "sig");
  if (!payload || !bytes) {
    return Bad("its payload or signature is not base64");
  }
  signature.payload = *std::move(payload);
  signature.signature = *std::move(bytes);
  ASSIGN_OR_RETURN(signature.statement, ParseModelStatement(signature.payload));
  return signature;
}

StatusOr<std::string> VerifyModelSignature(const ModelSignature& signature,
                                           const ModelTrust& trust) {
  return signature.certificates.empty() ? VerifyByKey(signature, trust)
                                        : VerifyByCertificate(signature, trust);
}

StatusOr<std::string> SignModel(const ModelStatement& statement, std::string_view private_key) {
  // Without a callback OpenSSL would ask the terminal for an encrypted key's password.
  const auto no_password = [](char*, int, int, void*) { return -1; };
  const PrivateKeyPtr key(
      PEM_read_bio_PrivateKey(Reader(private_key).get(), nullptr, no_password, nullptr));
  if (key == nullptr || HashOf(*key) == nullptr) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "the key to sign with is not the PEM of a P-256, P-384 or P-521 key");
  }
  const std::string payload = FormatModelStatement(statement);
  const std::string message = DssePreAuthentication(kStatementPayloadType, payload);
  const DigestContextPtr context(EVP_MD_CTX_new());
  std::string bytes(static_cast<size_t>(EVP_PKEY_get_size(key.get())), '\0');
  size_t size = bytes.size();
  CHECK(EVP_DigestSignInit(context.get(), nullptr, HashOf(*key), nullptr, key.get()) == 1);
  CHECK(EVP_DigestSign(context.get(),
                       static_cast<unsigned char*>(static_cast<void*>(bytes.data())),
                       &size,
                       Bytes(message),
                       message.size()) == 1);
  bytes.resize(size);
  const Json json = {
      {"mediaType", kMediaType},
      {"verificationMaterial",
       {{"publicKey", {{"hint", KeyHint(*key)}}}, {"tlogEntries", Json::array()}}},
      {"dsseEnvelope",
       {{"payload", EncodeBase64(payload)},
        {"payloadType", kStatementPayloadType},
        {"signatures", Json::array({{{"sig", EncodeBase64(bytes)}, {"keyid", ""}}})}}}};
  return json.dump() + '\n';
}

}  // namespace inferd
