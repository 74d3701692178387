// PolicyGate: may this caller do this with this model? The active policy set answers, over entities
// that are made of the callers and models that were met.
#pragma once

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
  // `facts`, if not null, gets what the denied leaf says.
  StatusOr<PolicyAnswer> Ask(const Caller& caller,
                             const PolicyQuestion& question,
                             PolicyFacts* denied = nullptr) const EXCLUDES(mutex_, build_mutex_);

  // Callers and models that are known at a time; then they are met anew.
  static constexpr size_t kEntitiesMax = 2048;

 private:
  // A set and what it is asked about. Immutable.
  struct Active {
    PolicySet::Pointer set;
    std::unique_ptr<PolicyAuthorizer> authorizer;
    // By what they were made of.
    std::unordered_map<std::string, PolicyEntityIndex> index;
  };
  using ActivePointer = std::shared_ptr<const Active>;  // decisions under way keep theirs

  // One that knows both, of the active set.
  StatusOr<ActivePointer> Knowing(const Caller& caller, const PolicyQuestion& question) const
      EXCLUDES(mutex_, build_mutex_);
  StatusOr<ActivePointer> Build(PolicySet::Pointer set) const REQUIRES(build_mutex_);

  const PolicyStore& store_;
  const Clock& clock_;
  mutable Mutex mutex_;
  mutable ActivePointer active_ GUARDED_BY(mutex_);
  mutable Mutex build_mutex_;
  // What was met, by name: what it was made of, and the entity.
  struct Met {
    std::string made_of{};
    PolicyEntity entity{};
    std::vector<PolicyEntity> around{};  // its tenant, roles and so on
  };
  mutable std::map<PolicyEntityName, Met> met_ GUARDED_BY(build_mutex_);
};

}  // namespace inferd
