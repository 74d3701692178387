// Upkeep: what is done without being asked: copies of the key store are made and expire, payloads
// whose time is over are purged. The log says what was done.
//
// Leaves, of the daemon itself: admin.action{act: keys.backup, file}, {act: keys.backup_expired,
// count}, and Retention's vault.purge and vault.purged for each tenant that had something to purge.
#pragma once

#include <string>

#include "base/clock.h"
#include "base/status.h"
#include "governance/audit/audit_log.h"
#include "governance/key_store.h"
#include "governance/retention.h"

namespace inferd {

// One thread. Calls block on the disk and on the log.
class Upkeep {
 public:
  struct Options {
    std::string backup_folder;   // exists
    Duration backup_interval{};  // 0: no copies are made; those that are there expire
    Duration purge_interval = std::chrono::hours(24);
    int retention_days = 0;  // at least kRetentionDaysMin; 0: nothing is purged
  };
  // Everything outlives it.
  struct Parts {
    AuditLog& log;
    KeyStore& keys;
    Retention& retention;
    const Clock& clock;
  };
  Upkeep(Options options, const Parts& parts) : options_(std::move(options)), parts_(parts) {}

  // Does what is due. An error of one thing does not keep it from the others; the first is
  // returned, and all are tried again with the next call.
  Status RunIfDue();

 private:
  Status Expire();
  Status BackUp();
  Status Purge();
  Status Record(const std::string& act, const std::string& key, const LeafDetail& value);

  const Options options_;
  const Parts parts_;
  WallTime purged_at_{};
};

}  // namespace inferd
