// inferd_audit_corpus DIR: writes the seeds of the audit log's fuzzers below DIR.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/sha256.h"
#include "governance/audit/leaf.h"
#include "governance/audit/wal_format.h"
#include "governance/vault.h"
#include "governance/verify/checkpoint.h"
#include "governance/verify/evidence_manifest.h"
#include "governance/verify/merkle.h"
#include "governance/verify/proof_file.h"
#include "governance/verify/tiles.h"
#include "tests/support/example_keys.h"

namespace inferd {
namespace {

void Write(const std::string& folder, const std::string& name, const std::string& bytes) {
  std::filesystem::create_directories(folder);
  std::ofstream(folder + '/' + name, std::ios::binary) << bytes;
}

std::string Leaf(LeafType type, bool large) {
  LeafDraft draft;
  draft.type = type;
  draft.tenant = TenantId("acme");
  draft.rid = RequestId("01ARZ3NDEKTSV4RRFFQ69G5FAV");
  if (large) {
    draft.model = ModelFacts{.ref = "m", .digest = Digest(), .lora = {"a", "b"}};
    draft.quota = QuotaFacts{.dec = "reserved", .res = {.in = 1, .out = 2}};
    draft.sampling = SamplingFacts{.temperature = 0.7f};
    draft.admitted = AuditReceipt{.origin = "p", .index = 3, .leaf_hash = {}};
    draft.detail["note"] = std::string("\"\\\n\x01\xc3\xa9");
  }
  const LeafChain chain{.origin = "o", .node = "n", .boot = "b"};
  return *EncodeLeaf(draft, chain);
}

// A bundle of one request's leaf, in a tree of that leaf alone.
std::string SingleEvidence() {
  const auto log = NoteSigner::Parse(kExampleLogKey);
  const auto exporter = NoteSigner::Parse(kExampleExporterKey);
  const std::string leaf = Leaf(LeafType::kInferenceCompleted, true);
  const std::string note = SignCheckpoint(
      {.origin = std::string(kExampleLogName) + "/2026q4.0", .size = 1, .root = LeafHash(leaf)},
      *log);
  const std::vector<std::pair<std::string, std::string>> files = {
      {std::string(kEvidenceReadme), "read me"},
      {std::string(kEvidencePolicy), "log " + log->verifier().VKey() + "\nquorum none\n"},
      {std::string(kEvidenceKeys), "keys"},
      {"2026q4.0/checkpoint", note},
      {SingleLeafPath("2026q4.0", 0), leaf},
      {SingleProofPath("2026q4.0", 0),
       EncodeProof({.extra = "", .index = 0, .hashes = {}, .note = note})}};
  EvidenceManifest manifest{.selection = {.tenant = "acme", .rids = {"01ARZ3NDEKTSV4RRFFQ69G5FAV"}},
                            .made_at = "2026-11-21T00:00:00Z",
                            .exporter = exporter->verifier().VKey(),
                            .files = {}};
  std::string tar;
  TarWriter writer([&tar](std::string_view bytes) {
    tar += bytes;
    return OkStatus();
  });
  for (const auto& [name, content] : files) {
    manifest.files.push_back({.name = name, .sha256 = Sha256Of(content)});
    CHECK(writer.Add(name, content).ok());
  }
  CHECK(writer
            .Add(kEvidenceManifest,
                 SignDsse(kEvidencePayloadType, EncodeManifest(manifest), *exporter))
            .ok());
  CHECK(writer.Finish().ok());
  CHECK(VerifyEvidence(tar, TrustPolicy::OfLog(log->verifier()), nullptr).ok());
  return tar;
}

void WriteVault(const std::string& folder) {
  const VaultEnvelope envelope{.rid = "01JD",
                               .tenant = "acme",
                               .origin = "example.org/log",
                               .direction = VaultDirection::kOutput,
                               .key_id = "0123456789abcdef"};
  const std::string frame =
      vault_format::Encode(envelope, std::string(92, 'k'), std::string(40, 'p'));
  const std::string header(vault_format::kSegmentHeader);
  Write(folder, "two", header + frame + frame);
  Write(folder, "torn", header + frame + frame.substr(0, 60));
}

void WriteCorpus(const std::string& folder) {
  const auto signer = NoteSigner::Generate("example.com/log");
  const Checkpoint checkpoint{.origin = "example.com/log/1", .size = 5, .root = LeafHash("x")};
  const std::string note = SignCheckpoint(checkpoint, *signer);
  Write(folder + "/note", "checkpoint", note);
  Write(folder + "/note", "two", note + SignatureLine({"other", 7, std::string(72, 's')}));
  Write(folder + "/note", "vkey", signer->verifier().VKey());
  const auto witness = NoteSigner::Generate("w", NoteKeyType::kEd25519Cosignature);
  Write(folder + "/note",
        "policy",
        "# of a test\nlog " + signer->verifier().VKey() + " https://example.com\nwitness a " +
            witness->verifier().VKey() + "\ngroup g any a\nquorum g\n");
  const TlogProof proof{
      .extra = "e", .index = 2, .hashes = {LeafHash("a"), LeafHash("b")}, .note = note};
  Write(folder + "/proof", "proof", EncodeProof(proof));
  Write(folder + "/proof",
        "bare",
        EncodeProof({.extra = "", .index = 0, .hashes = {}, .note = note}));
  Write(folder + "/tile", "three", std::string("\0\3", 2) + std::string(96, 'h'));
  Write(folder + "/tile", "edge", std::string("\1\1", 2) + std::string(32, 'h'));
  Write(folder + "/leaf", "admitted", Leaf(LeafType::kInferenceAdmitted, true));
  Write(folder + "/leaf", "completed", Leaf(LeafType::kInferenceCompleted, true));
  Write(folder + "/leaf", "genesis", Leaf(LeafType::kLogGenesis, false));
  std::string bundle;
  std::string wal = EncodeWalHeader({.epoch = 5, .number = 1});
  for (uint16_t i = 0; i < 4; ++i) {
    const std::string leaf = Leaf(LeafType::kAdminAction, i % 2 == 1);
    AppendEntry(bundle, leaf);
    AppendWalFrame(wal,
                   5,
                   {.group = uint64_t{1} + i / 2,
                    .index = i,
                    .position = static_cast<uint16_t>(i % 2),
                    .count = 2,
                    .leaf = leaf});
  }
  Write(folder + "/bundle", "four", '\4' + bundle);
  Write(folder + "/bundle", "empty", std::string("\2\0\0\0\0", 5));
  Write(folder + "/evidence", "single.tar", SingleEvidence());
  WriteVault(folder + "/vault");
  Write(folder + "/wal", "four", wal + std::string(64, '\0'));
  Write(
      folder + "/wal", "empty", EncodeWalHeader({.epoch = 5, .number = 0}) + std::string(64, '\0'));
}

}  // namespace
}  // namespace inferd

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: inferd_audit_corpus DIR\n");
    return 2;
  }
  inferd::WriteCorpus(argv[1]);
  return 0;
}
