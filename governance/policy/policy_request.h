// What a policy decides about, and what it decided.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "governance/policy/policy_entities.h"
#include "governance/policy/policy_set.h"

namespace inferd {

// Values of Cedar's extension types, in the language's own spelling.
struct PolicyIp {
  std::string_view text{};  // 10.1.2.3, 2001:db8::/32
};
struct PolicyDecimal {
  std::string_view text{};  // -12.3456
};
struct PolicyDatetime {
  std::string_view text{};  // DatetimeText(now)
};
// 2026-01-31T23:59:59.123Z; years 0 to 9999.
std::string DatetimeText(WallTime time);

// An attribute of the request's context. Borrows its text.
struct PolicyAttribute {
  std::string_view name{};
  std::variant<bool, int64_t, std::string_view, PolicyIp, PolicyDecimal, PolicyDatetime> value{};
};

// May `principal` do `action` to `resource`? Numbers of the authorizer's PolicyEntities.
struct PolicyRequest {
  PolicyEntityIndex principal{};
  PolicyEntityIndex action{};
  PolicyEntityIndex resource{};
  std::span<const PolicyAttribute> context{};  // names differ
};

// More determining rules than these are counted, not named: a leaf of the audit log has bounds.
inline constexpr size_t kPolicyRulesNamedMax = 32;

struct PolicyDecision {
  bool allowed = false;
  // Ids of the rules that determined it, in the order of the set: permits if allowed; if not, the
  // forbids that applied or erred. Empty: no permit applied.
  std::vector<std::string> rules{};
  uint32_t num_rules = 0;  // also those that are not named
  // Of all permits that applied, sorted, each once; of several max_tokens the least.
  std::vector<PolicyObligation> obligations{};
  // Ids of the rules whose evaluation failed, named as above. An erroring permit did not apply.
  std::vector<std::string> erred{};
  uint32_t num_erred = 0;

  // allow, allow_with_obligations or deny.
  std::string_view Name() const;
  friend bool operator==(const PolicyDecision&, const PolicyDecision&) = default;
};

// How one rule fared.
enum class PolicyOutcome : uint8_t { kUnsatisfied, kSatisfied, kErred };

// The decision over `rules` (numbers in the set, ascending) that fared so:
//   a forbid that applied, or erred, denies;
//   else a permit that applied allows;
//   else it is denied.
// Cedar leaves an erroring forbid out; here it denies, since nobody knows that it did not apply.
PolicyDecision Combine(const PolicySet& set,
                       std::span<const uint32_t> rules,
                       std::span<const PolicyOutcome> outcomes);

}  // namespace inferd
