// RegistryState: the model registry of this daemon: its history on disk, a leaf for each of its
// steps, whose signatures count, and which version each session keeps. The join of registry, audit
// log and configuration; docs/models.md is the operator's page.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/status.h"
#include "daemon/audit_state.h"
#include "daemon/config.h"
#include "governance/registry/model_registry.h"
#include "governance/registry/model_signature.h"
#include "governance/registry/session_versions.h"

namespace inferd {

// The leaf of a step. Its bytes are kept for good: golden ones in registry_state_test.cc.
LeafDraft LeafOfChange(const RegistryChange& change);

// Thread-safe. The registry lies in <state_directory>/registry.
class RegistryState {
 public:
  // `audit` is nullptr where there is no audit log: then steps have no leaves.
  static StatusOr<std::unique_ptr<RegistryState>> Open(const Config& config,
                                                       AuditState* audit,
                                                       const Clock& clock);

  ModelRegistry& registry() { return *registry_; }
  SessionVersions& sessions() { return sessions_; }

  // How the files have to be hashed besides, so that the signature can be checked against the same
  // bytes; nothing if there is none or the usual way is enough. `signature`: a bundle's path, ""
  // for none. kInvalidArgument if it is none.
  static StatusOr<std::optional<ModelSerialization>> SignedBy(const std::string& signature);
  // Whose signature vouches for contents that were hashed as SignedBy says, or "" if there is none
  // and none is needed. kPermissionDenied, kInvalidArgument, or kFailedPrecondition if a signature
  // is needed and missing, or the files are not what was signed, or one that the model is made of
  // is not among them.
  StatusOr<std::string> CheckSignature(const std::string& signature,
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
