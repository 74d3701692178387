#include "daemon/model_resolver.h"

#include <algorithm>

#include "daemon/error_map.h"

namespace inferd {
namespace {

Status NoSuchModel() {
  // Not the name that was asked for: errors show nothing that callers wrote.
  return MakeError(Reason::kModelNotFound, "no model of that name; ListModels names them");
}

StatusOr<ModelReference> Parse(std::string_view text) {
  auto reference = ParseModelReference(text);
  if (reference.ok()) {
    return reference;
  }
  return text.find_first_of("@:#") == std::string_view::npos
             ? NoSuchModel()
             : MakeFieldError("model", Message(reference.status()));
}

// Of a tenant's file, where each was checked.
std::vector<ModelReference> References(const TenantModels& rules) {
  std::vector<ModelReference> references;
  for (const std::string& text : rules.references) {
    if (auto reference = ParseModelReference(text); reference.ok()) {
      references.push_back(*std::move(reference));
    }
  }
  return references;
}

}  // namespace

// Of what the registry refuses.
Status ModelResolver::AsCallersSee(const Status& status, const ModelReference& reference) const {
  switch (status.code()) {
    case StatusCode::kFailedPrecondition:
      return MakeError(Reason::kModelNotApproved, Message(status));
    case StatusCode::kPermissionDenied:
      return MakeError(Reason::kModelRevoked, Message(status));
    default:
      break;
  }
  for (const ModelDirectory::Entry& entry : directory_.Versions(reference.name)) {
    if (!entry.ready()) {  // a first start registers a model once it is read
      return MakeError(Reason::kModelLoading, absl::StrFormat("model %s is loading", entry.name));
    }
  }
  if (registry_.Versions(reference.name).empty()) {
    return NoSuchModel();
  }
  if (reference.kind == ModelReference::Kind::kDigest) {
    return MakeError(Reason::kVersionPinMismatch, Message(status));
  }
  return MakeError(Reason::kModelNotFound, Message(status));
}

StatusOr<ModelVersion> ModelResolver::Keep(const ModelReference& reference,
                                           const TenantId& tenant,
                                           std::string_view session) const {
  using Kind = ModelReference::Kind;
  auto decided = registry_.Resolve(reference, tenant, session);
  if (!decided.ok()) {
    return AsCallersSee(decided.status(), reference);
  }
  if (session.empty() || reference.kind == Kind::kDigest || reference.kind == Kind::kVersion) {
    return decided;
  }
  const std::string_view alias = reference.kind == Kind::kAlias ? std::string_view(reference.label)
                                                                : ModelRegistry::kDefaultAlias;
  const std::string asked = absl::StrFormat("%s#%s", reference.name, alias);
  const Digest kept = sessions_.Keep(tenant, session, asked, decided->digest);
  if (kept == decided->digest) {
    return decided;
  }
  auto old = registry_.FindApproved(reference.name, kept);
  if (old.ok() && directory_.Find(reference.name, kept).ok()) {
    return old;
  }
  sessions_.Forget(kept);  // revoked or gone
  sessions_.Keep(tenant, session, asked, decided->digest);
  return decided;
}

bool ModelResolver::Permits(const TenantModels& rules,
                            const ModelVersion& version,
                            const TenantId& tenant,
                            std::string_view session) const {
  const std::vector<ModelReference> references = References(rules);
  return std::any_of(references.begin(), references.end(), [&](const ModelReference& rule) {
    if (rule.name != version.model) {
      return false;
    }
    if (rule.kind == ModelReference::Kind::kName) {
      return true;
    }
    const auto meant = Keep(rule, tenant, session);
    return meant.ok() && meant->digest == version.digest;
  });
}

StatusOr<ModelVersion> ModelResolver::Decide(const ModelQuestion& question) const {
  ASSIGN_OR_RETURN(ModelReference reference, Parse(question.reference));
  const TenantModels rules = rules_of_(question.tenant);
  if (!rules.references.empty()) {
    const std::vector<ModelReference> references = References(rules);
    const auto first =
        std::find_if(references.begin(), references.end(), [&](const ModelReference& rule) {
          return rule.name == reference.name;
        });
    if (first == references.end()) {  // whether there is one or not
      return MakeError(Reason::kModelNotPermitted, "the tenant's file names no such model");
    }
    if (reference.kind == ModelReference::Kind::kName) {
      reference = *first;
    }
  }
  ASSIGN_OR_RETURN(ModelVersion version, Keep(reference, question.tenant, question.session));
  if (!rules.references.empty() && !Permits(rules, version, question.tenant, question.session)) {
    return MakeError(
        Reason::kModelNotPermitted,
        absl::StrFormat("the tenant's file names other versions of model %s", version.model));
  }
  if (rules.signed_only && version.signer.empty()) {
    return MakeError(
        Reason::kModelNotPermitted,
        absl::StrFormat("%s:%s is not signed, and the tenant takes signed models alone",
                        version.model,
                        version.version));
  }
  return version;
}

StatusOr<std::shared_ptr<const ResidentModel>> ModelResolver::Resolve(
    const ModelQuestion& question) const {
  ASSIGN_OR_RETURN(const ModelVersion version, Decide(question));
  ASSIGN_OR_RETURN(ModelDirectory::Entry entry, directory_.Find(version.model, version.digest));
  return std::move(entry.model);
}

StatusOr<ModelDirectory::Entry> ModelResolver::Find(const ModelQuestion& question) const {
  const auto version = Decide(question);
  const auto entry =
      version.ok() ? directory_.Find(version->model, version->digest) : version.status();
  if (entry.ok() || !HasReason(entry.status()) ||
      ReasonOf(entry.status()) != Reason::kModelLoading) {
    return entry;
  }
  const std::string name(question.reference.substr(
      0, std::min(question.reference.find_first_of("@:#"), question.reference.size())));
  for (const ModelDirectory::Entry& known : directory_.Versions(name)) {
    if (!known.ready()) {
      return known;
    }
  }
  return entry;
}

std::vector<UnansweredAlias> ModelResolver::Unanswered() const {
  std::vector<UnansweredAlias> found;
  for (const std::string& model : registry_.Models()) {
    for (const auto& [name, alias] : registry_.Aliases(model)) {
      const auto look = [&, &alias_name = name](const std::string& version, bool on_its_way) {
        const auto known = registry_.FindVersion(model, version);
        const bool revoked = known.ok() && known->stage == ModelVersion::Stage::kRevoked;
        if (known.ok() && (revoked || !directory_.Find(model, known->digest).ok())) {
          found.push_back({model, alias_name, version, known->digest, on_its_way, revoked});
        }
      };
      look(alias.version, false);
      if (alias.rollout && alias.rollout->percent > 0) {
        look(alias.rollout->version, true);
      }
    }
  }
  return found;
}

std::vector<ModelDirectory::Entry> ModelResolver::List(const TenantId& tenant) const {
  std::vector<ModelDirectory::Entry> entries = directory_.List();
  const TenantModels rules = rules_of_(tenant);
  if (!rules.references.empty() || rules.signed_only) {
    std::erase_if(entries, [&](const ModelDirectory::Entry& entry) {
      const auto version = registry_.FindVersion(entry.name, entry.version);
      return !version.ok() || (rules.signed_only && version->signer.empty()) ||
             (!rules.references.empty() && !Permits(rules, *version, tenant, ""));
    });
  }
  return entries;
}

}  // namespace inferd
