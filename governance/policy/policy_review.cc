#include "governance/policy/policy_review.h"

#include <map>
#include <string_view>

namespace inferd {
namespace {

using RulesById = std::map<std::string_view, const PolicyRule*>;

RulesById ById(const PolicySet& set) {
  RulesById rules;
  for (const PolicyRule& rule : set.rules()) {
    rules.emplace(rule.id, &rule);
  }
  return rules;
}

std::string Joined(const std::vector<std::string>& items) {
  std::string text;
  for (const std::string& item : items) {
    text += (text.empty() ? "" : ", ") + item;
  }
  return text;
}

std::string Describe(const PolicyDecision& decision) {
  std::string text(decision.Name());
  if (!decision.rules.empty()) {
    text += " by " + Joined(decision.rules);
  }
  for (const PolicyObligation& obligation : decision.obligations) {
    text += "; " + obligation.Text();
  }
  if (!decision.erred.empty()) {
    text += "; erred: " + Joined(decision.erred);
  }
  return text;
}

StatusOr<SharedPolicyDecision> Decide(const PolicyAuthorizer& authorizer,
                                      const RecordedRequest& request) {
  ASSIGN_OR_RETURN(const BoundRequest bound, BoundRequest::Bind(request, authorizer.entities()));
  return authorizer.Decide(bound.get());
}

void Add(std::vector<PolicyFinding>& findings, size_t line, std::string text) {
  if (findings.size() < kPolicyFindingsMax) {
    findings.push_back({.line = line, .text = std::move(text)});
  }
}

// Why the test failed; empty if it passed.
std::string Failure(const PolicyAuthorizer& authorizer, const RecordedRequest& test) {
  if (!test.allowed && !test.rules) {
    return "it expects nothing: add \"expect\": \"allow\" or \"deny\"";
  }
  const auto decision = Decide(authorizer, test);
  if (!decision.ok()) {
    return std::string(Message(decision.status()));
  }
  if (test.allowed && *test.allowed != (*decision)->allowed) {
    return absl::StrFormat(
        "expected %s, got %s", *test.allowed ? "allow" : "deny", Describe(**decision));
  }
  if (test.rules && *test.rules != (*decision)->rules) {
    return absl::StrFormat(
        "expected rules [%s], got %s", Joined(*test.rules), Describe(**decision));
  }
  return "";
}

}  // namespace

PolicyDiff Diff(const PolicySet& before, const PolicySet& after) {
  PolicyDiff diff;
  diff.schema_changed = before.schema_text() != after.schema_text();
  const RulesById old_rules = ById(before);
  const RulesById new_rules = ById(after);
  for (const PolicyRule& rule : before.rules()) {
    if (!new_rules.contains(rule.id)) {
      diff.removed.push_back(rule);
    }
  }
  for (const PolicyRule& rule : after.rules()) {
    const auto old_rule = old_rules.find(rule.id);
    if (old_rule == old_rules.end()) {
      diff.added.push_back(rule);
    } else if (old_rule->second->text != rule.text) {
      diff.changed.push_back({.before = *old_rule->second, .after = rule});
    }
  }
  return diff;
}

std::string ToText(const PolicyDiff& diff) {
  std::string text = diff.schema_changed ? "~ schema\n" : "";
  const auto add = [&text](std::string_view mark, const PolicyRule& rule) {
    text += absl::StrFormat("%s %s: %s\n", mark, rule.id, rule.text);
  };
  for (const PolicyRule& rule : diff.removed) {
    add("-", rule);
  }
  for (const PolicyDiff::Changed& changed : diff.changed) {
    add("-", changed.before);
    add("+", changed.after);
  }
  for (const PolicyRule& rule : diff.added) {
    add("+", rule);
  }
  return text;
}

Simulation Simulate(const PolicyAuthorizer& before,
                    const PolicyAuthorizer& after,
                    std::span<const RecordedLine> requests) {
  Simulation result;
  for (const RecordedLine& one : requests) {
    ++result.num_requests;
    const auto old_decision = Decide(before, one.request);
    const auto new_decision = Decide(after, one.request);
    if (!old_decision.ok() || !new_decision.ok()) {
      ++result.num_undecided;
      const bool by_old = !old_decision.ok();
      Add(result.findings,
          one.line,
          absl::StrFormat("undecided %s: %s",
                          by_old ? "before" : "after",
                          Message(by_old ? old_decision.status() : new_decision.status())));
      continue;
    }
    const PolicyDecision& was = **old_decision;
    const PolicyDecision& is = **new_decision;
    if (was.allowed != is.allowed || was.obligations != is.obligations || was.erred != is.erred) {
      ++result.num_different;
      Add(result.findings, one.line, absl::StrFormat("was %s, is %s", Describe(was), Describe(is)));
    }
  }
  return result;
}

PolicyTestRun RunTests(const PolicyAuthorizer& authorizer, std::span<const RecordedLine> tests) {
  PolicyTestRun run;
  for (const RecordedLine& test : tests) {
    std::string failure = Failure(authorizer, test.request);
    if (failure.empty()) {
      ++run.num_passed;
    } else {
      ++run.num_failed;
      Add(run.failures, test.line, std::move(failure));
    }
  }
  return run;
}

}  // namespace inferd
