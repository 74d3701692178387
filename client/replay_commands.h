// `inferctl replay`: recorded answers computed again, one or all of a time, and the report.
#pragma once

#include <string>

#include "base/status.h"
#include "client/audit_command_line.h"

namespace CLI {
class App;
}  // namespace CLI

namespace inferd {

struct ReplayCommand {
  std::string admin = kDefaultAdminEndpoint;
  std::string view;
  std::string rid;  // of one
  bool all = false;
  std::string tenant, from, to;  // of all
  double per_second_max = 10;    // of all; 0: as fast as they go
  bool json = false;
};

void AddReplayCommand(CLI::App& app, ReplayCommand& command);
// kInvalidArgument if neither one request nor all of a tenant and a time are named, or both.
Status CheckReplayCommand(const ReplayCommand& command);

}  // namespace inferd
