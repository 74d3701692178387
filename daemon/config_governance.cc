// The config's part on who may do what, and how much: policies and quotas.
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

void VisitQuota(FieldVisitor& v, QuotaEntry& quota) {
  const auto name = [&v](
                        std::string_view key, std::string& value, bool required, const char* what) {
    v.String(key, value, {.choices = {}, .check = CheckQuotaName, .required = required}, what);
  };
  constexpr auto kUnitsMax = static_cast<int64_t>(kQuotaUnitsMax);
  name("id", quota.id, true, "Its name, which refusals and audit leaves say.");
  name("org",
       quota.org,
       true,
       "The organisation whose use it counts; a tenant without one is its own: its name.");
  name("tenant", quota.tenant, false, "Of it, this tenant alone; empty: all of them.");
  name("project", quota.project, false, "Of it, this project alone.");
  name("key", quota.key, false, "Of it, this API key alone.");
  name("model", quota.model, false, "Of it, this model alone.");
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
  c.quotas.resize(v.BeginList("quotas",
                              c.quotas.size(),
                              {.min = 0, .max = kQuotasMax, .required = false},
                              "Limits on use; all that cover a request must hold."));
  for (size_t i = 0; i < c.quotas.size(); ++i) {
    v.EnterItem(i);
    VisitQuota(v, c.quotas[i]);
    v.Leave();
  }
  v.EndList();
}

}  // namespace inferd
