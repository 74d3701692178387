#include "client/quota_command_line.h"

#include <CLI/CLI.hpp>

namespace inferd {
namespace {

CLI::App* Verb(CLI::App& parent,
               const std::string& name,
               const std::string& what,
               const std::string& example,
               QuotaCommand& command) {
  CLI::App* verb =
      parent.add_subcommand(name, what + "\n\nExamples:\n  inferctl " + example + "\n");
  verb->add_option("--admin", command.admin, "inferd's admin plane: unix:PATH")
      ->envname("INFERCTL_ADMIN")
      ->capture_default_str();
  verb->add_flag("--json", command.json, "the same as -o json");
  return verb;
}

void AddAccount(CLI::App& verb, QuotaCommand& command, bool org_required) {
  auto* org = verb.add_option(
      "--org", command.org, "the organisation; a tenant without one is its own: its name");
  org->required(org_required);
  verb.add_option("--tenant", command.tenant, "the tenant; none: all");
  verb.add_option("--project", command.project, "the project; none: all");
  verb.add_option("--key", command.key, "the API key's id; none: all");
  verb.add_option("--model", command.model, "the model; none: all");
}

void AddDays(CLI::App& verb, QuotaCommand& command) {
  verb.add_option("--from", command.from, "first UTC day, 2026-11-01; none: today");
  verb.add_option("--to", command.to, "last UTC day; none: today");
}

void AddSet(CLI::App& quota, QuotaCommand& command) {
  CLI::App* set = Verb(quota,
                       "set",
                       "Adds or replaces a limit. It is recorded, holds over the configuration's "
                       "and outlives the daemon.",
                       "quota set acme/day --org acme --metric tok_day --limit 2000000\n"
                       "  inferctl quota set acme/day --org acme --metric tok_day --limit 2000000 "
                       "--raised-for 3600 --raised-limit 5000000",
                       command);
  set->add_option("id", command.id, "its name")->required();
  AddAccount(*set, command, true);
  set->add_option("--metric",
                  command.metric,
                  "rpm, itpm, otpm (a minute), conc, kv (at a time), tok_day, tok_month")
      ->required();
  set->add_option("--limit", command.limit, "units; 0 closes")->required();
  set->add_option("--burst", command.burst, "units at once, of a rate; 0: a minute's worth");
  set->add_option("--mode", command.mode, "enforce, warn, shadow")->capture_default_str();
  set->add_option("--raised-for", command.raised_for_s, "seconds for which another limit holds")
      ->check(CLI::Range(int64_t{1}, int64_t{366} * 86'400));
  set->add_option("--raised-limit", command.raised_limit, "that limit");
  set->add_option("--raised-burst", command.raised_burst, "and its burst");
}

void AddSimulate(CLI::App& quota, QuotaCommand& command) {
  CLI::App* simulate =
      Verb(quota,
           "simulate",
           "Says what proposed limits would have refused of the traffic in the audit log. The file "
           "has a list `quotas`, as inferd.yaml; it stands for all limits.",
           "quota simulate proposed.yaml --from 2026-11-01 --to 2026-11-20",
           command);
  simulate->add_option("file", command.file, "the proposed limits, YAML")->required();
  AddDays(*simulate, command);
}

}  // namespace

void AddQuotaCommands(CLI::App& app, QuotaCommand& command) {
  CLI::App* usage = Verb(app,
                         "usage",
                         "Shows what was used, by day and account, out of the audit log.",
                         "usage --from 2026-11-01 --csv > november.csv",
                         command);
  AddAccount(*usage, command, false);
  AddDays(*usage, command);
  usage->add_flag("--csv", command.csv, "comma-separated values, with a line of names");
  CLI::App* quota = app.add_subcommand(
      "quota",
      "Shows, explains, tries and sets limits on use.\n\nExamples:\n"
      "  inferctl quota show --org acme\n  inferctl quota explain --org acme --tenant search "
      "--input-tokens 2000 --output-tokens 500\n");
  quota->require_subcommand(0, 1);
  AddAccount(*Verb(*quota,
                   "show",
                   "Shows limits as they stand: those that cover an account, or all of an "
                   "organisation.",
                   "quota show --org acme --tenant search",
                   command),
             command,
             true);
  CLI::App* explain = Verb(*quota,
                           "explain",
                           "Says which limits would refuse a request now, and when it would pass.",
                           "quota explain --org acme --tenant search --output-tokens 500",
                           command);
  AddAccount(*explain, command, true);
  explain->add_option("--input-tokens", command.input_tokens, "tokens of its prompt");
  explain->add_option("--output-tokens", command.output_tokens, "tokens that it may generate");
  AddSimulate(*quota, command);
  AddSet(*quota, command);
  Verb(*quota,
       "remove",
       "Takes back what `quota set` set; the configuration's limit of that name holds again.",
       "quota remove acme/day",
       command)
      ->add_option("id", command.id, "its name")
      ->required();
}

Status NameQuotaCommand(const CLI::App& noun, QuotaCommand& command) {
  if (noun.get_name() == "usage") {
    command.verb = "usage";
    return OkStatus();
  }
  const auto chosen = noun.get_subcommands();
  if (chosen.empty()) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "a command is missing after quota: show, explain, simulate, set or remove");
  }
  command.verb = chosen.front()->get_name();
  return OkStatus();
}

}  // namespace inferd
