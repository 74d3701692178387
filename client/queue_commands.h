// `inferctl top`, `request explain`, `model load` and `model unload`: the commands of the admin
// plane that are about the device: who uses it, why requests wait, which models are on it.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

#include "client/audit_command_line.h"
#include "client/queue_client.h"

namespace CLI {
class App;
}  // namespace CLI

namespace inferd {

// One of the four.
struct QueueCommand {
  std::string verb;  // "top", "explain", "load", "unload"
  std::string admin = kDefaultAdminEndpoint;
  bool once = false;
  bool json = false;
  double interval_s = 2.0;
  std::string id;  // "": all
  int32_t limit = 20;
  std::string model;
  std::string path;
  int64_t context_tokens_max = 0;
  double drain_s = 300;
};

void AddQueueCommands(CLI::App& app, QueueCommand& command);
// Into the noun `model`.
void AddModelAdminCommands(CLI::App& model, QueueCommand& command);

// What one tenant used of one model between two samples.
struct TopRow {
  std::string tenant;
  std::string model;
  std::string version = {};
  int64_t weight = 1;
  double share = 0;  // of all service between the samples; of the tenant, over its models
  int64_t running = 0;
  int64_t waiting = 0;
  int64_t paused = 0;
  int64_t kv_blocks = 0;
  double prompt_tokens_per_s = 0;
  double output_tokens_per_s = 0;
  std::string standing;  // "waits", "over-served" or ""
};
// Tenants that did or wait for nothing, and hold nothing, are left out.
std::vector<TopRow> TopRows(const DaemonLoad& before, const DaemonLoad& after);

void PrintTop(const std::vector<TopRow>& rows,
              const DaemonLoad& load,
              bool headers,
              std::ostream& out);
std::string TopJson(const std::vector<TopRow>& rows, const DaemonLoad& load);

// A few lines for people: what the choice waits for, who is ahead, what it needs.
std::string ExplainText(const WaitingChoice& choice);
std::string ExplainJson(const std::vector<WaitingChoice>& choices);

}  // namespace inferd
