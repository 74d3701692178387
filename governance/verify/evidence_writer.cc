#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/sha256.h"
#include "governance/verify/cited_documents.h"
#include "governance/verify/evidence.h"
#include "governance/verify/evidence_manifest.h"
#include "governance/verify/leaf_view.h"
#include "governance/verify/log_layout.h"
#include "governance/verify/proof_file.h"

namespace inferd {
namespace {

constexpr uint64_t kProgressLeaves = 1 << 16;

// "2026-11-21" or "2026-11-21T13:35:22[.000001]Z", by its form alone: times are compared as texts.
bool IsTime(std::string_view text) {
  constexpr std::string_view kForm = "dddd-dd-ddTdd:dd:dd";
  const bool day = text.size() == 10;
  if (!day) {
    if (text.size() < kForm.size() + 1 || text.size() > kForm.size() + 8 || text.back() != 'Z') {
      return false;
    }
    text.remove_suffix(1);
  }
  for (size_t i = 0; i < text.size(); ++i) {
    const char form = i < kForm.size() ? kForm[i] : i == kForm.size() ? '.' : 'd';
    const bool digit = text[i] >= '0' && text[i] <= '9';
    if (form == 'd' ? !digit : text[i] != form) {
      return false;
    }
  }
  return text.size() != kForm.size() + 1;
}

// What leaves' times are compared with: without its Z a time stands before all that it begins.
std::string_view Bound(std::string_view time) {
  return time.ends_with('Z') ? time.substr(0, time.size() - 1) : time;
}

// As it stands in a leaf, escapes and all.
std::string InLeaf(const std::string& text) {
  const std::string quoted =
      nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return quoted.substr(1, quoted.size() - 2);
}

class EvidenceWriter {
 public:
  EvidenceWriter(const EvidenceOptions& options, const ByteSink& sink)
      : options_(options),
        tar_(sink),
        tenant_(InLeaf(options.selection.tenant)),
        from_(Bound(options.selection.from)),
        to_(Bound(options.selection.to)) {
    for (const std::string& rid : options.selection.rids) {
      rids_.push_back(InLeaf(rid));
    }
    manifest_.selection = options.selection;
    manifest_.made_at = options.made_at;
    manifest_.exporter = options.exporter->verifier().VKey();
  }

  Status Write(const std::vector<std::unique_ptr<ShardReader>>& shards) {
    ASSIGN_OR_RETURN(const TrustPolicy policy, TrustPolicy::Parse(options_.policy));
    RETURN_IF_ERROR(Add(std::string(kEvidenceReadme), Readme()));
    RETURN_IF_ERROR(Add(std::string(kEvidencePolicy), options_.policy));
    RETURN_IF_ERROR(Add(std::string(kEvidenceKeys), Keys(policy)));
    for (const std::string& document : options_.documents) {
      ASSIGN_OR_RETURN(const std::string name, documents_.Add(document));
      RETURN_IF_ERROR(Add(name, document));
    }
    for (const auto& shard : shards) {
      total_ += shard->checkpoint().checkpoint.size;
    }
    for (const auto& shard : shards) {
      RETURN_IF_ERROR(rids_.empty() ? AddChain(*shard) : AddSingles(*shard));
    }
    if (num_leaves_ == 0) {
      return ErrorF(StatusCode::kNotFound, "no leaf of that tenant, time and rid is published");
    }
    RETURN_IF_ERROR(documents_.CheckAll());
    const std::string manifest =
        SignDsse(kEvidencePayloadType, EncodeManifest(manifest_), *options_.exporter);
    RETURN_IF_ERROR(tar_.Add(kEvidenceManifest, manifest));
    return tar_.Finish();
  }

 private:
  Status Add(const std::string& name, std::string_view content) {
    manifest_.files.push_back({.name = name, .sha256 = Sha256Of(content)});
    return tar_.Add(name, content);
  }

  bool InTime(const LeafView& leaf) const {
    return (from_.empty() || leaf.ts >= from_) && (to_.empty() || leaf.ts < to_);
  }

  // Calls `take` with each leaf of the shard; leaves that cannot be read are no evidence.
  template <typename Take>
  Status Scan(ShardReader& shard, const Take& take) {
    const uint64_t size = shard.checkpoint().checkpoint.size;
    RETURN_IF_ERROR(shard.Visit(0, size, [&](uint64_t index, std::string_view leaf) -> Status {
      ASSIGN_OR_RETURN(const LeafView view, ParseLeaf(leaf));
      if (options_.progress && (done_ + index) % kProgressLeaves == 0) {
        options_.progress(done_ + index, total_);
      }
      return take(index, view);
    }));
    done_ += size;
    return OkStatus();
  }

  Status CountLeaf() {
    return ++num_leaves_ <= kEvidenceLeavesMax
               ? OkStatus()
               : ErrorF(StatusCode::kResourceExhausted,
                        "more than %d leaves: ask for a shorter time",
                        kEvidenceLeavesMax);
  }

