// ModelResolver: which resident model answers: what was asked for, what the tenant may use, what
// the registry says of it, and what the session began with.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "daemon/model_directory.h"
#include "governance/registry/model_registry.h"
#include "governance/registry/session_versions.h"

namespace inferd {

// What a tenant's file says of models.
struct TenantModels {
  // References. Empty: every model. A name alone is given the first one here of that name; each
  // must be one of these, or be what one of them stands for.
  std::vector<std::string> references{};
  bool signed_only = false;
};

// Who asks for what.
struct ModelQuestion {
  std::string_view reference;  // untrusted
  const TenantId& tenant;
  std::string_view session{};  // the caller's name for a conversation; "": none
};

// An alias that names a version of which nobody is served: its callers are refused.
struct UnansweredAlias {
  std::string model, alias, version;
  Digest digest;         // of the version
  bool on_its_way;       // the alias's rollout, which has sessions; else what the alias names
  bool revoked = false;  // else it is not in memory, or not yet
};

// Thread-safe; does not block. What it is given outlives it.
class ModelResolver {
 public:
  using RulesOf = std::function<TenantModels(const TenantId&)>;
  ModelResolver(const ModelRegistry& registry,
                SessionVersions& sessions,
                const ModelDirectory& directory,
                RulesOf rules_of)
      : registry_(registry),
        sessions_(sessions),
        directory_(directory),
        rules_of_(std::move(rules_of)) {}

  // INVALID_FIELD for a reference that is malformed, MODEL_NOT_FOUND, VERSION_PIN_MISMATCH for
  // bytes that the model never was, MODEL_NOT_APPROVED, MODEL_REVOKED, MODEL_NOT_PERMITTED,
  // MODEL_LOADING, MODEL_NOT_RESIDENT. There is no fall back to another version.
  StatusOr<std::shared_ptr<const ResidentModel>> Resolve(const ModelQuestion& question) const;
  // The same, but a model that is still loading is an answer.
  StatusOr<ModelDirectory::Entry> Find(const ModelQuestion& question) const;
  // By model, then alias. Empty where all is well; somewhat stale at once.
  std::vector<UnansweredAlias> Unanswered() const;
  // What of the directory the tenant may use.
  std::vector<ModelDirectory::Entry> List(const TenantId& tenant) const;

 private:
  StatusOr<ModelVersion> Decide(const ModelQuestion& question) const;
  StatusOr<ModelVersion> Keep(const ModelReference& reference,
                              const TenantId& tenant,
                              std::string_view session) const;
  bool Permits(const TenantModels& rules,
               const ModelVersion& version,
               const TenantId& tenant,
               std::string_view session) const;
  Status AsCallersSee(const Status& status, const ModelReference& reference) const;

  const ModelRegistry& registry_;
  SessionVersions& sessions_;
  const ModelDirectory& directory_;
  const RulesOf rules_of_;
};

}  // namespace inferd
