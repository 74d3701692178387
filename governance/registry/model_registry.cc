#include "governance/registry/model_registry.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/sha256.h"
#include "base/utf8.h"

namespace inferd {
namespace {

constexpr size_t kActorBytesMax = 256;
constexpr int kCanaryPoints = 10'000;
// The source of versions that one person registers and approves.
constexpr std::string_view kOnePerson = "one person is enough";

// Length-prefixed, so that no two lists of fields give the same bytes.
void AddField(Sha256& hash, std::string_view field) {
  hash.Update(absl::StrFormat("%d:", field.size()));
  hash.Update(field);
}

Status CheckActor(std::string_view actor) {
  if (actor.empty() || actor.size() > kActorBytesMax || !IsValidUtf8(actor)) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "an actor has a name of 1 to %d bytes of UTF-8",
                  kActorBytesMax);
  }
  return OkStatus();
}

Status CheckPart(std::string_view text, std::string_view what) {
  if (!IsModelReferencePart(text)) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "%s is 1 to %d of a-z, A-Z, 0-9, '.', '_' and '-', a letter or a digit first",
                  what,
                  ModelReference::kPartBytesMax);
  }
  return OkStatus();
}

// May it answer?
Status CheckServes(const ModelVersion& version) {
  switch (version.stage) {
    case ModelVersion::Stage::kApproved:
      return OkStatus();
    case ModelVersion::Stage::kRegistered:
      return ErrorF(StatusCode::kFailedPrecondition,
                    "%s:%s is not approved: %d of %d persons did",
                    version.model,
                    version.version,
                    version.approvers.size(),
                    ModelRegistry::kApproversNeeded);
    case ModelVersion::Stage::kRevoked:
      return ErrorF(StatusCode::kPermissionDenied,
                    "%s:%s was revoked; ask for another version",
                    version.model,
                    version.version);
  }
  return OkStatus();
}

// What a model has of that name among its versions or its aliases.
template <typename Models, typename Entries>
StatusOr<const typename Entries::mapped_type*> FindOf(const Models& models,
                                                      Entries Models::mapped_type::* entries,
                                                      const char* what,
                                                      std::string_view model,
                                                      std::string_view name) {
  const auto found = models.find(model);
  if (found == models.end()) {
    return ErrorF(StatusCode::kNotFound, "no model of that name is registered");
  }
  const auto entry = (found->second.*entries).find(name);
  if (entry == (found->second.*entries).end()) {
    return ErrorF(StatusCode::kNotFound, "model %s has no such %s", found->first, what);
  }
  return &entry->second;
}

}  // namespace

Digest FilesDigest(const ModelContents& contents) {
  Sha256 hash;
  for (const ModelFileSize& file : contents.files) {
    AddField(hash, "file");
    AddField(hash, file.path);
    AddField(hash, std::to_string(file.bytes));
  }
  for (const ModelResource& resource : contents.resources) {
    AddField(hash, "resource");
    AddField(hash, resource.name);
    AddField(hash, resource.digest.Hex());
  }
  return hash.Finish();
}

int CanaryPoint(std::string_view rollout, const TenantId& tenant, std::string_view session) {
  Sha256 hash;
  AddField(hash, "inferd-canary-v1");
  AddField(hash, rollout);
  AddField(hash, tenant.value());
  AddField(hash, session);
  uint64_t number = 0;
  const Digest digest = hash.Finish();
  for (size_t i = 0; i < sizeof(number); ++i) {
    number = number << 8 | digest.bytes[i];
  }
  return static_cast<int>(number % kCanaryPoints);  // biased by less than 1e-15
}

StatusOr<std::unique_ptr<ModelRegistry>> ModelRegistry::Open(Parts parts) {
  std::unique_ptr<ModelRegistry> registry(new ModelRegistry(std::move(parts)));
  MutexLock lock(registry->mutex_);
  const auto apply = [&](uint64_t number, std::string_view bytes)
                         NO_THREAD_SAFETY_ANALYSIS -> Status {
    ASSIGN_OR_RETURN(const RegistryChange change, DecodeChange(bytes));
    if (change.number != number) {
      return ErrorF(StatusCode::kDataLoss, "it says that it is change %d", change.number);
    }
    return registry->Apply(change);
  };
  ASSIGN_OR_RETURN(registry->history_,
                   ChangeHistory::Open(registry->parts_.files, registry->parts_.folder, apply));
  return registry;
}

