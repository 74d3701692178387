// PolicyGate: may this caller do this with this model? The active policy set answers, over entities
// that are made of the callers and models that were met.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/digest.h"
#include "base/status.h"
#include "base/thread_annotations.h"
#include "daemon/caller.h"
#include "governance/audit/leaf.h"
#include "governance/policy/policy_authorizer.h"
#include "governance/policy/policy_store.h"

namespace inferd {

// What is asked for.
struct PolicyQuestion {
  std::string_view action;  // generate, tokenize, list_models, or one of administer
  // The model; "" for what administers: then it is about the daemon.
  std::string_view model{};
  Digest digest{};
  std::string_view address{};  // the caller's IP address; "": a Unix socket
  int64_t max_tokens = 0;      // asked for
};

struct PolicyAnswer {
  PolicyFacts facts;       // for the leaf
  int64_t max_tokens = 0;  // at most so many may be generated; 0: no bound
};

// Thread-safe. Decisions take microseconds, tens of nanoseconds if they were made before; a caller
// or model that is met for the first time, or has changed, costs milliseconds.
class PolicyGate {
 public:
  // The store outlives it.
  PolicyGate(const PolicyStore& store, const Clock& clock) : store_(store), clock_(clock) {}

  // POLICY_DENIED, naming the rules and the set, where it is not allowed, where the question does
  // not fit the set's schema, and where it is allowed under an obligation that this daemon cannot
  // meet.
  // `denied`, if not null, gets what a denied leaf says; it counts only if the answer is no.
  StatusOr<PolicyAnswer> Ask(const Caller& caller,
                             const PolicyQuestion& question,
                             PolicyFacts* denied = nullptr) const EXCLUDES(mutex_, build_mutex_);

  // How often entities were built, each time for milliseconds: once for what is new, never for what
  // is known.
  uint64_t num_builds() const EXCLUDES(build_mutex_);

  // Callers and models that a view knows at a time; then it meets them anew.
  static constexpr size_t kEntitiesMax = 2048;
  // Versions of one model that are known side by side.
  static constexpr size_t kViewsMax = 4;

 private:
  // A set and what it is asked about. Immutable.
  struct Active {
    PolicySet::Pointer set;
    std::unique_ptr<PolicyAuthorizer> authorizer;
    // By what they were made of.
    std::unordered_map<std::string, PolicyEntityIndex> index;
  };
  using ActivePointer = std::shared_ptr<const Active>;  // decisions under way keep theirs

  // What was met, as entities that go together. A name has one entity alone, so that the versions
  // of a model, and a caller before and after its tenant's file was changed, are in different
  // views.
  struct View {
    std::map<PolicyEntityName, PolicyEntity> entities{};
    std::unordered_map<std::string, PolicyEntityName> asked{};  // by what it was made of

    bool Takes(const std::vector<PolicyEntity>& more) const;
  };

  // One that knows both, of this set; nullptr.
  ActivePointer Known(const PolicySet::Pointer& set,
                      const std::string& caller,
                      const std::string& subject) const EXCLUDES(mutex_);
  // The same, made if need be.
  StatusOr<ActivePointer> Knowing(const Caller& caller, const PolicyQuestion& question) const
      EXCLUDES(mutex_, build_mutex_);
  // The number of a view that takes these; the oldest is emptied if none does.
  size_t ViewFor(const std::vector<PolicyEntity>& entities) const REQUIRES(build_mutex_);
  static StatusOr<ActivePointer> Build(PolicySet::Pointer set, const View& view);

  const PolicyStore& store_;
  const Clock& clock_;
  mutable Mutex mutex_;
  mutable std::array<ActivePointer, kViewsMax> active_ GUARDED_BY(mutex_);  // of each view
  mutable Mutex build_mutex_;
  mutable std::array<View, kViewsMax> views_ GUARDED_BY(build_mutex_);
  mutable size_t oldest_ GUARDED_BY(build_mutex_) = 0;
  mutable uint64_t num_builds_ GUARDED_BY(build_mutex_) = 0;
};

}  // namespace inferd
