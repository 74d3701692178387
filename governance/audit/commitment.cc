#include "governance/audit/commitment.h"

#include <openssl/rand.h>

#include <span>

#include "base/check.h"
#include "base/sha256.h"
#include "governance/audit/canonical_json.h"

namespace inferd {

CommitmentSalt NewCommitmentSalt() {
  CommitmentSalt salt;
  CHECK(RAND_bytes(salt.data(), static_cast<int>(salt.size())) == 1);
  return salt;
}

std::string Commitment::Text() const { return Base64Url(value.bytes); }

Commitment CommitTo(const CommitmentSalt& salt, std::string_view payload) {
  Sha256 sha;
  sha.Update(std::string_view("infer-commit-v1\0", 16));
  sha.Update(std::as_bytes(std::span(salt)));
  sha.Update(payload);
  return {sha.Finish()};
}

}  // namespace inferd
