// AuditTasks: what is done beside the log, at its own pace: upkeep (governance/upkeep.h) and asking
// witnesses. Two threads, which never hold the log up.
#pragma once

#include <condition_variable>
#include <memory>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "base/thread_annotations.h"
#include "daemon/config.h"
#include "daemon/witness/witness_client.h"
#include "governance/audit/audit_writer.h"
#include "governance/upkeep.h"
#include "governance/verify/note.h"

namespace inferd {

// How often it is looked whether something is due.
inline constexpr Duration kUpkeepPeriod = std::chrono::minutes(1);

// Thread-safe.
class AuditTasks {
 public:
  // Everything outlives it.
  struct Parts {
    AuditWriter& log;
    KeyStore& keys;
    Retention& retention;
    const NoteVerifier& verifier;  // of the log
    const Clock& clock;
  };
  // kInvalidArgument for a retention below the floor, or a policy that is none or of another log.
  static StatusOr<std::unique_ptr<AuditTasks>> Start(const Config& config, const Parts& parts);
  ~AuditTasks();

  // Shows the witnesses a shard that is to come (WitnessClient::Announce).
  void Announce(const std::string& note);
  // Who cosigned what; empty without a policy.
  std::vector<WitnessClient::State> witnesses() const;

 private:
  AuditTasks(Upkeep upkeep, std::unique_ptr<WitnessClient> witnesses);
  void Run();

  Upkeep upkeep_;  // the thread
  const std::unique_ptr<WitnessClient> witnesses_;
  Mutex mutex_;
  std::condition_variable stop_;
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace inferd
