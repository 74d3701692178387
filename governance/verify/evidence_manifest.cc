#include "governance/verify/evidence_manifest.h"

#include <nlohmann/json.hpp>

namespace inferd {
namespace {

using Json = nlohmann::json;

constexpr char kStatementType[] = "https://in-toto.io/Statement/v1";

Status Bad(const char* why) {
  return ErrorF(StatusCode::kInvalidArgument, "not an evidence manifest: %s", why);
}

// The text under `key`, or null.
const std::string* TextOf(const Json& object, const char* key) {
  if (!object.is_object()) {
    return nullptr;
  }
  const auto found = object.find(key);
  return found == object.end() ? nullptr : found->get_ptr<const std::string*>();
}

StatusOr<EvidenceManifest::File> ParseSubject(const Json& subject) {
  const std::string* const name = TextOf(subject, "name");
  const std::string* const hex = subject.is_object() && subject.contains("digest")
                                     ? TextOf(subject["digest"], "sha256")
                                     : nullptr;
  if (name == nullptr || hex == nullptr) {
    return Bad("a subject without name and sha256");
  }
  EvidenceManifest::File file{.name = *name, .sha256 = {}};
  ASSIGN_OR_RETURN(file.sha256, Digest::FromHex(*hex));
  return file;
}

Status ParsePredicate(const Json& predicate, EvidenceManifest& manifest) {
  const struct {
    const char* key;
    std::string* to;
  } texts[] = {{"exporter", &manifest.exporter},
               {"made_at", &manifest.made_at},
               {"tenant", &manifest.selection.tenant},
               {"from", &manifest.selection.from},
               {"to", &manifest.selection.to}};
  for (const auto& text : texts) {
    const std::string* const found = TextOf(predicate, text.key);
    if (found == nullptr) {
      return Bad("its predicate lacks a member");
    }
    *text.to = *found;
  }
  const auto rids = predicate.find("rids");
  if (rids == predicate.end() || !rids->is_array() || rids->size() > kEvidenceRidsMax) {
    return Bad("its predicate has no list of rids");
  }
  for (const Json& rid : *rids) {
    const auto* const text = rid.get_ptr<const std::string*>();
    if (text == nullptr) {
      return Bad("a rid that is no text");
    }
    manifest.selection.rids.push_back(*text);
  }
  return OkStatus();
}

}  // namespace

std::string EncodeManifest(const EvidenceManifest& manifest) {
  Json subjects = Json::array();
  for (const EvidenceManifest::File& file : manifest.files) {
    subjects.push_back({{"name", file.name}, {"digest", {{"sha256", file.sha256.Hex()}}}});
  }
  const EvidenceSelection& selection = manifest.selection;
  const Json statement = {{"_type", kStatementType},
                          {"subject", std::move(subjects)},
                          {"predicateType", kEvidencePredicateType},
                          {"predicate",
                           {{"tenant", selection.tenant},
                            {"from", selection.from},
                            {"to", selection.to},
                            {"rids", selection.rids},
                            {"made_at", manifest.made_at},
                            {"exporter", manifest.exporter}}}};
  return statement.dump(-1, ' ', false, Json::error_handler_t::replace);
}

StatusOr<EvidenceManifest> ParseManifest(std::string_view statement) {
  const Json json = Json::parse(statement, nullptr, /*allow_exceptions=*/false);
  const std::string* const type = TextOf(json, "_type");
  const std::string* const predicate_type = TextOf(json, "predicateType");
  if (type == nullptr || *type != kStatementType || predicate_type == nullptr ||
      *predicate_type != kEvidencePredicateType) {
    return Bad("it is no in-toto statement of this type");
  }
  const auto predicate = json.find("predicate");
  const auto subjects = json.find("subject");
  if (predicate == json.end() || subjects == json.end() || !subjects->is_array() ||
      subjects->size() > kTarMembersMax) {
    return Bad("it has no predicate or no subjects");
  }
  EvidenceManifest manifest;
  RETURN_IF_ERROR(ParsePredicate(*predicate, manifest));
  manifest.files.reserve(subjects->size());
  for (const Json& subject : *subjects) {
    ASSIGN_OR_RETURN(EvidenceManifest::File file, ParseSubject(subject));
    manifest.files.push_back(std::move(file));
  }
  return manifest;
}

std::string ChainLeafPath(std::string_view shard, uint64_t tseq) {
  return absl::StrFormat("%s/chain/%012d.json", shard, tseq);
}
std::string ChainProofPath(std::string_view shard) {
  return absl::StrFormat("%s/chain.tlog-proof", shard);
}
std::string SingleLeafPath(std::string_view shard, uint64_t index) {
  return absl::StrFormat("%s/leaves/%012d.json", shard, index);
}
std::string SingleProofPath(std::string_view shard, uint64_t index) {
  return absl::StrFormat("%s/leaves/%012d.tlog-proof", shard, index);
}

std::string_view LastPart(std::string_view path) { return path.substr(path.rfind('/') + 1); }

}  // namespace inferd
