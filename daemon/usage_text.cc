#include "daemon/usage_text.h"

#include <algorithm>

#include "governance/audit/canonical_json.h"
#include "inferd/v1/usage.pb.h"

namespace inferd {
namespace {

constexpr size_t kStepsShownMax = 1000;
constexpr int64_t kRaiseSecondsMax = int64_t{366} * 86'400;

void Fill(const QuotaAccount& account, v1::Account* out) {
  out->set_org(account.org);
  out->set_tenant(account.tenant);
  out->set_project(account.project);
  out->set_key(account.key);
  out->set_model(account.model);
}

}  // namespace

StatusOr<DayRange> ReadDays(const std::string& from, const std::string& to, WallTime now) {
  DayRange days{.first = DayOf(now), .last = DayOf(now)};
  if (!from.empty()) {
    ASSIGN_OR_RETURN(days.first, ParseUtcDay(from));
  }
  if (!to.empty()) {
    ASSIGN_OR_RETURN(days.last, ParseUtcDay(to));
  }
  if (days.last < days.first) {
    return ErrorF(StatusCode::kInvalidArgument, "the last day is before the first");
  }
  return days;
}

QuotaAccount ReadAccount(const v1::Account& account) {
  return {.org = account.org(),
          .tenant = account.tenant(),
          .project = account.project(),
          .key = account.key(),
          .model = account.model()};
}

StatusOr<QuotaAccount> ReadNamedAccount(const v1::Account& account) {
  if (account.org().empty()) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "account.org: which organisation? A tenant without one is its own");
  }
  return ReadAccount(account);
}

StatusOr<QuotaLimit> ReadLimit(const v1::SetQuotaRequest& request, WallTime now) {
  const auto metric = QuotaMetricFromName(request.metric());
  const auto mode = QuotaModeFromName(request.mode().empty() ? "enforce" : request.mode());
  if (!metric.has_value()) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "metric: rpm, itpm, otpm, conc, kv, tok_day or tok_month");
  }
  if (!mode.has_value()) {
    return ErrorF(StatusCode::kInvalidArgument, "mode: enforce, warn or shadow");
  }
  QuotaLimit limit{.id = request.id(),
                   .scope = ReadAccount(request.scope()),
                   .metric = *metric,
                   .limit = request.limit(),
                   .burst = request.burst(),
                   .mode = *mode};
  if (request.has_raised_for()) {
    const int64_t seconds = request.raised_for().seconds();
    if (seconds <= 0 || seconds > kRaiseSecondsMax) {
      return ErrorF(StatusCode::kInvalidArgument, "raised_for: is not in [1 s, 366 days]");
    }
    limit.raise = QuotaRaise{.limit = request.raised_limit(),
                             .burst = request.raised_burst(),
                             .until = now + std::chrono::seconds(seconds)};
  }
  RETURN_IF_ERROR(Validate(limit));
  return limit;
}

void Fill(Duration duration, google::protobuf::Duration* out) {
  constexpr int64_t kNanosPerSecond = 1'000'000'000;
  out->set_seconds(duration.count() / kNanosPerSecond);
  out->set_nanos(static_cast<int32_t>(duration.count() % kNanosPerSecond));
}

void Fill(const std::pair<const UsageRowKey, UsageSums>& row, v1::UsageRow* out) {
  const auto& [key, sums] = row;
  out->set_day(UtcDayText(key.day));
  Fill(key.account, out->mutable_account());
  out->set_requests(sums.requests);
  out->set_open(sums.open);
  out->set_input_tokens(sums.input_tokens);
  out->set_output_tokens(sums.output_tokens);
}

void Fill(const QuotaState& state, v1::QuotaState* out) {
  out->set_id(state.id);
  Fill(state.scope, out->mutable_scope());
  out->set_metric(std::string(Name(state.metric)));
  out->set_mode(std::string(Name(state.mode)));
  out->set_limit(state.limit);
  out->set_burst(state.burst);
  out->set_used(state.used);
  out->set_remaining(state.remaining);
  if (state.reset.has_value()) {
    Fill(*state.reset, out->mutable_reset());
  }
}

void Fill(const QuotaViolation& violation, v1::QuotaRefusal* out) {
  Fill(violation.state, out->mutable_limit());
  out->set_cost(violation.cost);
  out->set_never(violation.never);
  if (violation.retry_after.has_value()) {
    Fill(*violation.retry_after, out->mutable_passes_in());
  }
}

void Fill(const QuotaSimulation& simulation, v1::SimulateQuotasResponse& out) {
  out.set_requests(simulation.requests);
  out.set_refused(simulation.refused);
  out.set_skipped(simulation.skipped);
  for (const auto& [limit_and_tenant, breach] : simulation.breaches) {
    v1::SimulatedBreach* const to = out.add_breaches();
    to->set_limit(limit_and_tenant.first);
    to->set_tenant(limit_and_tenant.second);
    to->set_refused(breach.refused);
    to->set_refused_tokens(breach.refused_tokens);
    to->set_noticed(breach.noticed);
  }
}

void Fill(const PolicyStore& store, v1::GetPoliciesResponse& out) {
  if (const PolicySet::Pointer active = store.active()) {
    out.set_active(active->digest().Hex());
  }
  const std::vector<PolicyChange> history = store.history();
  for (size_t i = history.size() - std::min(history.size(), kStepsShownMax); i < history.size();
       ++i) {
    v1::PolicyStep* const step = out.add_history();
    step->set_number(history[i].number);
    step->set_step(std::string(Name(history[i].step)));
    step->set_set(history[i].set.Hex());
    step->set_actor(history[i].actor);
    step->set_time(Rfc3339Micros(history[i].at));
  }
}

}  // namespace inferd
