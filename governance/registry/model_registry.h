// ModelRegistry: which versions of which models may answer, which of them an alias names, and how
// it came to be. Every step is one person's act with a leaf; what callers get changes by two.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/change_history.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/status.h"
#include "base/thread_annotations.h"
#include "governance/registry/model_files.h"
#include "governance/registry/model_reference.h"
#include "governance/registry/registry_change.h"

namespace inferd {

// SHA-256 over names, sizes and digests of all files: what the root digest does not bind.
Digest FilesDigest(const ModelContents& contents);

// Where a session falls, for a rollout: 0 to 9999. It depends on nothing but the arguments, so a
// session that has the new version keeps it while the percentage grows.
int CanaryPoint(std::string_view rollout, const TenantId& tenant, std::string_view session);

// A version and the persons behind it. Names bytes for good.
struct ModelVersion {
  enum class Stage : uint8_t { kRegistered, kApproved, kRevoked };
  std::string model, version;
  Digest digest, files;
  std::string signer;     // "" if no signature was asked for
  std::string submitter;  // approves nothing of it
  std::vector<std::string> approvers;
  Stage stage = Stage::kRegistered;
  friend bool operator==(const ModelVersion&, const ModelVersion&) = default;
};

// What an alias names.
struct ModelAlias {
  // A version on its way to be what the alias names.
  struct Rollout {
    std::string version;
    std::string proposed_by, approved_by;  // approved_by: "" before
    int percent = 0;
    uint64_t number = 0;  // of the change that proposed it: names the rollout
    friend bool operator==(const Rollout&, const Rollout&) = default;
  };
  std::string version;   // "" before the first
  std::string previous;  // what it named before; "" if nothing
  std::optional<Rollout> rollout;
  friend bool operator==(const ModelAlias&, const ModelAlias&) = default;
};

// Thread-safe; steps block on the disk and on `record`, Resolve on nothing.
class ModelRegistry {
 public:
  struct Parts {
    FileSystem& files;  // outlives it
    const Clock& clock;
    std::string folder;  // made if need be; one process at a time
    // Writes the step's leaf, durably, before the step takes effect. If it fails nothing happens.
    // If the step fails after it, or the process ends, the leaf stands alone and the step is taken
    // anew.
    std::function<Status(const RegistryChange&)> record;
    // False where the machine's owner says that one person is enough: whoever registers a version
    // approves it, and may approve a rollout that is its own. Holds for steps from now on.
    bool two_persons = true;
  };
  // The alias that a name alone stands for.
  static constexpr std::string_view kDefaultAlias = "default";
  static constexpr int kApproversNeeded = 2;

  // kDataLoss if the history is not as it was written.
  static StatusOr<std::unique_ptr<ModelRegistry>> Open(Parts parts);

  // What the machine's owner wrote into a file: approved by that, and what a name alone stands for.
  // kFailedPrecondition if the model has versions: then persons change it. kPermissionDenied for
  // bytes that were revoked.
  StatusOr<RegistryChange> StartWith(std::string_view source,
                                     std::string_view model,
                                     std::string_view version,
                                     const ModelContents& contents,
                                     std::string_view signer) EXCLUDES(mutex_);

