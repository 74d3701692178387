#include "daemon/registry_state.h"

#include <array>
#include <set>

#include "base/file.h"
#include "base/utf8.h"
#include "daemon/model_directory.h"
#include "model/model_folder.h"

namespace inferd {
namespace {

constexpr uint64_t kPemBytesMax = 1 << 20;

LeafType LeafOf(RegistryStep step) {
  switch (step) {
    case RegistryStep::kRegistered:
      return LeafType::kModelRegistered;
    case RegistryStep::kApproved:
      return LeafType::kModelApproved;
    case RegistryStep::kRolloutProposed:
      return LeafType::kModelRolloutProposed;
    case RegistryStep::kRolloutApproved:
      return LeafType::kModelRolloutApproved;
    case RegistryStep::kCanary:
      return LeafType::kModelCanary;
    case RegistryStep::kAliasMoved:
      return LeafType::kModelAliasMoved;
    case RegistryStep::kRolledBack:
      return LeafType::kModelRolledBack;
    case RegistryStep::kRevoked:
      return LeafType::kModelRevoked;
  }
  return LeafType::kModelRegistered;
}

StatusOr<ModelSignature> ReadSignature(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, ModelSignature::kBundleBytesMax));
  return ParseModelSignature(text);
}

// A signature may ignore files, and binds no empty ones in shards: not those that make the model.
Status CheckCovers(const ModelStatement& statement, const ModelContents& contents) {
  const bool cut = statement.serialization.method == ModelSerialization::Method::kShards;
  std::set<std::string_view> covered;
  for (const ModelResource& resource : statement.resources) {
    const std::string_view name = resource.name;
    covered.insert(cut ? name.substr(0, name.find(':')) : name);
  }
  for (const ModelFileSize& file : contents.files) {
    const bool loaded = contents.files.size() == 1 || ModelFolder::Wants(file.path);
    if (loaded && !covered.contains(file.path)) {
      return ErrorF(StatusCode::kFailedPrecondition,
                    "the signature does not cover %s, which the model is made of; sign all of it",
                    file.path);
    }
  }
  return OkStatus();
}

// What of it a leaf can hold: names of files are any bytes.
std::string LeafText(std::string_view text) {
  return std::string(Utf8Prefix(ReplaceInvalidUtf8(text), kLeafTextBytesMax));
}

LeafDraft ModelLeaf(LeafType type,
                    const std::string& model,
                    const std::string& version,
                    const Digest& digest) {
  LeafDraft draft;
  draft.type = type;
  draft.tenant = TenantId(std::string(kLogTenant));
  draft.model = ModelFacts{.ref = model + ':' + version, .digest = digest, .ver = version};
  return draft;
}

}  // namespace

LeafDraft LeafOfChange(const RegistryChange& change) {
  LeafDraft draft = ModelLeaf(LeafOf(change.step), change.model, change.version, change.digest);
  draft.actor = PersonFacts(change.actor);
  const std::array<std::pair<const char*, const std::string*>, 6> texts = {
      {{"signer", &change.signer},
       {"source", &change.source},
       {"alias", &change.alias},
       {"previous", &change.previous},
       {"proposed_by", &change.proposed_by},
       {"approved_by", &change.approved_by}}};
  for (const auto& [key, text] : texts) {
    if (!text->empty()) {
      draft.detail[key] = LeafText(*text);
    }
  }
  draft.detail["change"] = change.number;
  if (change.files != Digest()) {
    draft.detail["files"] = change.files;
  }
  if (change.percent != 0) {
    draft.detail["percent"] = static_cast<uint64_t>(change.percent);
  }
  return draft;
}

StatusOr<std::unique_ptr<RegistryState>> RegistryState::Open(const Config& config,
                                                             AuditState* audit,
                                                             const Clock& clock) {
  std::unique_ptr<RegistryState> state(new RegistryState(audit, clock));
  RETURN_IF_ERROR(state->ReadTrust(config));
  ASSIGN_OR_RETURN(state->registry_,
                   ModelRegistry::Open(
                       {.files = SystemFiles(),
                        .clock = clock,
                        .folder = config.state_directory + "/registry",
                        .record = [raw = state.get()](
                                      const RegistryChange& change) { return raw->Record(change); },
                        .two_persons = config.registry.two_persons}));
  return state;
}

