// The command line of usage and quota: what is asked of the admin plane.
#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"
#include "client/audit_command_line.h"

namespace CLI {
class App;
}  // namespace CLI

namespace inferd {

// Each verb uses some of the fields.
struct QuotaCommand {
  std::string verb;  // usage, show, explain, simulate, set, remove
  std::string admin = kDefaultAdminEndpoint;
  // Whose; empty names are all.
  std::string org, tenant, project, key, model;
  std::string from, to;  // of usage and simulate: 2026-11-21; empty: today
  std::string file;      // of simulate: the proposed limits
  bool csv = false;
  bool json = false;
  uint64_t input_tokens = 0, output_tokens = 0;  // of explain
  std::string id, metric, mode = "enforce";      // of set and remove
  uint64_t limit = 0, burst = 0;
  int64_t raised_for_s = 0;  // 0: for good
  uint64_t raised_limit = 0, raised_burst = 0;
};

void AddQuotaCommands(CLI::App& app, QuotaCommand& command);
// Sets the verb from what was parsed below `noun`. kInvalidArgument if it is missing.
Status NameQuotaCommand(const CLI::App& noun, QuotaCommand& command);

}  // namespace inferd
