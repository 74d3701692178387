// What a reviewer of a policy set asks: what differs, which past requests it decides otherwise, and
// does it do what its tests say. Pure functions.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "governance/policy/policy_authorizer.h"
#include "governance/policy/policy_set.h"
#include "governance/policy/recorded_request.h"

namespace inferd {

// Rules are the same if their ids are, so a set whose rules have no @id differs from the first
// insertion on.
struct PolicyDiff {
  struct Changed {
    PolicyRule before;
    PolicyRule after;
  };
  bool schema_changed = false;
  std::vector<PolicyRule> removed{};  // in the order of `before`
  std::vector<PolicyRule> added{};    // in the order of `after`
  std::vector<Changed> changed{};     // another text
  bool empty() const {
    return !schema_changed && removed.empty() && added.empty() && changed.empty();
  }
};
PolicyDiff Diff(const PolicySet& before, const PolicySet& after);
// Lines: "- id: text", "+ id: text", "~ schema".
std::string ToText(const PolicyDiff& diff);

// One line of a file of requests and what is to be said of it.
struct PolicyFinding {
  size_t line = 0;
  std::string text{};
};
inline constexpr size_t kPolicyFindingsMax = 1000;

struct Simulation {
  uint64_t num_requests = 0;
  uint64_t num_different = 0;
  uint64_t num_undecided = 0;  // by one of the two: it does not fit its schema or entities
  std::vector<PolicyFinding> findings{};  // of both, at most kPolicyFindingsMax
};
// Decisions differ if their answer, obligations or the rules that erred do; not if other rules give
// the same answer.
Simulation Simulate(const PolicyAuthorizer& before,
                    const PolicyAuthorizer& after,
                    std::span<const RecordedLine> requests);

struct PolicyTestRun {
  uint64_t num_passed = 0;
  uint64_t num_failed = 0;
  std::vector<PolicyFinding> failures{};  // at most kPolicyFindingsMax
};
// Compares decisions with `expect` and `rules`. A request that expects nothing has failed.
PolicyTestRun RunTests(const PolicyAuthorizer& authorizer, std::span<const RecordedLine> tests);

}  // namespace inferd
