#include "client/policy_command_line.h"

#include <CLI/CLI.hpp>

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

}  // namespace

void AddPolicyCommands(CLI::App& app, PolicyCommand& command) {
  CLI::App* noun =
      app.add_subcommand("policy",
                         "Checks, tests and compares policy sets, without a daemon.\n\nExamples:\n"
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
}

Status NamePolicyCommand(const CLI::App& noun, PolicyCommand& command) {
  const auto chosen = noun.get_subcommands();
  if (chosen.empty()) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "a command is missing after policy: lint, test, diff or simulate");
  }
  command.verb = chosen.front()->get_name();
  return OkStatus();
}

}  // namespace inferd
