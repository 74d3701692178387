// PolicyAuthorizer: decides requests by one PolicySet over one PolicyEntities.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"
#include "governance/policy/decision_cache.h"
#include "governance/policy/policy_entities.h"
#include "governance/policy/policy_request.h"
#include "governance/policy/policy_set.h"
#include "governance/policy/slice_index.h"

namespace inferd {

// Immutable but for its cache; thread-safe. Another set or other entities make another authorizer,
// whose cache is empty: so a decision's key is the request alone.
class PolicyAuthorizer {
 public:
  struct Options {
    // Decisions kept, of about 300 bytes each. 0: none.
    size_t num_cached = 4096;
  };
  // `entities_json` as PolicyEntities::FromJson takes it.
  static StatusOr<std::unique_ptr<PolicyAuthorizer>> Make(PolicySet::Pointer set,
                                                          std::string_view entities_json,
                                                          const Options& options);

  // kInvalidArgument if the request does not fit the schema (that is not a deny: nothing was
  // decided; the caller must refuse), kInternal if Cedar failed. Never quotes the context. Values
  // that no rule mentions are not read, so they are not checked either.
  StatusOr<SharedPolicyDecision> Decide(const PolicyRequest& request) const;

  // The same by Cedar's own authorizer over the whole set and without the cache: the reference for
  // Decide, and some hundred times slower. An erroring forbid denies here too.
  StatusOr<PolicyDecision> DecideByWholeSet(const PolicyRequest& request) const;

  // Why rules erred, a line each. May quote the context: for an operator's own tests alone.
  StatusOr<std::string> ExplainErrors(const PolicyRequest& request) const;

  const PolicySet& set() const { return *set_; }
  const PolicyEntities& entities() const { return *entities_; }

 private:
  PolicyAuthorizer(PolicySet::Pointer set,
                   std::unique_ptr<PolicyEntities> entities,
                   const Options& options);
  std::string CacheKey(const PolicyRequest& request) const;
  StatusOr<PolicyDecision> Evaluate(const PolicyRequest& request, std::string* messages) const;

  const PolicySet::Pointer set_;
  const std::unique_ptr<const PolicyEntities> entities_;
  const SliceIndex slices_;
  mutable DecisionCache cache_;
};

}  // namespace inferd