Status ModelRegistry::CheckNew(std::string_view actor,
                               std::string_view model,
                               std::string_view version) const {
  RETURN_IF_ERROR(CheckActor(actor));
  RETURN_IF_ERROR(CheckPart(model, "a model's name"));
  RETURN_IF_ERROR(CheckPart(version, "a version"));
  if (Find(model, version).ok()) {
    return ErrorF(StatusCode::kAlreadyExists,
                  "%s:%s was registered before; a version names the same bytes for good",
                  model,
                  version);
  }
  return OkStatus();
}

Status ModelRegistry::CheckNotRevoked(const ModelContents& contents) const {
  return revoked_.contains(contents.root)
             ? ErrorF(StatusCode::kPermissionDenied,
                      "these bytes were revoked, which is for good whatever they are called")
             : OkStatus();
}

StatusOr<RegistryChange> ModelRegistry::StartWith(std::string_view source,
                                                  std::string_view model,
                                                  std::string_view version,
                                                  const ModelContents& contents,
                                                  std::string_view signer) {
  MutexLock lock(mutex_);
  RETURN_IF_ERROR(CheckNew(source, model, version));
  RETURN_IF_ERROR(CheckNotRevoked(contents));
  if (models_.contains(model)) {
    return ErrorF(StatusCode::kFailedPrecondition,
                  "model %s has versions: another is registered and approved, not read from a file",
                  model);
  }
  return Take({.step = RegistryStep::kRegistered,
               .actor = std::string(source),
               .model = std::string(model),
               .version = std::string(version),
               .digest = contents.root,
               .files = FilesDigest(contents),
               .signer = std::string(signer),
               .source = std::string(source),
               .alias = std::string(kDefaultAlias)});
}

StatusOr<RegistryChange> ModelRegistry::Register(std::string_view actor,
                                                 std::string_view model,
                                                 std::string_view version,
                                                 const ModelContents& contents,
                                                 std::string_view signer) {
  MutexLock lock(mutex_);
  RETURN_IF_ERROR(CheckNew(actor, model, version));
  RETURN_IF_ERROR(CheckNotRevoked(contents));
  return Take({.step = RegistryStep::kRegistered,
               .actor = std::string(actor),
               .model = std::string(model),
               .version = std::string(version),
               .digest = contents.root,
               .files = FilesDigest(contents),
               .signer = std::string(signer),
               .source = parts_.two_persons ? "" : std::string(kOnePerson)});
}

StatusOr<RegistryChange> ModelRegistry::Approve(std::string_view actor,
                                                std::string_view model,
                                                std::string_view version) {
  MutexLock lock(mutex_);
  RETURN_IF_ERROR(CheckActor(actor));
  ASSIGN_OR_RETURN(const ModelVersion* found, Find(model, version));
  if (found->stage != ModelVersion::Stage::kRegistered) {
    return ErrorF(StatusCode::kFailedPrecondition,
                  "%s:%s is %s",
                  model,
                  version,
                  found->stage == ModelVersion::Stage::kApproved ? "approved" : "revoked");
  }
  const auto& approvers = found->approvers;
  if (found->submitter == actor ||
      std::find(approvers.begin(), approvers.end(), actor) != approvers.end()) {
    return ErrorF(StatusCode::kPermissionDenied,
                  "%s:%s needs %d persons who did not submit it, each once; %s is none",
                  model,
                  version,
                  kApproversNeeded,
                  actor);
  }
  return Take({.step = RegistryStep::kApproved,
               .actor = std::string(actor),
               .model = std::string(model),
               .version = std::string(version),
               .digest = found->digest});
}

StatusOr<RegistryChange> ModelRegistry::ProposeRollout(std::string_view actor,
                                                       std::string_view model,
                                                       std::string_view alias,
                                                       std::string_view version) {
  MutexLock lock(mutex_);
  RETURN_IF_ERROR(CheckActor(actor));
  RETURN_IF_ERROR(CheckPart(alias, "an alias"));
  ASSIGN_OR_RETURN(const ModelVersion* found, Find(model, version));
  RETURN_IF_ERROR(CheckServes(*found));
  std::string previous;
  if (const auto now = FindAlias(model, alias); now.ok()) {
    previous = (*now)->version;
    if (previous == version) {
      return ErrorF(StatusCode::kFailedPrecondition, "%s#%s is %s", model, alias, version);
    }
    // One of a version that was revoked cannot end, nor be rolled back where there was none before.
    const auto& rollout = (*now)->rollout;
    if (rollout && !rollout->approved_by.empty() &&
        CheckServes(*Find(model, rollout->version).value()).ok()) {
      return ErrorF(StatusCode::kFailedPrecondition,
                    "%s#%s is on its way to %s: let it end, or roll it back",
                    model,
                    alias,
                    rollout->version);
    }
  }
  return Take({.step = RegistryStep::kRolloutProposed,
               .actor = std::string(actor),
               .model = std::string(model),
               .version = std::string(version),
               .digest = found->digest,
               .alias = std::string(alias),
               .previous = std::move(previous)});
}

