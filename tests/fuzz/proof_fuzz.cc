// .tlog-proof files of strangers: an error, or exactly what was written.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "governance/verify/merkle.h"
#include "governance/verify/proof_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace inferd;  // NOLINT(google-build-using-namespace)
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto proof = ParseProof(text);
  if (!proof.ok()) {
    return 0;
  }
  CHECK(EncodeProof(*proof) == text);
  const auto checkpoint = ParseCheckpoint(proof->note);
  const uint64_t tree = checkpoint.ok() ? checkpoint->size : size * 1000;
  const Digest hash = LeafHash("x");
  (void)CheckInclusion({.index = proof->index, .size = tree, .leaf_hash = hash, .root = hash},
                       proof->hashes);
  (void)CheckConsistency({.size1 = proof->index, .size2 = tree, .root1 = hash, .root2 = hash},
                         proof->hashes);
  return 0;
}
