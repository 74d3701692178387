#include "client/policy_command_line.h"

#include <CLI/CLI.hpp>

#include "client/audit_command_line.h"

namespace inferd {
namespace {

CLI::App* Verb(CLI::App& noun,
               const std::string& name,
               const std::string& what,
               const std::string& example,
               PolicyCommand& command) {
  CLI::App* verb =
      noun.add_subcommand(name, what + "\n\nExamples:\n  inferctl policy " + example + "\n");
  verb->add_option("--schema", command.schema, "what the policies speak of")->capture_default_str();
  return verb;
}

void AddEntities(CLI::App& verb, PolicyCommand& command) {
  verb.add_option("--entities", command.entities, "who and what the requests name, as JSON")
      ->required();
}

void AddPolicyAdminCommands(CLI::App& noun, PolicyCommand& command, const std::string& admin) {
  command.admin = admin;
  const auto verb = [&](const std::string& name, const std::string& what, const char* example) {
    CLI::App* const added =
        noun.add_subcommand(name, what + "\n\nExamples:\n  inferctl policy " + example + "\n");
    added->add_option("--admin", command.admin, "inferd's admin plane: unix:PATH")
        ->envname("INFERCTL_ADMIN")
        ->capture_default_str();
    return added;
  };
  verb("show", "Shows the active set and the history, or one set's policies.", "show")
      ->add_option("set", command.set, "a set's digest; none: the history");
  CLI::App* const propose =
      verb("propose",
           "Proposes a set to the daemon and prints its digest; another person approves it.",
           "propose new.cedar");
  CLI::Option* const schema = propose->add_option(
      "--schema", command.schema, "what the policies speak of; none: the active set's");
  propose->add_option("policies", command.policies, "the policies' file")->required();
  propose->callback([&command, schema] { command.schema_given = schema->count() > 0; });
  verb("approve", "Approves a set that another person proposed.", "approve DIGEST")
      ->add_option("set", command.set, "its digest")
      ->required();
  verb("activate", "Makes an approved set the active one.", "activate DIGEST")
      ->add_option("set", command.set, "its digest")
      ->required();
}

}  // namespace

void AddPolicyCommands(CLI::App& app, PolicyCommand& command) {
  CLI::App* noun = app.add_subcommand(
      "policy",
      "Checks, tests and compares policy sets, and changes the daemon's.\n\nExamples:\n"
      "  inferctl policy lint policies.cedar\n");
  noun->require_subcommand(0, 1);
  CLI::App* lint = Verb(*noun,
                        "lint",
                        "Validates a policy set and prints its digest; mistakes and warnings "
                        "come with line and column.",
                        "lint policies.cedar",
                        command);
  lint->add_option("policies", command.policies, "the policies' file")->required();
  CLI::App* test = Verb(*noun,
                        "test",
                        "Decides the requests of a file and compares with what each expects.",
                        "test --entities entities.json policies.cedar tests.jsonl",
                        command);
  AddEntities(*test, command);
  test->add_option("policies", command.policies, "the policies' file")->required();
  test->add_option("tests", command.requests, "requests with \"expect\", one a line")->required();
  CLI::App* diff = Verb(*noun,
                        "diff",
                        "Shows the rules that were removed, changed and added.",
                        "diff policies.cedar new.cedar",
                        command);
  diff->add_option("before", command.policies, "the policies' file before")->required();
  diff->add_option("after", command.after, "and after")->required();
  CLI::App* simulate = Verb(*noun,
                            "simulate",
                            "Decides recorded requests by two sets and shows which decisions "
                            "differ.",
                            "simulate --entities entities.json policies.cedar new.cedar past.jsonl",
                            command);
  AddEntities(*simulate, command);
  simulate->add_option("before", command.policies, "the policies' file before")->required();
  simulate->add_option("after", command.after, "and after")->required();
  simulate->add_option("requests", command.requests, "requests, one a line")->required();
  AddPolicyAdminCommands(*noun, command, kDefaultAdminEndpoint);
}

Status NamePolicyCommand(const CLI::App& noun, PolicyCommand& command) {
  const auto chosen = noun.get_subcommands();
  if (chosen.empty()) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "a command is missing after policy: lint, test, diff, simulate, show, propose, "
                  "approve or activate");
  }
  command.verb = chosen.front()->get_name();
  return OkStatus();
}

}  // namespace inferd
