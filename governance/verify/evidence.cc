#include "governance/verify/evidence.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/sha256.h"
#include "governance/verify/cited_documents.h"
#include "governance/verify/evidence_manifest.h"
#include "governance/verify/leaf_view.h"
#include "governance/verify/log_layout.h"
#include "governance/verify/merkle.h"
#include "governance/verify/proof_file.h"

namespace inferd {
namespace {

Status Bad(std::string_view file, std::string_view why) {
  return ErrorF(StatusCode::kDataLoss, "%s: %s", file, why);
}

// Walks the files of a bundle in the order that they must have.
class EvidenceVerifier {
 public:
  EvidenceVerifier(std::vector<TarMember> members, const TrustPolicy& policy)
      : members_(std::move(members)), policy_(policy) {}

  StatusOr<EvidenceReport> Run(const NoteVerifier* exporter) {
    RETURN_IF_ERROR(CheckManifest(exporter));
    report_.selection = manifest_.selection;
    report_.made_at = manifest_.made_at;
    report_.exporter = manifest_.exporter;
    RETURN_IF_ERROR(Validate(manifest_.selection));
    for (const std::string_view name : {kEvidenceReadme, kEvidencePolicy, kEvidenceKeys}) {
      if (next().name != name) {
        return Bad(name, "is missing, or not in its place");
      }
      ++next_;
    }
    while (next().name.starts_with(kEvidenceDocuments)) {
      RETURN_IF_ERROR(Annotate(CheckDocument(), next().name));
      ++next_;
    }
    while (next().name != kEvidenceManifest) {
      RETURN_IF_ERROR(Annotate(CheckShard(), next().name));
    }
    RETURN_IF_ERROR(documents_.CheckAll());
    report_.documents = documents_.digests();
    if (report_.num_leaves == 0) {
      return Bad(kEvidenceManifest, "the bundle holds no leaf");
    }
    return std::move(report_);
  }

 private:
  // The last file is the manifest, which is there once: members have different names.
  const TarMember& next() const { return members_[std::min(next_, members_.size() - 1)]; }

  Status CheckManifest(const NoteVerifier* exporter) {
    if (members_.empty() || members_.back().name != kEvidenceManifest) {
      return Bad(kEvidenceManifest, "is not the bundle's last file");
    }
    ASSIGN_OR_RETURN(const DsseEnvelope envelope, ParseDsse(members_.back().content));
    if (envelope.payload_type != kEvidencePayloadType) {
      return Bad(kEvidenceManifest, "its payload is of another type");
    }
    ASSIGN_OR_RETURN(manifest_, ParseManifest(envelope.payload));
    ASSIGN_OR_RETURN(const NoteVerifier named, NoteVerifier::Parse(manifest_.exporter));
    if (exporter != nullptr && exporter->VKey() != named.VKey()) {
      return ErrorF(StatusCode::kDataLoss,
                    "%s: exported by %s, not by %s",
                    kEvidenceManifest,
                    manifest_.exporter,
                    exporter->VKey());
    }
    RETURN_IF_ERROR(Annotate(CheckDsse(envelope, named), kEvidenceManifest));
    return CheckFiles();
  }

  Status CheckFiles() const {
    if (manifest_.files.size() != members_.size() - 1) {
      return Bad(kEvidenceManifest, "lists more or fewer files than the bundle has");
    }
    for (size_t i = 0; i < manifest_.files.size(); ++i) {
      if (members_[i].name != manifest_.files[i].name ||
          Sha256Of(members_[i].content) != manifest_.files[i].sha256) {
        return Bad(members_[i].name, "is not the file that the manifest lists");
      }
    }
    return OkStatus();
  }

  Status CheckDocument() {
    ASSIGN_OR_RETURN(const std::string name, documents_.Add(next().content));
    return name == next().name ? OkStatus()
                               : ErrorF(StatusCode::kDataLoss, "its SHA-256 is another");
  }

  // The files below one folder: its checkpoint, then a chain with its proof, or single leaves.
  Status CheckShard() {
    const std::string_view name = next().name;
    const std::string shard(name.substr(0, name.find('/')));
    if (name != shard + '/' + std::string(kCheckpointFile)) {
      return ErrorF(StatusCode::kDataLoss, "stands where a shard's checkpoint should");
    }
    note_ = next().content;
    ASSIGN_OR_RETURN(opened_, policy_.Open(note_));
    const Checkpoint& checkpoint = opened_.checkpoint;
    if (LastPart(checkpoint.origin) != shard || Seen(checkpoint.origin)) {
      return ErrorF(StatusCode::kDataLoss, "is the checkpoint of %s", checkpoint.origin);
    }
    ++next_;
    shard_ = {.origin = checkpoint.origin,
              .size = checkpoint.size,
              .root = checkpoint.root,
              .num_witnesses = policy_.CountWitnesses(opened_.note)};
    RETURN_IF_ERROR(manifest_.selection.rids.empty() ? CheckChain(shard) : CheckSingles(shard));
    report_.num_leaves += shard_.num_chained + shard_.num_single;
    report_.shards.push_back(shard_);
    return OkStatus();
  }

