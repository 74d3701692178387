// `inferctl tenant` and `inferctl key`: who may call, on the admin plane.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "client/audit_command_line.h"

namespace CLI {
class App;
}  // namespace CLI

namespace inferd {

// One of them.
struct IdentityCommand {
  std::string verb;  // "tenant list", "key issue" and so on
  std::string admin = kDefaultAdminEndpoint;
  bool json = false;
  std::string name;  // of a tenant; "": all
  std::string id;    // of a key
  std::string project;
  std::string environment;
  std::vector<std::string> scopes;
  std::vector<std::string> sources;
  double lifetime_days = 90;
  double overlap_minutes = 60;
};

void AddIdentityCommands(CLI::App& app, IdentityCommand& command);

}  // namespace inferd
