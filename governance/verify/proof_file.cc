#include "governance/verify/proof_file.h"

#include <utility>

#include "governance/verify/base64.h"
#include "governance/verify/merkle.h"
#include "governance/verify/note_lines.h"

namespace inferd {
namespace {

constexpr std::string_view kFirstLine = "c2sp.org/tlog-proof@v1";
constexpr std::string_view kExtra = "extra ";
constexpr std::string_view kIndex = "index ";

Status Bad(std::string_view why) {
  return ErrorF(StatusCode::kInvalidArgument, "not a tlog-proof: %s", why);
}

}  // namespace

std::string EncodeProof(const TlogProof& proof) {
  std::string text(kFirstLine);
  text += '\n';
  if (!proof.extra.empty()) {
    text += std::string(kExtra) + EncodeBase64(proof.extra) + '\n';
  }
  text += std::string(kIndex) + std::to_string(proof.index) + '\n';
  for (const Digest& hash : proof.hashes) {
    text += EncodeHash(hash) + '\n';
  }
  return text + '\n' + proof.note;
}

StatusOr<TlogProof> ParseProof(std::string_view text) {
  if (text.size() > kProofBytesMax) {
    return Bad("it is longer than a proof may be");
  }
  TlogProof proof;
  std::string_view line;
  if (!TakeLine(text, line) || line != kFirstLine || !TakeLine(text, line)) {
    return Bad("its first line is another");
  }
  if (line.starts_with(kExtra)) {
    ASSIGN_OR_RETURN(proof.extra, DecodeBase64(line.substr(kExtra.size())));
    if (proof.extra.empty()) {
      return Bad("its extra line is empty");  // it would have been left out
    }
    if (!TakeLine(text, line)) {
      return Bad("it has no index");
    }
  }
  if (!line.starts_with(kIndex)) {
    return Bad("it has no index");
  }
  ASSIGN_OR_RETURN(proof.index, ParseDecimal(line.substr(kIndex.size())));
  auto hashes = TakeHashes(text, kProofHashesMax);
  if (!hashes.ok()) {
    return Bad(Message(hashes.status()));
  }
  proof.hashes = *std::move(hashes);
  proof.note = text;
  return proof;
}

StatusOr<TlogProof> ProveLeaf(ShardReader& shard, uint64_t index) {
  const uint64_t size = shard.checkpoint().checkpoint.size;
  if (index >= size) {
    return ErrorF(StatusCode::kOutOfRange,
                  "%s: leaf %d is not under the published checkpoint of %d leaves yet",
                  shard.origin(),
                  index,
                  size);
  }
  TlogProof proof{.extra = "", .index = index, .hashes = {}, .note = shard.note()};
  ASSIGN_OR_RETURN(proof.hashes, ProveInclusion(index, size, shard.Hashes()));
  return proof;
}

StatusOr<SignedCheckpoint> CheckProof(const TlogProof& proof,
                                      std::string_view leaf,
                                      const TrustPolicy& policy) {
  ASSIGN_OR_RETURN(SignedCheckpoint opened, policy.Open(proof.note));
  RETURN_IF_ERROR(CheckInclusion({.index = proof.index,
                                  .size = opened.checkpoint.size,
                                  .leaf_hash = LeafHash(leaf),
                                  .root = opened.checkpoint.root},
                                 proof.hashes));
  return opened;
}

}  // namespace inferd