  bool Seen(const std::string& origin) const {
    return std::any_of(report_.shards.begin(), report_.shards.end(), [&](const auto& shard) {
      return shard.origin == origin;
    });
  }

  static std::string Unescaped(std::string_view text) {
    const auto json = nlohmann::json::parse('"' + std::string(text) + '"', nullptr, false);
    return json.is_string() ? json.get<std::string>() : std::string();
  }

  Status CheckChain(const std::string& shard) {
    const std::string folder = shard + "/chain/";
    std::optional<Digest> before;
    std::string_view last;
    while (next().name.starts_with(folder)) {
      last = next().content;
      ASSIGN_OR_RETURN(const LeafView leaf, ParseLeaf(last));
      if (next().name != ChainLeafPath(shard, leaf.tseq) ||
          Unescaped(leaf.tenant) != manifest_.selection.tenant) {
        return ErrorF(StatusCode::kDataLoss, "its tseq or its tenant is another");
      }
      if (before.has_value() && (leaf.tseq != shard_.last_tseq + 1 || leaf.tprev != *before)) {
        return ErrorF(StatusCode::kDataLoss,
                      "the chain breaks: it does not follow its leaf before");
      }
      if (!before.has_value()) {
        shard_.first_tseq = leaf.tseq;
      }
      shard_.last_tseq = leaf.tseq;
      before = LeafHash(last);
      documents_.Read(last);
      ++shard_.num_chained;
      ++next_;
    }
    if (shard_.num_chained == 0 || next().name != ChainProofPath(shard)) {
      return ErrorF(StatusCode::kDataLoss, "a chain with its proof should be here");
    }
    RETURN_IF_ERROR(Check(next().content, last));
    ++next_;
    return OkStatus();
  }

  Status CheckSingles(const std::string& shard) {
    const std::vector<std::string>& rids = manifest_.selection.rids;
    const std::string folder = shard + "/leaves/";
    while (next().name.starts_with(folder)) {
      const TarMember leaf = next();
      ASSIGN_OR_RETURN(const LeafView view, ParseLeaf(leaf.content));
      if (std::find(rids.begin(), rids.end(), Unescaped(view.rid)) == rids.end()) {
        return ErrorF(StatusCode::kDataLoss, "its rid was not asked for");
      }
      documents_.Read(leaf.content);
      ++next_;
      ASSIGN_OR_RETURN(const uint64_t index, Check(next().content, leaf.content));
      if (leaf.name != SingleLeafPath(shard, index) ||
          next().name != SingleProofPath(shard, index)) {
        return ErrorF(StatusCode::kDataLoss, "it is the proof of leaf %d", index);
      }
      ++shard_.num_single;
      ++next_;
    }
    return shard_.num_single > 0 ? OkStatus()
                                 : ErrorF(StatusCode::kDataLoss, "single leaves should be here");
  }

  // The leaf's index, if the proof holds under this shard's checkpoint.
  StatusOr<uint64_t> Check(std::string_view text, std::string_view leaf) const {
    ASSIGN_OR_RETURN(const TlogProof proof, ParseProof(text));
    if (proof.note != note_) {
      return ErrorF(StatusCode::kDataLoss, "its checkpoint is not the shard's");
    }
    RETURN_IF_ERROR(CheckInclusion({.index = proof.index,
                                    .size = opened_.checkpoint.size,
                                    .leaf_hash = LeafHash(leaf),
                                    .root = opened_.checkpoint.root},
                                   proof.hashes));
    return proof.index;
  }

  const std::vector<TarMember> members_;
  const TrustPolicy& policy_;
  EvidenceManifest manifest_;
  CitedDocuments documents_;
  size_t next_ = 0;
  std::string_view note_;    // of the shard at hand
  SignedCheckpoint opened_;  // the same
  EvidenceReport::Shard shard_;
  EvidenceReport report_;
};

}  // namespace

StatusOr<EvidenceReport> VerifyEvidence(std::string_view bundle,
                                        const TrustPolicy& policy,
                                        const NoteVerifier* exporter) {
  ASSIGN_OR_RETURN(std::vector<TarMember> members, ReadTar(bundle));
  return EvidenceVerifier(std::move(members), policy).Run(exporter);
}

}  // namespace inferd
