// Who vouches for a model: Sigstore bundles as OpenSSF Model Signing v1.0 uses them, signed by an
// EC key or by a certificate. Bundles of Sigstore's public service need its transparency log, which
// a private host does not reach: they are refused.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "governance/registry/model_statement.h"

namespace inferd {

// A bundle as it was read; nothing is verified yet.
struct ModelSignature {
  ModelStatement statement;
  std::string payload;                    // the statement's bytes, which are signed
  std::string signature;                  // ECDSA, DER
  std::string key_hint;                   // hex SHA-256 of the public key's PEM; may be empty
  std::vector<std::string> certificates;  // DER, the signer's first; empty: a key signed

  static constexpr size_t kBundleBytesMax = size_t{48} << 20;
  static constexpr size_t kCertificatesMax = 16;
};

// kInvalidArgument says what is wrong; kUnimplemented for a bundle of Sigstore's public service.
StatusOr<ModelSignature> ParseModelSignature(std::string_view json);

// Whose signatures count. A value.
struct ModelTrust {
  std::vector<std::string> public_keys;  // PEM, P-256, P-384 or P-521
  std::string authorities;               // PEM certificates; empty: none
};

// Who signed: "key <hex SHA-256 of its PEM>" or "certificate <subject>".
// kPermissionDenied if whoever signed is not trusted or the signature does not verify,
// kFailedPrecondition if a trusted key or authority cannot be read. A certificate must chain to an
// authority as of its own begin (bundles carry no trusted time) and be for signatures.
StatusOr<std::string> VerifyModelSignature(const ModelSignature& signature,
                                           const ModelTrust& trust);

// The bundle for a statement. `private_key`: PEM, unencrypted, P-256, P-384 or P-521.
// kInvalidArgument if it is none.
StatusOr<std::string> SignModel(const ModelStatement& statement, std::string_view private_key);

}  // namespace inferd
