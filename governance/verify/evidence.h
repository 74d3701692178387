// Evidence bundles: a part of a log in one .tar that anyone can check offline, with the log's
// public key alone. Format: docs/formats/evidence.md.
//
// Either every leaf of one tenant in a time (its chain, of which one proof for the last leaf is
// enough: each leaf names the hash of the one before), or the leaves of some requests with a proof
// each. A manifest over all files is signed by whoever exported them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/digest.h"
#include "base/status.h"
#include "governance/verify/note.h"
#include "governance/verify/shard_reader.h"
#include "governance/verify/tar.h"
#include "governance/verify/trust_policy.h"

namespace inferd {

inline constexpr std::string_view kEvidenceManifest = "MANIFEST";
inline constexpr std::string_view kEvidenceReadme = "README.txt";
inline constexpr std::string_view kEvidencePolicy = "policy";
inline constexpr std::string_view kEvidenceKeys = "vkeys";
inline constexpr std::string_view kEvidencePayloadType = "application/vnd.in-toto+json";
inline constexpr std::string_view kEvidencePredicateType = "urn:inferd:evidence:v1";

inline constexpr uint64_t kEvidenceLeavesMax = 450'000;  // two files each at most
inline constexpr size_t kEvidenceRidsMax = 1000;

// Which leaves.
struct EvidenceSelection {
  std::string tenant{};             // "" only where there are rids
  std::string from{}, to{};         // [from, to): RFC 3339 in UTC, or days; "": open
  std::vector<std::string> rids{};  // empty: the tenant's whole chain in that time
  friend bool operator==(const EvidenceSelection&, const EvidenceSelection&) = default;
};
// kInvalidArgument with what is wrong.
Status Validate(const EvidenceSelection& selection);

struct EvidenceOptions {
  EvidenceSelection selection;
  const NoteSigner* exporter = nullptr;  // of kEd25519
  // Whom the exporter trusts, as text (C2SP tlog-policy); goes into the bundle.
  std::string policy;
  std::string made_at;  // RFC 3339
  // Contents of what leaves name by its SHA-256: policy sets, price lists, model manifests. Nothing
  // else is taken.
  std::vector<std::string> documents{};
  // Called now and then with leaves read and leaves in all.
  std::function<void(uint64_t done, uint64_t total)> progress{};
};

// Writes the bundle of what the shards hold under their checkpoints. kNotFound if nothing is
// selected, kResourceExhausted beyond kEvidenceLeavesMax, kInvalidArgument for a document that no
// leaf names. What the shards say is not checked here: verify the bundle.
Status WriteEvidence(const std::vector<std::unique_ptr<ShardReader>>& shards,
                     const EvidenceOptions& options,
                     const ByteSink& sink);

// What a bundle that verifies holds.
struct EvidenceReport {
  struct Shard {
    std::string origin;
    uint64_t size = 0;  // of its checkpoint
    Digest root;
    size_t num_witnesses = 0;
    uint64_t num_chained = 0;
    uint64_t first_tseq = 0, last_tseq = 0;  // of the chain, if it has leaves
    uint64_t num_single = 0;
  };
  EvidenceSelection selection;
  std::string made_at;
  std::string exporter;  // vkey
  std::vector<Shard> shards;
  uint64_t num_leaves = 0;
  std::vector<Digest> documents;  // each named by a leaf
};

// Checks every byte of a bundle: its form, that `exporter` (or, if none is given, the key that the
// manifest itself names) signed its manifest and that files and manifest agree, and that each leaf
// is under a checkpoint that the policy trusts. kDataLoss or kInvalidArgument with the file for
// what does not hold, kFailedPrecondition for a quorum that is missing.
StatusOr<EvidenceReport> VerifyEvidence(std::string_view bundle,
                                        const TrustPolicy& policy,
                                        const NoteVerifier* exporter);

}  // namespace inferd