  // The chain has no gaps: from the first leaf of the time to the last of it, all there are.
  Status AddChain(ShardReader& shard) {
    std::optional<uint64_t> first;
    uint64_t last = 0;
    RETURN_IF_ERROR(Scan(shard, [&](uint64_t index, const LeafView& leaf) {
      if (leaf.tenant == tenant_ && InTime(leaf)) {
        first = first.value_or(index);
        last = index;
      }
      return OkStatus();
    }));
    if (!first.has_value()) {
      return OkStatus();
    }
    const std::string name(LastPart(shard.origin()));
    RETURN_IF_ERROR(AddCheckpoint(shard, name));
    const auto add = [&](uint64_t, std::string_view leaf) -> Status {
      ASSIGN_OR_RETURN(const LeafView view, ParseLeaf(leaf));
      if (view.tenant != tenant_) {
        return OkStatus();
      }
      RETURN_IF_ERROR(CountLeaf());
      documents_.Read(leaf);
      return Add(ChainLeafPath(name, view.tseq), leaf);
    };
    RETURN_IF_ERROR(shard.Visit(*first, last + 1, add));
    ASSIGN_OR_RETURN(const TlogProof proof, ProveLeaf(shard, last));
    return Add(ChainProofPath(name), EncodeProof(proof));
  }

  Status AddSingles(ShardReader& shard) {
    std::vector<uint64_t> found;
    RETURN_IF_ERROR(Scan(shard, [&](uint64_t index, const LeafView& leaf) {
      const bool wanted = (tenant_.empty() || leaf.tenant == tenant_) && InTime(leaf) &&
                          std::find(rids_.begin(), rids_.end(), leaf.rid) != rids_.end();
      if (!wanted) {
        return OkStatus();
      }
      found.push_back(index);
      return CountLeaf();
    }));
    const std::string name(LastPart(shard.origin()));
    if (!found.empty()) {
      RETURN_IF_ERROR(AddCheckpoint(shard, name));
    }
    for (const uint64_t index : found) {
      ASSIGN_OR_RETURN(const std::string leaf, shard.Read(index));
      documents_.Read(leaf);
      ASSIGN_OR_RETURN(const TlogProof proof, ProveLeaf(shard, index));
      RETURN_IF_ERROR(Add(SingleLeafPath(name, index), leaf));
      RETURN_IF_ERROR(Add(SingleProofPath(name, index), EncodeProof(proof)));
    }
    return OkStatus();
  }

  Status AddCheckpoint(ShardReader& shard, const std::string& name) {
    return Add(name + '/' + std::string(kCheckpointFile), shard.note());
  }

  std::string Keys(const TrustPolicy& policy) const {
    std::string keys;
    for (const TrustPolicy::Party& log : policy.logs()) {
      keys += "log " + log.key.VKey() + '\n';
    }
    for (const auto& [name, witness] : policy.witnesses()) {
      keys += "witness " + name + ' ' + witness.key.VKey() + '\n';
    }
    return keys + "exporter " + manifest_.exporter + '\n';
  }

  std::string Readme() const {
    return std::string(
               "Evidence from the audit log of inferd.\n\n"
               "Check all of it offline; KEY is the log's public key as you were given it, not the "
               "one "
               "in this bundle:\n"
               "  audit-verify verify --bundle FILE.tar --vkey KEY\n"
               "or with a policy of your own, and the key of whoever exported it:\n"
               "  audit-verify verify --bundle FILE.tar --policy POLICY --exporter EXPORTER-KEY\n\n"
               "What is in it:\n"
               "  MANIFEST                    SHA-256 of all other files, signed by the exporter: "
               "a "
               "DSSE envelope\n"
               "                              over an in-toto statement\n"
               "  policy, vkeys               whom the exporter trusts, and the public keys\n"
               "  SHARD/checkpoint            the log's signed head, with the witnesses' "
               "signatures\n"
               "  SHARD/chain/SEQ.json        a tenant's leaves, gap-free: each holds the hash of "
               "the "
               "one before\n"
               "  SHARD/chain.tlog-proof      that the last of them is in the log (C2SP "
               "tlog-proof)\n"
               "  SHARD/leaves/INDEX.json     leaves of single requests\n"
               "  SHARD/leaves/INDEX.tlog-proof   that each is in the log; one by one:\n"
               "      audit-verify check INDEX.tlog-proof INDEX.json --vkey KEY\n") +
           (options_.documents.empty()
                ? ""
                : "  documents/SHA256            what leaves name by this digest: policy sets, "
                  "model manifests\n");
  }

  const EvidenceOptions& options_;
  TarWriter tar_;
  const std::string tenant_;
  const std::string_view from_;
  const std::string_view to_;
  std::vector<std::string> rids_;
  EvidenceManifest manifest_;
  CitedDocuments documents_;
  uint64_t num_leaves_ = 0;
  uint64_t done_ = 0;
  uint64_t total_ = 0;
};

}  // namespace

Status Validate(const EvidenceSelection& selection) {
  for (const std::string& time : {selection.from, selection.to}) {
    if (!time.empty() && !IsTime(time)) {
      return ErrorF(StatusCode::kInvalidArgument,
                    "\"%s\" is no time: 2026-11-21 or 2026-11-21T13:35:22Z",
                    time);
    }
  }
  if (selection.rids.size() > kEvidenceRidsMax) {
    return ErrorF(StatusCode::kInvalidArgument, "more than %d rids", kEvidenceRidsMax);
  }
  if (selection.tenant.empty() && selection.rids.empty()) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "evidence is of a tenant or of some rids: name one of them");
  }
  return OkStatus();
}

Status WriteEvidence(const std::vector<std::unique_ptr<ShardReader>>& shards,
                     const EvidenceOptions& options,
                     const ByteSink& sink) {
  RETURN_IF_ERROR(Validate(options.selection));
  return EvidenceWriter(options, sink).Write(shards);
}

}  // namespace inferd
