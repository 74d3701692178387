#include "governance/quota/quota_limit.h"

#include <algorithm>
#include <array>

namespace inferd {
namespace {

constexpr std::array<std::string_view, kNumQuotaMetrics> kMetricNames = {
    "rpm", "itpm", "otpm", "conc", "kv", "tok_day", "tok_month", "spend_day", "spend_month"};
constexpr std::array<std::string_view, 3> kModeNames = {"enforce", "warn", "shadow"};

template <typename Enum, size_t n>
std::optional<Enum> FromName(const std::array<std::string_view, n>& names, std::string_view name) {
  const auto found = std::find(names.begin(), names.end(), name);
  return found == names.end() ? std::nullopt
                              : std::optional(static_cast<Enum>(found - names.begin()));
}

bool Covers(std::string_view scope, std::string_view name) {
  return scope.empty() || scope == name;
}

const char* Problem(const QuotaLimit& limit) {
  const QuotaAccount& scope = limit.scope;
  if (!IsQuotaName(limit.id)) {
    return "its id is not 1 to 64 of A-Z a-z 0-9 . _ : / @ # + -";
  }
  if (scope.org.empty()) {
    return "its scope names no org";
  }
  for (const std::string* name :
       {&scope.org, &scope.tenant, &scope.project, &scope.key, &scope.model}) {
    if (!name->empty() && !IsQuotaName(*name)) {
      return "a name of its scope is not of A-Z a-z 0-9 . _ : / @ # + -, 64 at most";
    }
  }
  if (scope.tenant.empty() && !(scope.project.empty() && scope.key.empty())) {
    return "its scope names a project or a key without their tenant";
  }
  if (limit.limit > kQuotaUnitsMax || limit.burst > kQuotaUnitsMax ||
      (limit.raise && std::max(limit.raise->limit, limit.raise->burst) > kQuotaUnitsMax)) {
    return "it is above 2^48 units";
  }
  if (limit.raise && limit.raise->limit < limit.limit) {
    return "its raise is below the limit";
  }
  if (KindOf(limit.metric) != QuotaKind::kRate &&
      (limit.burst != 0 || (limit.raise && limit.raise->burst != 0))) {
    return "burst is for rates alone";
  }
  if (limit.cached_free && limit.metric != QuotaMetric::kInputTokensPerMinute) {
    return "cached_free is for itpm alone";
  }
  return nullptr;
}

}  // namespace

std::string_view Name(QuotaMetric metric) { return kMetricNames[static_cast<size_t>(metric)]; }
std::optional<QuotaMetric> QuotaMetricFromName(std::string_view name) {
  return FromName<QuotaMetric>(kMetricNames, name);
}

std::string_view Name(QuotaMode mode) { return kModeNames[static_cast<size_t>(mode)]; }
std::optional<QuotaMode> QuotaModeFromName(std::string_view name) {
  return FromName<QuotaMode>(kModeNames, name);
}

QuotaKind KindOf(QuotaMetric metric) {
  switch (metric) {
    case QuotaMetric::kRequestsPerMinute:
    case QuotaMetric::kInputTokensPerMinute:
    case QuotaMetric::kOutputTokensPerMinute:
      return QuotaKind::kRate;
    case QuotaMetric::kConcurrency:
    case QuotaMetric::kKvTokens:
      return QuotaKind::kSemaphore;
    case QuotaMetric::kTokensPerDay:
    case QuotaMetric::kTokensPerMonth:
    case QuotaMetric::kSpendPerDay:
    case QuotaMetric::kSpendPerMonth:
      return QuotaKind::kBudget;
  }
  return QuotaKind::kBudget;
}

bool IsMonthly(QuotaMetric metric) {
  return metric == QuotaMetric::kTokensPerMonth || metric == QuotaMetric::kSpendPerMonth;
}

uint64_t CostOf(QuotaMetric metric, const QuotaAmounts& amounts) {
  switch (metric) {
    case QuotaMetric::kRequestsPerMinute:
      return 1;
    case QuotaMetric::kInputTokensPerMinute:
      return amounts.in;
    case QuotaMetric::kOutputTokensPerMinute:
      return amounts.out;
    case QuotaMetric::kConcurrency:
      return amounts.conc;
    case QuotaMetric::kKvTokens:
      return amounts.kv;
    case QuotaMetric::kTokensPerDay:
    case QuotaMetric::kTokensPerMonth:
      return amounts.in + amounts.out;
    case QuotaMetric::kSpendPerDay:
    case QuotaMetric::kSpendPerMonth:
      return amounts.micro;
  }
  return 0;
}

bool QuotaAccount::Covers(const QuotaAccount& account) const {
  using inferd::Covers;
  return Covers(org, account.org) && Covers(tenant, account.tenant) &&
         Covers(project, account.project) && Covers(key, account.key) &&
         Covers(model, account.model);
}

std::string QuotaAccount::Text() const {
  std::string text;
  const auto add = [&text](const char* level, const std::string& name) {
    if (!name.empty()) {
      text += (text.empty() ? "" : "/") + std::string(level) + ':' + name;
    }
  };
  add("org", org);
  add("tenant", tenant);
  add("project", project);
  add("key", key);
  add("model", model);
  return text;
}

bool IsQuotaName(std::string_view name) {
  constexpr std::string_view kPunctuation = "._:/@#+-";
  return !name.empty() && name.size() <= kQuotaNameBytesMax &&
         std::all_of(name.begin(), name.end(), [kPunctuation](char c) {
           return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                  kPunctuation.find(c) != std::string_view::npos;
         });
}

Status Validate(const QuotaLimit& limit) {
  const char* const problem = Problem(limit);
  return problem == nullptr ? OkStatus()
                            : ErrorF(StatusCode::kInvalidArgument,
                                     "quota %s (%s): %s",
                                     limit.id,
                                     Name(limit.metric),
                                     problem);
}

}  // namespace inferd