StatusOr<RegistryChange> ModelRegistry::ApproveRollout(std::string_view actor,
                                                       std::string_view model,
                                                       std::string_view alias) {
  MutexLock lock(mutex_);
  RETURN_IF_ERROR(CheckActor(actor));
  ASSIGN_OR_RETURN(const ModelAlias* found, FindRollout(model, alias));
  const ModelAlias::Rollout& rollout = *found->rollout;
  if (!rollout.approved_by.empty()) {
    return ErrorF(StatusCode::kAlreadyExists,
                  "the rollout of %s:%s was approved by %s: set its percentage",
                  model,
                  rollout.version,
                  rollout.approved_by);
  }
  if (parts_.two_persons && rollout.proposed_by == actor) {
    return ErrorF(StatusCode::kPermissionDenied,
                  "the rollout of %s:%s was proposed by %s: a second person approves it",
                  model,
                  rollout.version,
                  actor);
  }
  ASSIGN_OR_RETURN(const ModelVersion* version, Find(model, rollout.version));
  RETURN_IF_ERROR(CheckServes(*version));
  return Take({.step = RegistryStep::kRolloutApproved,
               .actor = std::string(actor),
               .model = std::string(model),
               .version = rollout.version,
               .digest = version->digest,
               .alias = std::string(alias),
               .previous = found->version,
               .proposed_by = rollout.proposed_by});
}

StatusOr<RegistryChange> ModelRegistry::SetPercent(std::string_view actor,
                                                   std::string_view model,
                                                   std::string_view alias,
                                                   int percent) {
  MutexLock lock(mutex_);
  RETURN_IF_ERROR(CheckActor(actor));
  ASSIGN_OR_RETURN(const ModelAlias* found, FindRollout(model, alias));
  const ModelAlias::Rollout& rollout = *found->rollout;
  if (rollout.approved_by.empty()) {
    return ErrorF(StatusCode::kFailedPrecondition,
                  "the rollout of %s:%s was proposed by %s and not approved",
                  model,
                  rollout.version,
                  rollout.proposed_by);
  }
  if (percent < 1 || percent > 100) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "a percentage of 1 to 100, not %d; to end the rollout, roll it back",
                  percent);
  }
  if (found->version.empty() && percent != 100) {
    return ErrorF(StatusCode::kFailedPrecondition,
                  "%s#%s names nothing yet: all sessions or none",
                  model,
                  alias);
  }
  ASSIGN_OR_RETURN(const ModelVersion* version, Find(model, rollout.version));
  RETURN_IF_ERROR(CheckServes(*version));
  return Take({.step = percent == 100 ? RegistryStep::kAliasMoved : RegistryStep::kCanary,
               .actor = std::string(actor),
               .model = std::string(model),
               .version = rollout.version,
               .digest = version->digest,
               .alias = std::string(alias),
               .previous = found->version,
               .percent = percent,
               .proposed_by = rollout.proposed_by,
               .approved_by = rollout.approved_by});
}

StatusOr<RegistryChange> ModelRegistry::RollBack(std::string_view actor,
                                                 std::string_view model,
                                                 std::string_view alias) {
  MutexLock lock(mutex_);
  RETURN_IF_ERROR(CheckActor(actor));
  ASSIGN_OR_RETURN(const ModelAlias* found, FindAlias(model, alias));
  const std::string& target = found->rollout ? found->version : found->previous;
  if (target.empty()) {
    return ErrorF(StatusCode::kFailedPrecondition, "%s#%s named nothing before", model, alias);
  }
  ASSIGN_OR_RETURN(const ModelVersion* version, Find(model, target));
  RETURN_IF_ERROR(CheckServes(*version));
  return Take({.step = RegistryStep::kRolledBack,
               .actor = std::string(actor),
               .model = std::string(model),
               .version = target,
               .digest = version->digest,
               .alias = std::string(alias),
               .previous = found->rollout ? found->rollout->version : found->version});
}

