// `inferctl model add`, `approve`, `alias`, `canary`, `rollback`, `revoke`, `versions`, `history`
// on the admin plane, and `bom`.
#pragma once

#include <string>

#include "client/audit_command_line.h"
#include "client/terminal.h"

namespace CLI {
class App;
}  // namespace CLI

namespace inferd {

// One of them.
struct RegistryCommand {
  std::string verb;
  std::string admin = kDefaultAdminEndpoint;
  bool json = false;
  std::string model;      // MODEL:VERSION, MODEL#ALIAS or MODEL, as the verb has it
  std::string path;       // on the daemon's host; of bom on this one
  std::string signature;  // on the daemon's host
  std::string version;    // that an alias is to name
  bool approve = false;   // the alias's rollout
  int percent = 0;
};

// Into the noun `model`.
void AddRegistryCommands(CLI::App& model, RegistryCommand& command);

// A bill of materials of the model at `path`, CycloneDX 1.6: what its bytes say, and what its
// author wrote into them, each marked as what it is. kInvalidArgument for what cannot be read.
StatusOr<std::string> ModelBom(const std::string& path,
                               const std::string& name,
                               const std::string& version);

}  // namespace inferd
