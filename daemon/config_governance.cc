// The config's part on who may do what, and how much: policies and quotas.
#include <set>

#include "daemon/config_schema.h"
#include "governance/quota/quota_limit.h"

namespace inferd {
namespace {

Status CheckQuotaName(std::string_view name) {
  return name.empty() || IsQuotaName(name)
             ? OkStatus()
             : Status(StatusCode::kInvalidArgument,
                      "must be 1 to 64 of A-Z a-z 0-9 . _ : / @ # + -");
}

void VisitName(FieldVisitor& v,
               std::string_view key,
               std::string& value,
               bool required,
               std::string_view what) {
  v.String(key, value, {.choices = {}, .check = CheckQuotaName, .required = required}, what);
}

void VisitId(FieldVisitor& v, QuotaEntry& quota) {
  VisitName(v, "id", quota.id, true, "Its name, which refusals and audit leaves say.");
}

void VisitOwner(FieldVisitor& v, QuotaEntry& quota) {
  VisitName(v,
            "org",
            quota.org,
            true,
            "The organisation whose use it counts; a tenant without one is its own: its name.");
  VisitName(v, "tenant", quota.tenant, false, "Of it, this tenant alone; empty: all of them.");
}

// What it limits, and how much.
void VisitTerms(FieldVisitor& v, QuotaEntry& quota) {
  constexpr auto kUnitsMax = static_cast<int64_t>(kQuotaUnitsMax);
  VisitName(v, "project", quota.project, false, "Of it, this project alone.");
  VisitName(v, "key", quota.key, false, "Of it, this API key alone.");
  VisitName(v, "model", quota.model, false, "Of it, this model alone.");
  v.String("metric",
           quota.metric,
           {.choices = {"rpm", "itpm", "otpm", "conc", "kv", "tok_day", "tok_month"},
            .check = {},
            .required = true},
           "rpm: requests a minute. itpm, otpm: input, output tokens a minute. conc: requests at a "
           "time. kv: tokens whose KV they may need. tok_day, tok_month: tokens in a UTC day or "
           "month.");
  v.Integer("limit",
            quota.limit,
            {.min = 0, .max = kUnitsMax, .required = true},
            "Units a minute, at a time, or in the window; 0 closes.");
  v.Integer("burst",
            quota.burst,
            {.min = 0, .max = kUnitsMax, .required = false},
            "Of a rate: units that may be spent at once; 0: a minute's worth.");
  v.String("mode",
           quota.mode,
           {.choices = {"enforce", "warn", "shadow"}, .check = {}, .required = false},
           "enforce refuses; warn lets pass and tells the caller; shadow lets pass and counts.");
  v.Bool("cached_free",
         quota.cached_free,
         "itpm: tokens that the prefix cache had are given back at the end.");
}

// `visit` gets each item, in its map.
template <typename Visit>
void VisitList(FieldVisitor& v,
               std::vector<QuotaEntry>& quotas,
               int64_t size_max,
               std::string_view doc,
               Visit visit) {
  quotas.resize(
      v.BeginList("quotas", quotas.size(), {.min = 0, .max = size_max, .required = false}, doc));
  for (size_t i = 0; i < quotas.size(); ++i) {
    v.EnterItem(i);
    visit(quotas[i]);
    v.Leave();
  }
  v.EndList();
}

}  // namespace

void VisitGovernance(FieldVisitor& v, Config& c) {
  v.Enter("policy",
          "The first policy set; both files or none. Once a set is active, two persons change it.");
  v.String("schema",
           c.policy.schema,
           {},
           "Cedar schema, of root or of the daemon's user and writable by nobody else; empty: no "
           "policies, and whoever is authenticated may use every model.");
  v.String("policies", c.policy.policies, {}, "Cedar policies, under the same rule.");
  v.Leave();
  VisitQuotas(v, c.quotas);
}

void VisitQuotas(FieldVisitor& v, std::vector<QuotaEntry>& quotas) {
  VisitList(v,
            quotas,
            kQuotasMax,
            "Limits on use; all that cover a request must hold.",
            [&v](QuotaEntry& quota) {
              VisitId(v, quota);
              VisitOwner(v, quota);
              VisitTerms(v, quota);
            });
}

void VisitTenantQuotas(FieldVisitor& v, std::vector<QuotaEntry>& quotas) {
  VisitList(v,
            quotas,
            kTenantQuotasMax,
            "Limits on the tenant's use, as the daemon's quotas.",
            [&v](QuotaEntry& quota) {
              VisitId(v, quota);
              VisitTerms(v, quota);
            });
}

QuotaLimit ToQuotaLimit(const QuotaEntry& entry) {
  return {.id = entry.id,
          .scope = {.org = entry.org,
                    .tenant = entry.tenant,
                    .project = entry.project,
                    .key = entry.key,
                    .model = entry.model},
          // The schema takes no other names.
          .metric = QuotaMetricFromName(entry.metric).value(),
          .limit = static_cast<uint64_t>(entry.limit),
          .burst = static_cast<uint64_t>(entry.burst),
          .mode = QuotaModeFromName(entry.mode).value(),
          .cached_free = entry.cached_free};
}

std::vector<ConfigFault> CheckQuotas(const std::vector<QuotaEntry>& quotas) {
  std::vector<ConfigFault> faults;
  std::set<std::string_view> ids;
  for (size_t i = 0; i < quotas.size(); ++i) {
    const QuotaEntry& entry = quotas[i];
    if (!QuotaMetricFromName(entry.metric) || !QuotaModeFromName(entry.mode)) {
      continue;  // said already
    }
    const std::string key = absl::StrFormat("quotas[%d]", i);
    if (const Status valid = Validate(ToQuotaLimit(entry)); !valid.ok()) {
      faults.push_back({key, std::string(Message(valid))});
    }
    if (!ids.insert(entry.id).second) {
      faults.push_back({key, absl::StrFormat("quota %s: there are two of this id", entry.id)});
    }
  }
  return faults;
}

}  // namespace inferd
