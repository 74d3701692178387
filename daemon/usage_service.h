// The UsageService of inferd.v1 on the data plane, for callers about their own tenant, and the
// QuotaAdminService and PolicyAdminService on the admin plane.
#pragma once

#include <memory>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "base/thread_annotations.h"
#include "daemon/audit_state.h"
#include "daemon/call_gate.h"
#include "daemon/request_governor.h"
#include "daemon/worker_pool.h"
#include "governance/quota/usage_report.h"
#include "governance/quota_simulation.h"

namespace grpc {
class Service;
}  // namespace grpc

namespace inferd {

// Usage by day, folded from the log as far as it is published. Thread-safe; the first look after a
// start reads the whole log, the next ones what came since.
class UsageHistory {
 public:
  // The audit log outlives it; nullptr: there is none, and nothing is known.
  explicit UsageHistory(AuditState* audit) : audit_(audit) {}

  // kUnavailable if another call is reading and `waits` is false, kFailedPrecondition without an
  // audit log.
  StatusOr<UsageReport::Rows> Select(UtcDay first,
                                     UtcDay last,
                                     const QuotaAccount& account,
                                     bool waits);

  // What limits would have refused on these days, both included. Reads the whole log each time.
  // Errors as SimulateQuotas, kFailedPrecondition without an audit log.
  StatusOr<QuotaSimulation> Simulate(UtcDay first,
                                     UtcDay last,
                                     std::vector<QuotaLimit> limits) const;

 private:
  // With mutex_ held.
  StatusOr<UsageReport::Rows> SelectLocked(UtcDay first,
                                           UtcDay last,
                                           const QuotaAccount& account) NO_THREAD_SAFETY_ANALYSIS;

  AuditState* const audit_;
  Mutex mutex_;
  UsageReport report_ GUARDED_BY(mutex_);
};

// Everything here outlives the services.
struct UsageServiceParts {
  RequestGovernor& governor;
  UsageHistory& history;
  const Clock& clock;
  const CallGate gate;
};

// Calls run on the workers.
std::unique_ptr<grpc::Service> MakeUsageService(const UsageServiceParts& parts,
                                                WorkerPool& workers);
// These block on the disk and the log: for a server with threads of its own.
std::unique_ptr<grpc::Service> MakeQuotaAdminService(const UsageServiceParts& parts);
std::unique_ptr<grpc::Service> MakePolicyAdminService(const UsageServiceParts& parts);

}  // namespace inferd
