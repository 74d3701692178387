// The config's part on scheduling: limits of the device, classes, tenants, KV, public prefixes.
#include <set>

#include "daemon/config_schema.h"
#include "scheduler/sequence.h"

namespace inferd {
namespace {

using std::chrono::hours;
using std::chrono::minutes;

constexpr int64_t kTokensMax = int64_t{1} << 40;

IntegerField AtMost(int64_t max) { return {.min = 0, .max = max, .required = false}; }

// Names that begin with "_" are the daemon's own.
Status CheckTenantName(std::string_view name) {
  RETURN_IF_ERROR(CheckNotEmpty(name));
  return name.front() == '_'
             ? Status(StatusCode::kInvalidArgument, "names that begin with _ are reserved")
             : OkStatus();
}

void VisitLimits(FieldVisitor& v, Config& c) {
  v.Integer("step_tokens_max",
            c.scheduler.step_tokens_max,
            {.min = 1, .max = 65536, .required = false},
            "Token budget of a step; more: longer steps, faster prefill.");
  v.Integer("running_max",
            c.scheduler.running_max,
            {.min = 1, .max = 65536, .required = false},
            "Sequences that hold KV at once.");
  v.Integer("waiting_max",
            c.scheduler.waiting_max,
            {.min = 1, .max = 1 << 20, .required = false},
            "Requests that wait; beyond it they are refused with QUEUE_FULL.");
  v.Integer("waiting_prompt_tokens_max",
            c.scheduler.waiting_prompt_tokens_max,
            AtMost(kTokensMax),
            "Prompt tokens of requests that wait; beyond it: QUEUE_FULL; 0: no bound.");
  v.Integer("fairness_window_units",
            c.scheduler.fairness_window_units,
            {.min = 1, .max = 1 << 30, .required = false},
            "How far tenants that wait may drift apart, in service units by weight (a prompt token "
            "is one, an output token two); more: fewer preemptions. Not below the usual context.");
  v.Integer("model_steps_max",
            c.scheduler.model_steps_max,
            {.min = 1, .max = 65536, .required = false},
            "Steps that a model keeps the device while another one waits.");
  v.Integer("draft_tokens_max",
            c.scheduler.draft_tokens_max,
            AtMost(int64_t{kDraftTokensMax}),
            "Tokens that a step may guess ahead for a request from its own text; answers stay the "
            "same, to the bit; 0: none.");
  v.Bool("refuses_late",
         c.scheduler.refuses_late,
         "Refuse at once what, as predicted, would have its first token later than its class or "
         "its deadline allows.");
}

void VisitClasses(FieldVisitor& v, Config& c) {
  std::vector<ClassEntry>& classes = c.scheduler.classes;
  classes.resize(v.BeginList("classes",
                             classes.size(),
                             AtMost(kServiceClassesMax),
                             "Classes of service; none: one without deadlines. The first is the "
                             "tenants' default."));
  for (size_t i = 0; i < classes.size(); ++i) {
    v.EnterItem(i);
    v.String("name",
             classes[i].name,
             {.choices = {}, .check = CheckNotEmpty, .required = true},
             "The name that tenants refer to.");
    v.Integer("order",
              classes[i].order,
              AtMost(1 << 20),
              "Smaller goes first, within a tenant and inside the fairness window.");
    v.Time("first_token",
           classes[i].first_token,
           hours(24),
           "The first token is due so long after arrival; 0: not due.");
    v.Time("token_interval",
           classes[i].token_interval,
           minutes(10),
           "Then one token each; prefill of others is cut to keep it; 0: not due.");
    v.Time("queue_max",
           classes[i].queue_max,
           hours(24),
           "A request that has not started after this ends with UNAVAILABLE; 0: it waits.");
    v.Leave();
  }
  v.EndList();
}

void VisitTenants(FieldVisitor& v, Config& c) {
  std::vector<TenantEntry>& tenants = c.scheduler.tenants;
  tenants.resize(v.BeginList("tenants",
                             tenants.size(),
                             AtMost(kScheduledTenantsMax),
                             "Tenants whose share or limits differ from weight 1 and no limits."));
  for (size_t i = 0; i < tenants.size(); ++i) {
    v.EnterItem(i);
    VisitTenant(v, tenants[i]);
    v.Leave();
  }
  v.EndList();
}

void VisitPublicPrefixes(FieldVisitor& v, Config& c) {
  std::vector<PublicPrefixEntry>& prefixes = c.public_prefixes;
  prefixes.resize(
      v.BeginList("public_prefixes",
                  prefixes.size(),
                  AtMost(kPublicPrefixesMax),
                  "Beginnings of prompts that all tenants share: computed at the start, "
                  "kept for good, found by everyone."));
  for (size_t i = 0; i < prefixes.size(); ++i) {
    v.EnterItem(i);
    v.String("model",
             prefixes[i].model,
             {.choices = {}, .check = CheckNotEmpty, .required = true},
             "The model, one of models.");
    v.String("kind",
             prefixes[i].kind,
             {.choices = {"system", "text"}, .check = {}, .required = false},
             "system: the system message of a chat. text: the beginning of a text prompt.");
    v.String("path",
             prefixes[i].path,
             {.choices = {}, .check = CheckNotEmpty, .required = true},
             "A UTF-8 file with the text; whole blocks of 64 tokens of it are kept.");
    v.Leave();
  }
  v.EndList();
}

// An error for each name that stands twice.
template <typename Entry>
void CheckNames(const std::vector<Entry>& entries,
                std::string_view list,
                std::vector<ConfigFault>& faults) {
  std::set<std::string> names;
  for (size_t i = 0; i < entries.size(); ++i) {
    if (!names.insert(entries[i].name).second) {
      faults.push_back({absl::StrFormat("%s[%d].name", list, i),
                        absl::StrFormat("\"%s\" stands twice", entries[i].name)});
    }
  }
}

}  // namespace

void VisitTenant(FieldVisitor& v, TenantEntry& tenant) {
  v.String("name",
           tenant.name,
           {.choices = {}, .check = CheckTenantName, .required = true},
           "The tenant.");
  v.Integer("weight",
            tenant.weight,
            {.min = 1, .max = 1'000'000, .required = false},
            "Its share of the device while others wait, in proportion to theirs.");
  v.String("class",
           tenant.service_class,
           {.choices = {}, .check = {}, .required = false},
           "The class of its requests; empty: the first.");
  v.Integer("running_max",
            tenant.running_max,
            AtMost(65536),
            "Sequences that hold KV at once; 0: no bound.");
  v.Integer("running_tokens_max",
            tenant.running_tokens_max,
            AtMost(kTokensMax),
            "Tokens that these may come to, prompts and outputs; others wait; 0: no bound.");
  v.Integer("waiting_max",
            tenant.waiting_max,
            AtMost(1 << 20),
            "Its requests that wait; beyond it: QUEUE_FULL; 0: no bound.");
  v.Integer("waiting_prompt_tokens_max",
            tenant.waiting_prompt_tokens_max,
            AtMost(kTokensMax),
            "Their prompt tokens; beyond it: QUEUE_FULL; 0: no bound.");
  v.Integer("cached_blocks_guaranteed",
            tenant.cached_blocks_guaranteed,
            AtMost(1 << 30),
            "KV blocks of 64 tokens, of each model, that stay cached for it whatever others need.");
  v.Bool("reserves_all_output",
         tenant.reserves_all_output,
         "Admit only with room for all output that may come: its requests are not preempted for "
         "want of room, and fewer run at once.");
}

void VisitScheduling(FieldVisitor& v, Config& c) {
  v.Enter("scheduler", "What runs in a step, and what waits.");
  VisitLimits(v, c);
  VisitClasses(v, c);
  VisitTenants(v, c);
  v.Leave();
  v.Enter("kv_cache", "Memory for the state of sequences.");
  v.Bytes("bytes_max",
          c.kv_cache_bytes_max,
          {.min = 1 << 10, .max = int64_t{1} << 46, .required = false},
          "KV memory of each model.");
  v.Bytes(
      "swap_bytes_max",
      c.kv_swap_bytes_max,
      {.min = 0, .max = int64_t{1} << 46, .required = false},
      "Host memory for the KV of each model's preempted requests, beyond device.memory_bytes_max "
      "and taken as it is needed; 0: none, they are computed again.");
  v.Bool("prefix_cache",
         c.prefix_cache,
         "Keep the KV of prompts while nobody needs its memory, for the same tenant's next ones.");
  v.Integer("public_tokens_max",
            c.public_tokens_max,
            AtMost(1 << 24),
            "Tokens of public prefixes of one model; set aside in its pool if it has any.");
  v.Leave();
  VisitPublicPrefixes(v, c);
}

std::vector<ConfigFault> CheckScheduling(const Config& config) {
  std::vector<ConfigFault> faults;
  const Config::SchedulerLimits& limits = config.scheduler;
  CheckNames(limits.classes, "scheduler.classes", faults);
  CheckNames(limits.tenants, "scheduler.tenants", faults);
  std::set<std::string> classes{""};
  for (const ClassEntry& entry : limits.classes) {
    classes.insert(entry.name);
  }
  for (size_t i = 0; i < limits.tenants.size(); ++i) {
    if (!classes.contains(limits.tenants[i].service_class)) {
      faults.push_back({absl::StrFormat("scheduler.tenants[%d].class", i),
                        absl::StrFormat("\"%s\" is not the name of one of scheduler.classes",
                                        limits.tenants[i].service_class)});
    }
  }
  std::set<std::string> models;
  for (const ModelEntry& entry : config.models) {
    models.insert(entry.name);
    // Below it, the longest request alone moves its tenant out of the window, again and again.
    if (entry.context_tokens_max > limits.fairness_window_units) {
      faults.push_back(
          {"scheduler.fairness_window_units",
           absl::StrFormat("%d is below the context of model %s, %d tokens: one long request would "
                           "put its tenant out of the window",
                           limits.fairness_window_units,
                           entry.name,
                           entry.context_tokens_max)});
    }
  }
  for (size_t i = 0; i < config.public_prefixes.size(); ++i) {
    if (!models.contains(config.public_prefixes[i].model)) {
      faults.push_back({absl::StrFormat("public_prefixes[%d].model", i),
                        absl::StrFormat("\"%s\" is not the name of one of models",
                                        config.public_prefixes[i].model)});
    }
    if (!config.prefix_cache || config.public_tokens_max == 0) {
      faults.push_back({absl::StrFormat("public_prefixes[%d]", i),
                        "needs kv_cache.prefix_cache and kv_cache.public_tokens_max"});
    }
  }
  return faults;
}

}  // namespace inferd
