// ReplayRunner: computes a recorded request again, through the same queue, engine and egress as
// every request, behind all of them.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "daemon/config.h"
#include "daemon/egress_thread.h"
#include "daemon/generation_request.h"
#include "daemon/stream_registry.h"

namespace inferd {

// On whose account answers are computed again; no caller's tenant, nobody's quota.
inline constexpr char kReplayTenant[] = "_replay";
// At a time; more are refused.
inline constexpr int32_t kReplaysMax = 4;

// The service class that comes after all others.
int32_t LastClass(const Config& config);

// Thread-safe; what it refers to outlives it.
class ReplayRunner {
 public:
  struct Parts {
    StreamRegistry& registry;
    GenerationBackend& backend;
    EgressThread& egress;
    const Clock& clock;
    int32_t service_class = 0;
    Duration duration_max{};
  };
  explicit ReplayRunner(const Parts& parts) : parts_(parts) {}

  // Blocks until every choice has ended; `cancelled` is asked now and then. kUnavailable if too
  // many are computed already, the queue is full or the daemon drains; kCancelled;
  // kDeadlineExceeded.
  StatusOr<std::vector<AnsweredChoice>> Run(PreparedGeneration prepared,
                                            const Caller& caller,
                                            const std::function<bool()>& cancelled);

 private:
  const Parts parts_;
  std::atomic<int32_t> running_{0};
};

}  // namespace inferd
