// RegistryState: the model registry of this daemon: its history on disk, a leaf for each of its
// steps, whose signatures count, and which version each session keeps. The join of registry, audit
// log and configuration; docs/models.md is the operator's page.
#pragma once

#include <memory>
#include <string>

#include "base/clock.h"
#include "base/status.h"
#include "daemon/audit_state.h"
#include "daemon/config.h"
#include "governance/registry/model_registry.h"
#include "governance/registry/model_signature.h"
#include "governance/registry/session_versions.h"

namespace inferd {

// Thread-safe. The registry lies in <state_directory>/registry.
class RegistryState {
 public:
  // `audit` is nullptr where there is no audit log: then steps have no leaves.
  static StatusOr<std::unique_ptr<RegistryState>> Open(const Config& config,
                                                       AuditState* audit,
                                                       const Clock& clock);

  ModelRegistry& registry() { return *registry_; }
  SessionVersions& sessions() { return sessions_; }

  // Whose signature vouches for the files at `path`, or "" if there is none and none is needed.
  // `signature`: a bundle's path, "" for none. kPermissionDenied, kInvalidArgument, or
  // kFailedPrecondition if a signature is needed and missing, or the files are not what was signed.
  StatusOr<std::string> CheckSignature(const std::string& signature,
                                       const std::string& path,
                                       const ModelContents& contents) const;

  enum class Origin : uint8_t {
    kConfiguration,  // the first version of a name is approved by standing there
    kAdministrator,
  };
  // May these bytes be served as entry.name:entry.version? kFailedPrecondition or kPermissionDenied
  // says why not; a refusal has its leaf.
  Status AdmitLoad(const ModelEntry& entry, const ModelContents& contents, Origin origin);

 private:
  RegistryState(AuditState* audit, const Clock& clock)
      : audit_(audit), sessions_(clock, SessionVersions::Limits()) {}
  Status ReadTrust(const Config& config);
  Status CheckLoad(const ModelEntry& entry, const ModelContents& contents, Origin origin);
  Status Record(const RegistryChange& change);

  AuditState* const audit_;
  ModelTrust trust_;                  // constant after Open
  bool signatures_required_ = false;  // the same
  std::unique_ptr<ModelRegistry> registry_;
  SessionVersions sessions_;
};

}  // namespace inferd