StatusOr<RegistryChange> ModelRegistry::Revoke(std::string_view actor,
                                               std::string_view model,
                                               std::string_view version) {
  MutexLock lock(mutex_);
  RETURN_IF_ERROR(CheckActor(actor));
  ASSIGN_OR_RETURN(const ModelVersion* found, Find(model, version));
  if (found->stage == ModelVersion::Stage::kRevoked) {
    return ErrorF(StatusCode::kAlreadyExists, "%s:%s was revoked before", model, version);
  }
  return Take({.step = RegistryStep::kRevoked,
               .actor = std::string(actor),
               .model = std::string(model),
               .version = std::string(version),
               .digest = found->digest});
}

// The leaf, then the file, then memory.
StatusOr<RegistryChange> ModelRegistry::Take(RegistryChange change) {
  RETURN_IF_ERROR(history_->CheckUsable());
  change.number = history_->next();
  change.at = std::chrono::floor<std::chrono::microseconds>(parts_.clock.WallNow());
  const std::string bytes = EncodeChange(change);
  if (bytes.size() > ChangeHistory::kChangeBytesMax) {  // the subject of a signer's certificate
    return ErrorF(StatusCode::kInvalidArgument,
                  "the step's names are too long: %d bytes with all of them, at most %d are kept",
                  bytes.size(),
                  ChangeHistory::kChangeBytesMax);
  }
  RETURN_IF_ERROR(parts_.record(change));
  RETURN_IF_ERROR(history_->Append(bytes));
  RETURN_IF_ERROR(Apply(change));
  return change;
}

Status ModelRegistry::Apply(const RegistryChange& change) {
  Model& model = models_[change.model];
  if (change.step == RegistryStep::kRegistered) {
    const bool from_owner = !change.source.empty();  // which approves it
    model.versions[change.version] = {
        .model = change.model,
        .version = change.version,
        .digest = change.digest,
        .files = change.files,
        .signer = change.signer,
        .submitter = change.actor,
        .approvers = {},
        .stage = from_owner ? ModelVersion::Stage::kApproved : ModelVersion::Stage::kRegistered};
    if (!change.alias.empty()) {
      model.aliases[change.alias].version = change.version;
    }
  } else {
    const auto found = model.versions.find(change.version);
    if (found == model.versions.end()) {
      return ErrorF(StatusCode::kDataLoss, "it is about a version that was not registered");
    }
    ModelVersion& version = found->second;
    if (change.step == RegistryStep::kRevoked) {
      Revoke(version.digest);
    } else if (change.step == RegistryStep::kApproved) {
      version.approvers.push_back(change.actor);
      if (version.approvers.size() == kApproversNeeded) {
        version.stage = ModelVersion::Stage::kApproved;
      }
    } else {
      RETURN_IF_ERROR(ApplyToAlias(change, model.aliases[change.alias]));
    }
  }
  changes_.push_back(change);
  return OkStatus();
}

// Bytes are revoked, whatever they are called.
void ModelRegistry::Revoke(const Digest& digest) {
  for (auto& [model_name, model] : models_) {
    for (auto& [name, version] : model.versions) {
      version.stage = version.digest == digest ? ModelVersion::Stage::kRevoked : version.stage;
    }
  }
  revoked_.insert(digest);
}

Status ModelRegistry::ApplyToAlias(const RegistryChange& change, ModelAlias& alias) {
  const bool needs_rollout =
      change.step == RegistryStep::kRolloutApproved || change.step == RegistryStep::kCanary;
  if (needs_rollout && !alias.rollout) {
    return ErrorF(StatusCode::kDataLoss, "it is about a rollout that was not proposed");
  }
  switch (change.step) {
    case RegistryStep::kRolloutProposed:
      alias.rollout = {.version = change.version,
                       .proposed_by = change.actor,
                       .approved_by = "",
                       .percent = 0,
                       .number = change.number};
      return OkStatus();
    case RegistryStep::kRolloutApproved:
      alias.rollout->approved_by = change.actor;
      return OkStatus();
    case RegistryStep::kCanary:
      alias.rollout->percent = change.percent;
      return OkStatus();
    case RegistryStep::kAliasMoved:
    case RegistryStep::kRolledBack:
      // Ending a rollout leaves the alias what it was.
      if (alias.version != change.version) {
        alias.previous = std::exchange(alias.version, change.version);
      }
      alias.rollout.reset();
      return OkStatus();
    default:
      return OkStatus();
  }
}

