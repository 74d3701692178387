// The command lines of audit, erase, hold and payload.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"

namespace CLI {
class App;
}  // namespace CLI

namespace inferd {

// Where inferd's admin plane is by default.
inline constexpr char kDefaultAdminEndpoint[] = "unix:/var/lib/inferd/admin.sock";

// What was asked, of all of them: each verb uses some of the fields.
struct AuditCommand {
  std::string noun;  // "audit", "erase", "hold", "payload"
  std::string verb;
  std::string admin = kDefaultAdminEndpoint;
  // Which leaves, or whose.
  std::string tenant, type, rid, actor, model, reason, end_user, from, to;
  std::vector<std::string> rids;
  std::string basis;
  std::string id;  // of a hold, an erasure or a view
  std::string origin;
  uint64_t index = 0;
  int32_t limit = 50;
  bool follow = false;
  bool oldest_first = false;
  std::string out;                     // a file; "": standard output
  std::string log_folder;              // verify without a daemon
  std::string verifier_key;            // and with this key
  std::string policy_file;             // or this policy
  std::string bundle;                  // an evidence bundle to verify
  std::string exporter;                // key of whoever exported it
  std::vector<std::string> documents;  // files that go into an evidence bundle
  std::string sign_key;                // file with the key that signs an evidence bundle
};

void AddAuditCommands(CLI::App& app, AuditCommand& command);
// Sets noun and verb from what was parsed. kInvalidArgument if a verb is missing.
Status NameAuditCommand(const CLI::App& noun, AuditCommand& command);

}  // namespace inferd