Status RegistryState::ReadTrust(const Config& config) {
  for (const std::string& path : config.registry.public_keys) {
    ASSIGN_OR_RETURN(std::string pem, ReadFile(path, kPemBytesMax));
    trust_.public_keys.push_back(std::move(pem));
  }
  if (!config.registry.authorities.empty()) {
    ASSIGN_OR_RETURN(trust_.authorities, ReadFile(config.registry.authorities, kPemBytesMax));
  }
  signatures_required_ = config.registry.signatures == "required";
  return OkStatus();
}

Status RegistryState::Record(const RegistryChange& change) {
  return audit_ == nullptr ? OkStatus()
                           : audit_->log().AppendAndWait(LeafOfChange(change)).status();
}

StatusOr<std::optional<ModelSerialization>> RegistryState::SignedBy(const std::string& signature) {
  if (signature.empty()) {
    return std::nullopt;
  }
  ASSIGN_OR_RETURN(const ModelSignature parsed, ReadSignature(signature));
  const ModelSerialization& serialization = parsed.statement.serialization;
  return serialization == ModelSerialization() ? std::nullopt : std::optional(serialization);
}

StatusOr<std::string> RegistryState::CheckSignature(const std::string& signature,
                                                    const ModelContents& contents) const {
  if (signature.empty()) {
    return signatures_required_
               ? StatusOr<std::string>(ErrorF(StatusCode::kFailedPrecondition,
                                              "registry.signatures is required, and no signature "
                                              "was given; `inferctl model sign` makes one"))
               : "";
  }
  ASSIGN_OR_RETURN(const ModelSignature parsed, ReadSignature(signature));
  ASSIGN_OR_RETURN(std::string signer, VerifyModelSignature(parsed, trust_));
  const ModelStatement& statement = parsed.statement;
  const bool as_usual = statement.serialization == ModelSerialization();
  if (!as_usual && contents.also_by != statement.serialization) {
    return ErrorF(StatusCode::kFailedPrecondition,
                  "the signature was written while the files were read; try again");
  }
  const std::string difference =
      DescribeDifference(statement.resources, as_usual ? contents.resources : contents.also);
  if (!difference.empty()) {
    return ErrorF(
        StatusCode::kFailedPrecondition, "the files are not what was signed: %s", difference);
  }
  RETURN_IF_ERROR(CheckCovers(statement, contents));
  return signer;
}

Status RegistryState::CheckLoad(const ModelEntry& entry,
                                const ModelContents& contents,
                                Origin origin) {
  const auto known = registry_->FindVersion(entry.name, entry.version);
  if (!known.ok()) {
    if (origin == Origin::kAdministrator || !registry_->Versions(entry.name).empty()) {
      return ErrorF(StatusCode::kFailedPrecondition,
                    "%s:%s is not registered: `inferctl model add` it and have it approved",
                    entry.name,
                    entry.version);
    }
    ASSIGN_OR_RETURN(const std::string signer, CheckSignature(entry.signature, contents));
    return registry_->StartWith("configuration", entry.name, entry.version, contents, signer)
        .status();
  }
  if (known->digest != contents.root || known->files != FilesDigest(contents)) {
    return ErrorF(StatusCode::kFailedPrecondition,
                  "the files are %s, and %s:%s was registered as %s%s; put back what was "
                  "registered, or add these as another version",
                  DigestText(contents.root),
                  entry.name,
                  entry.version,
                  DigestText(known->digest),
                  known->digest == contents.root ? " with other names or sizes" : "");
  }
  if (signatures_required_ && known->signer.empty()) {
    return ErrorF(StatusCode::kFailedPrecondition,
                  "%s:%s is not signed, and registry.signatures is required; sign the files and "
                  "add them as another version",
                  entry.name,
                  entry.version);
  }
  return registry_
      ->Resolve(
          {.name = entry.name, .kind = ModelReference::Kind::kVersion, .label = entry.version},
          TenantId(std::string(kLogTenant)),
          "")
      .status();
}

Status RegistryState::AdmitLoad(const ModelEntry& entry,
                                const ModelContents& contents,
                                Origin origin) {
  const Status status = CheckLoad(entry, contents, origin);
  if (status.ok() || audit_ == nullptr) {
    return status;
  }
  LeafDraft draft = ModelLeaf(LeafType::kModelRefused, entry.name, entry.version, contents.root);
  draft.detail["why"] = LeafText(Message(status));
  const Status recorded = audit_->log().AppendAndWait(std::move(draft)).status();
  return recorded.ok() ? status : Annotate(status, "and that could not be recorded");
}

}  // namespace inferd