StatusOr<const ModelVersion*> ModelRegistry::Find(std::string_view model,
                                                  std::string_view version) const {
  return FindOf(models_, &Model::versions, "version", model, version);
}

StatusOr<const ModelAlias*> ModelRegistry::FindAlias(std::string_view model,
                                                     std::string_view alias) const {
  return FindOf(models_, &Model::aliases, "alias", model, alias);
}

StatusOr<const ModelAlias*> ModelRegistry::FindRollout(std::string_view model,
                                                       std::string_view alias) const {
  ASSIGN_OR_RETURN(const ModelAlias* found, FindAlias(model, alias));
  if (!found->rollout) {
    return ErrorF(StatusCode::kFailedPrecondition,
                  "no version is on its way to %s#%s: propose one",
                  model,
                  alias);
  }
  return found;
}

StatusOr<ModelVersion> ModelRegistry::Resolve(const ModelReference& reference,
                                              const TenantId& tenant,
                                              std::string_view session) const {
  using Kind = ModelReference::Kind;
  if (reference.kind == Kind::kDigest) {
    return FindApproved(reference.name, reference.digest);
  }
  MutexLock lock(mutex_);
  std::string_view version = reference.label;
  if (reference.kind != Kind::kVersion) {
    const std::string_view name =
        reference.kind == Kind::kAlias ? std::string_view(reference.label) : kDefaultAlias;
    ASSIGN_OR_RETURN(const ModelAlias* alias, FindAlias(reference.name, name));
    version = alias->version;
    if (alias->rollout && !session.empty()) {
      const std::string rollout =
          absl::StrFormat("%s#%s/%d", reference.name, name, alias->rollout->number);
      if (CanaryPoint(rollout, tenant, session) < alias->rollout->percent * kCanaryPoints / 100) {
        version = alias->rollout->version;
      }
    }
  }
  ASSIGN_OR_RETURN(const ModelVersion* found, Find(reference.name, version));
  RETURN_IF_ERROR(CheckServes(*found));
  return *found;
}

StatusOr<ModelVersion> ModelRegistry::FindApproved(std::string_view model,
                                                   const Digest& digest) const {
  MutexLock lock(mutex_);
  const auto found = models_.find(model);
  if (found == models_.end()) {
    return ErrorF(StatusCode::kNotFound, "no model of that name is registered");
  }
  Status why =
      ErrorF(StatusCode::kNotFound, "model %s has no version of that digest", found->first);
  for (const auto& [name, version] : found->second.versions) {
    if (version.digest == digest) {
      why = CheckServes(version);
      if (why.ok()) {
        return version;
      }
    }
  }
  return why;
}

StatusOr<ModelVersion> ModelRegistry::FindVersion(std::string_view model,
                                                  std::string_view version) const {
  MutexLock lock(mutex_);
  ASSIGN_OR_RETURN(const ModelVersion* found, Find(model, version));
  return *found;
}

std::vector<std::string> ModelRegistry::Models() const {
  MutexLock lock(mutex_);
  std::vector<std::string> names;
  for (const auto& [name, model] : models_) {
    names.push_back(name);
  }
  return names;
}

std::vector<ModelVersion> ModelRegistry::Versions(std::string_view model) const {
  MutexLock lock(mutex_);
  std::vector<ModelVersion> versions;
  if (const auto found = models_.find(model); found != models_.end()) {
    for (const auto& [name, version] : found->second.versions) {
      versions.push_back(version);
    }
  }
  return versions;
}

std::map<std::string, ModelAlias> ModelRegistry::Aliases(std::string_view model) const {
  MutexLock lock(mutex_);
  const auto found = models_.find(model);
  return found == models_.end() ? std::map<std::string, ModelAlias>()
                                : std::map<std::string, ModelAlias>(found->second.aliases.begin(),
                                                                    found->second.aliases.end());
}

std::vector<RegistryChange> ModelRegistry::History(std::string_view model) const {
  MutexLock lock(mutex_);
  std::vector<RegistryChange> changes;
  std::copy_if(changes_.begin(),
               changes_.end(),
               std::back_inserter(changes),
               [&](const RegistryChange& change) { return change.model == model; });
  return changes;
}

}  // namespace inferd
