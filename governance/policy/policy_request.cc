#include "governance/policy/policy_request.h"

#include <algorithm>
#include <charconv>
#include <ctime>

#include "base/check.h"

namespace inferd {
namespace {

void Note(const std::string& id, std::vector<std::string>& named, uint32_t& count) {
  ++count;
  if (named.size() < kPolicyRulesNamedMax) {
    named.push_back(id);
  }
}

uint32_t TokensOf(const PolicyObligation& obligation) {
  uint32_t tokens = 0;
  std::from_chars(
      obligation.value.data(), obligation.value.data() + obligation.value.size(), tokens);
  return tokens;
}

// Sorted, each once; max_tokens is one, the least.
void Settle(std::vector<PolicyObligation>& obligations) {
  const auto less = [](const PolicyObligation& a, const PolicyObligation& b) {
    return a.name != b.name ? a.name < b.name : TokensOf(a) < TokensOf(b);
  };
  std::sort(obligations.begin(), obligations.end(), less);
  const auto same_name = [](const PolicyObligation& a, const PolicyObligation& b) {
    return a.name == b.name;
  };
  obligations.erase(std::unique(obligations.begin(), obligations.end(), same_name),
                    obligations.end());
}

}  // namespace

std::string DatetimeText(WallTime time) {
  const auto millis = std::chrono::floor<std::chrono::milliseconds>(time);
  const auto seconds = std::chrono::floor<std::chrono::seconds>(millis);
  const std::time_t whole = std::chrono::system_clock::to_time_t(seconds);
  std::tm parts{};
  gmtime_r(&whole, &parts);
  return absl::StrFormat("%04d-%02d-%02dT%02d:%02d:%02d.%03dZ",
                         parts.tm_year + 1900,
                         parts.tm_mon + 1,
                         parts.tm_mday,
                         parts.tm_hour,
                         parts.tm_min,
                         parts.tm_sec,
                         (millis - seconds).count());
}

std::string_view PolicyDecision::Name() const {
  if (!allowed) {
    return "deny";
  }
  return obligations.empty() ? "allow" : "allow_with_obligations";
}

PolicyDecision Combine(const PolicySet& set,
                       std::span<const uint32_t> rules,
                       std::span<const PolicyOutcome> outcomes) {
  CHECK(rules.size() == outcomes.size());
  const auto denies = [&](size_t i) {
    return set.rules()[rules[i]].effect == PolicyEffect::kForbid &&
           outcomes[i] != PolicyOutcome::kUnsatisfied;
  };
  bool forbidden = false;
  bool permitted = false;
  for (size_t i = 0; i < rules.size(); ++i) {
    forbidden |= denies(i);
    permitted |= set.rules()[rules[i]].effect == PolicyEffect::kPermit &&
                 outcomes[i] == PolicyOutcome::kSatisfied;
  }
  PolicyDecision decision;
  decision.allowed = permitted && !forbidden;
  for (size_t i = 0; i < rules.size(); ++i) {
    const PolicyRule& rule = set.rules()[rules[i]];
    if (outcomes[i] == PolicyOutcome::kErred) {
      Note(rule.id, decision.erred, decision.num_erred);
    }
    const bool applied =
        rule.effect == PolicyEffect::kPermit && outcomes[i] == PolicyOutcome::kSatisfied;
    if (decision.allowed ? applied : denies(i)) {
      Note(rule.id, decision.rules, decision.num_rules);
    }
    if (decision.allowed && applied) {
      decision.obligations.insert(
          decision.obligations.end(), rule.obligations.begin(), rule.obligations.end());
    }
  }
  Settle(decision.obligations);
  return decision;
}

}  // namespace inferd
