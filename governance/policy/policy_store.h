// PolicyStore: which policy set is active, and how it came to be: one person proposes, a second one
// approves, then it can be activated. Sets and history lie on disk; docs/policy.md describes both.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/change_history.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/file_system.h"
#include "base/status.h"
#include "base/thread_annotations.h"
#include "governance/policy/policy_set.h"

namespace inferd {

enum class PolicyStep : uint8_t { kProposed, kApproved, kActivated };
// proposed, approved, activated: with "policy." before it, the type of its leaf.
std::string_view Name(PolicyStep step);

// One step in a set's life: what its audit leaf says, and a file of the history.
struct PolicyChange {
  uint64_t number = 0;  // in the history, from 1
  PolicyStep step = PolicyStep::kProposed;
  Digest set{};
  std::string actor{};
  WallTime at{};                     // of microseconds
  std::string proposed_by{};         // of an approval or activation
  std::string approved_by{};         // of an activation; empty for the first set, from a file
  std::optional<Digest> replaces{};  // of an activation: the set that was active
  friend bool operator==(const PolicyChange&, const PolicyChange&) = default;
};

// Thread-safe; steps block on the disk and on `record`.
class PolicyStore {
 public:
  struct Parts {
    FileSystem& files;  // outlives it
    const Clock& clock;
    std::string folder;  // made if need be; one process at a time
    // Writes the step's leaf, durably. Called before the step takes effect: if it fails, nothing
    // happens. If the step fails after it, or the process ends, the leaf stands alone; the step is
    // then taken anew, with a leaf of its own.
    std::function<Status(const PolicyChange&)> record;
  };
  // kDataLoss if the history or the active set is not as it was written: nothing is decided by a
  // set that nobody approved. kFailedPrecondition if another process has the folder.
  static StatusOr<std::unique_ptr<PolicyStore>> Open(Parts parts);

  // The first set, from a file of the machine's owner, `source`; one leaf. kFailedPrecondition if
  // there is an active set: then two persons change it.
  StatusOr<PolicyChange> StartWith(PolicySet::Pointer set, std::string_view source)
      EXCLUDES(mutex_);
  // kAlreadyExists if it was proposed before; kResourceExhausted if the history is full.
  StatusOr<PolicyChange> Propose(std::string_view actor, PolicySet::Pointer set) EXCLUDES(mutex_);
  // kNotFound if it was not proposed, kAlreadyExists if it was approved, kPermissionDenied if the
  // actor proposed it.
  StatusOr<PolicyChange> Approve(std::string_view actor, const Digest& set) EXCLUDES(mutex_);
  // Makes an approved set the active one, a former one too (a roll-back needs no new approval).
  // kFailedPrecondition if it was not approved, or is active.
  StatusOr<PolicyChange> Activate(std::string_view actor, const Digest& set) EXCLUDES(mutex_);

  // Null before the first. Waits for no step: every request asks.
  PolicySet::Pointer active() const EXCLUDES(active_mutex_);
  // kNotFound, or kDataLoss if the file is not what its name says.
  StatusOr<PolicySet::Pointer> Find(const Digest& set) const;
  std::vector<PolicyChange> history() const EXCLUDES(mutex_);

 private:
  struct Life {
    std::string proposed_by;
    std::string approved_by;
    bool approved = false;
  };

  explicit PolicyStore(Parts parts) : parts_(std::move(parts)) {}
  Status ReadHistory() REQUIRES(mutex_);
  StatusOr<PolicyChange> Take(PolicyChange change, PolicySet::Pointer set) REQUIRES(mutex_);
  Status CheckUsable(std::string_view actor) const REQUIRES(mutex_);
  StatusOr<Life> LifeOf(const Digest& set) const REQUIRES(mutex_);
  void Apply(const PolicyChange& change) REQUIRES(mutex_);
  void Use(PolicySet::Pointer set) REQUIRES(mutex_) EXCLUDES(active_mutex_);

  const Parts parts_;
  mutable Mutex mutex_;  // one step at a time, its waits for the disk and the leaf included
  std::unique_ptr<ChangeHistory> changes_ GUARDED_BY(mutex_);
  std::vector<PolicyChange> history_ GUARDED_BY(mutex_);
  std::map<Digest, Life> lives_ GUARDED_BY(mutex_);
  mutable Mutex active_mutex_;  // taken last, for as long as a copy takes
  PolicySet::Pointer active_ GUARDED_BY(active_mutex_);
};

// A file that the machine's owner wrote: owned by root or by this process's user, and writable by
// none but its owner. kFailedPrecondition otherwise.
StatusOr<std::string> ReadOwnersFile(const std::string& path, uint64_t size_bytes_max);

}  // namespace inferd
