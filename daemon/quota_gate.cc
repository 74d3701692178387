#include "daemon/quota_gate.h"

#include <algorithm>
#include <utility>

#include "daemon/error_map.h"
#include "governance/quota_leaf.h"

namespace inferd {
namespace {

// The reason that the wire names for what a limit counts.
Reason ReasonFor(QuotaMetric metric) {
  switch (metric) {
    case QuotaMetric::kRequestsPerMinute:
      return Reason::kRequestsPerMinute;
    case QuotaMetric::kInputTokensPerMinute:
    case QuotaMetric::kOutputTokensPerMinute:
      return Reason::kTokensPerMinute;
    case QuotaMetric::kConcurrency:
      return Reason::kConcurrency;
    case QuotaMetric::kKvTokens:
      return Reason::kKvTokens;
    case QuotaMetric::kTokensPerDay:
    case QuotaMetric::kTokensPerMonth:
      return Reason::kTokenBudget;
    case QuotaMetric::kSpendPerDay:
    case QuotaMetric::kSpendPerMonth:
      return Reason::kSpendBudget;
  }
  return Reason::kTokenBudget;
}

std::string NameOrNone(std::string_view name) {
  return IsQuotaName(name) ? std::string(name) : std::string();
}

bool CountsRequests(QuotaMetric metric) { return metric == QuotaMetric::kRequestsPerMinute; }

bool CountsTokens(QuotaMetric metric) {
  return metric == QuotaMetric::kInputTokensPerMinute ||
         metric == QuotaMetric::kOutputTokensPerMinute || metric == QuotaMetric::kTokensPerDay ||
         metric == QuotaMetric::kTokensPerMonth;
}

void AddFields(const QuotaState& state, const std::string& what, RateLimitFields& fields) {
  fields.emplace_back("x-ratelimit-limit-" + what, std::to_string(state.limit));
  fields.emplace_back("x-ratelimit-remaining-" + what, std::to_string(state.remaining));
  if (state.reset.has_value()) {
    const auto ms = std::chrono::ceil<std::chrono::milliseconds>(*state.reset).count();
    fields.emplace_back("x-ratelimit-reset-" + what,
                        absl::StrFormat("%d.%03ds", ms / 1000, ms % 1000));
  }
}

}  // namespace

QuotaAccount AccountOf(const Caller& caller, std::string_view model) {
  QuotaAccount account{.org = NameOrNone(caller.organisation),
                       .tenant = NameOrNone(caller.tenant.value()),
                       .project = NameOrNone(caller.project),
                       .key = NameOrNone(caller.key_id),
                       .model = NameOrNone(model)};
  if (account.org.empty()) {
    account.org = account.tenant;
  }
  return account;
}

RateLimitFields FieldsOf(const std::vector<QuotaState>& states) {
  const QuotaState* requests = nullptr;
  const QuotaState* tokens = nullptr;
  const auto tighten = [](const QuotaState*& tightest, const QuotaState& state) {
    if (tightest == nullptr || state.remaining < tightest->remaining) {
      tightest = &state;
    }
  };
  for (const QuotaState& state : states) {
    if (state.mode == QuotaMode::kShadow) {
      continue;  // the operator's alone
    }
    if (CountsRequests(state.metric)) {
      tighten(requests, state);
    } else if (CountsTokens(state.metric)) {
      tighten(tokens, state);
    }
  }
  RateLimitFields fields;
  if (requests != nullptr) {
    AddFields(*requests, "requests", fields);
  }
  if (tokens != nullptr) {
    AddFields(*tokens, "tokens", fields);
  }
  return fields;
}

Status RefusalStatus(const QuotaRefusal& refusal) {
  if (refusal.ledger_full || refusal.violations.empty()) {
    return MakeError(Reason::kQueueFull, "the quota ledger is full; try again");
  }
  std::vector<QuotaBreach> breaches;
  for (const QuotaViolation& violation : refusal.violations) {
    if (breaches.size() == kViolationsInErrorMax) {
      break;
    }
    const QuotaState& state = violation.state;
    breaches.push_back({.subject = state.scope.Text(),
                        .description = absl::StrFormat("%s: %s %d, %d left, this request needs %d",
                                                       state.id,
                                                       Name(state.metric),
                                                       state.limit,
                                                       state.remaining,
                                                       violation.cost)});
  }
  const Reason reason = refusal.never ? Reason::kRequestExceedsLimit
                                      : ReasonFor(refusal.violations.front().state.metric);
  return MakeQuotaError(reason, Message(StatusOf(refusal)), refusal.retry_after, breaches);
}

Status QuotaGate::Start(const UsageByAccount& used, std::vector<QuotaLimit> limits) {
  ledger_.Restore(used);
  return ledger_.SetLimits(std::move(limits));
}

StatusOr<QuotaAdmission> QuotaGate::Reserve(const Caller& caller,
                                            std::string_view model,
                                            const QuotaAmounts& upper_bound,
                                            RateLimitFields* fields,
                                            QuotaFacts* denied) {
  const QuotaAccount account = AccountOf(caller, model);
  QuotaDecision decision = ledger_.Reserve(account, upper_bound);
  RateLimitFields now = FieldsOf(ledger_.Show(account));
  if (!decision.reservation.has_value()) {
    if (denied != nullptr) {
      *denied = DeniedFacts(upper_bound, decision.refusal);
    }
    if (fields != nullptr) {
      *fields = std::move(now);
    }
    return RefusalStatus(decision.refusal);
  }
  for (const QuotaViolation& notice : decision.notices) {
    if (notice.state.mode == QuotaMode::kWarn) {
      now.emplace_back("x-ratelimit-warning", notice.state.id);
    }
  }
  return QuotaAdmission{.reservation = *std::move(decision.reservation), .fields = std::move(now)};
}

}  // namespace inferd
