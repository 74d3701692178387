// The command line of policy: what works on files, and what is asked of the admin plane.
#pragma once

#include <string>

#include "base/status.h"

namespace CLI {
class App;
}  // namespace CLI

namespace inferd {

// Each verb uses some of the fields.
struct PolicyCommand {
  std::string verb;  // lint, test, diff, simulate; show, propose, approve, activate
  std::string schema = "/etc/inferd/policy/inferd.cedarschema";
  std::string entities;
  std::string policies;  // of diff and simulate: the set before
  std::string after;
  std::string requests;
  std::string admin;
  std::string set;            // a digest, hexadecimal
  bool schema_given = false;  // of propose; else the active set's is taken
};

void AddPolicyCommands(CLI::App& app, PolicyCommand& command);
// Sets the verb from what was parsed. kInvalidArgument if it is missing.
Status NamePolicyCommand(const CLI::App& noun, PolicyCommand& command);

}  // namespace inferd