  // kAlreadyExists if the version has other bytes or was registered before; kInvalidArgument for a
  // name, version or actor that is none; kPermissionDenied for bytes that were revoked.
  StatusOr<RegistryChange> Register(std::string_view actor,
                                    std::string_view model,
                                    std::string_view version,
                                    const ModelContents& contents,
                                    std::string_view signer) EXCLUDES(mutex_);
  // Two persons, neither of them the submitter: kPermissionDenied for others.
  StatusOr<RegistryChange> Approve(std::string_view actor,
                                   std::string_view model,
                                   std::string_view version) EXCLUDES(mutex_);
  // An approved version; a rollout that nobody approved yet, or whose version was revoked, gives
  // way.
  StatusOr<RegistryChange> ProposeRollout(std::string_view actor,
                                          std::string_view model,
                                          std::string_view alias,
                                          std::string_view version) EXCLUDES(mutex_);
  // kPermissionDenied if the actor proposed it.
  StatusOr<RegistryChange> ApproveRollout(std::string_view actor,
                                          std::string_view model,
                                          std::string_view alias) EXCLUDES(mutex_);
  // Of an approved rollout: 1 to 99 of a hundred sessions, or 100: the alias names it from now on.
  StatusOr<RegistryChange> SetPercent(std::string_view actor,
                                      std::string_view model,
                                      std::string_view alias,
                                      int percent) EXCLUDES(mutex_);
  // Ends a running rollout, or else gives the alias what it named before. One person may: both were
  // approved. kFailedPrecondition if there is nothing to go back to.
  StatusOr<RegistryChange> RollBack(std::string_view actor,
                                    std::string_view model,
                                    std::string_view alias) EXCLUDES(mutex_);
  // Nobody is served by its bytes from now on, whatever model and version they are called. An
  // alias that names it names nothing that may answer: there is no fall back.
  StatusOr<RegistryChange> Revoke(std::string_view actor,
                                  std::string_view model,
                                  std::string_view version) EXCLUDES(mutex_);

  // Which version answers. kNotFound for what the registry does not know, kFailedPrecondition for
  // what is not approved, kPermissionDenied for what was revoked. A rollout is decided by tenant
  // and session; without a session
  // (""), the alias's own version answers.
  StatusOr<ModelVersion> Resolve(const ModelReference& reference,
                                 const TenantId& tenant,
                                 std::string_view session) const EXCLUDES(mutex_);
  // kNotFound, or why these bytes may not answer under any version of the model, as Resolve.
  StatusOr<ModelVersion> FindApproved(std::string_view model, const Digest& digest) const
      EXCLUDES(mutex_);

  // Whatever its stage. kNotFound.
  StatusOr<ModelVersion> FindVersion(std::string_view model, std::string_view version) const
      EXCLUDES(mutex_);
  std::vector<std::string> Models() const EXCLUDES(mutex_);  // by name
  std::vector<ModelVersion> Versions(std::string_view model) const EXCLUDES(mutex_);
  std::map<std::string, ModelAlias> Aliases(std::string_view model) const EXCLUDES(mutex_);
  std::vector<RegistryChange> History(std::string_view model) const EXCLUDES(mutex_);

 private:
  struct Model {
    std::map<std::string, ModelVersion, std::less<>> versions;
    std::map<std::string, ModelAlias, std::less<>> aliases;
  };

  explicit ModelRegistry(Parts parts) : parts_(std::move(parts)) {}
  StatusOr<RegistryChange> Take(RegistryChange change) REQUIRES(mutex_);
  Status Apply(const RegistryChange& change) REQUIRES(mutex_);
  static Status ApplyToAlias(const RegistryChange& change, ModelAlias& alias);
  Status CheckNew(std::string_view actor, std::string_view model, std::string_view version) const
      REQUIRES(mutex_);
  Status CheckNotRevoked(const ModelContents& contents) const REQUIRES(mutex_);
  void Revoke(const Digest& digest) REQUIRES(mutex_);
  StatusOr<const ModelVersion*> Find(std::string_view model, std::string_view version) const
      REQUIRES(mutex_);
  StatusOr<const ModelAlias*> FindAlias(std::string_view model, std::string_view alias) const
      REQUIRES(mutex_);
  // The alias's rollout, approved or not.
  StatusOr<const ModelAlias*> FindRollout(std::string_view model, std::string_view alias) const
      REQUIRES(mutex_);

  const Parts parts_;
  mutable Mutex mutex_;
  std::unique_ptr<ChangeHistory> history_ GUARDED_BY(mutex_);
  std::map<std::string, Model, std::less<>> models_ GUARDED_BY(mutex_);
  std::set<Digest> revoked_ GUARDED_BY(mutex_);  // bytes
  std::vector<RegistryChange> changes_ GUARDED_BY(mutex_);
};

}  // namespace inferd
