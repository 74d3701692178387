// .tlog-proof files (C2SP tlog-proof@v1): that a leaf is in a log, to be checked offline.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/digest.h"
#include "base/status.h"
#include "governance/verify/checkpoint.h"
#include "governance/verify/shard_reader.h"
#include "governance/verify/trust_policy.h"

namespace inferd {

inline constexpr size_t kProofBytesMax = kNoteBytesMax + 64 * 1024;

struct TlogProof {
  std::string extra;  // not authenticated
  uint64_t index = 0;
  std::vector<Digest> hashes;
  std::string note;  // the checkpoint, verbatim
};

std::string EncodeProof(const TlogProof& proof);
// kInvalidArgument for another form. The note is not looked into.
StatusOr<TlogProof> ParseProof(std::string_view text);

// The proof of one leaf under the reader's checkpoint; kOutOfRange beyond it.
StatusOr<TlogProof> ProveLeaf(ShardReader& shard, uint64_t index);

// Checks that `leaf` is in a log that the policy trusts, and says which checkpoint covers it.
StatusOr<SignedCheckpoint> CheckProof(const TlogProof& proof,
                                      std::string_view leaf,
                                      const TrustPolicy& policy);

}  // namespace inferd
