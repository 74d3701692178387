// RequestGovernor: policy and quota on the way of every request, and what stands behind them: the
// policy sets and limits on disk, the ledger, its restart from the audit log.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/status.h"
#include "daemon/call_scope.h"
#include "daemon/config.h"
#include "daemon/generation_call.h"
#include "daemon/generation_request.h"
#include "daemon/policy_gate.h"
#include "daemon/quota_gate.h"
#include "governance/policy/policy_store.h"
#include "governance/quota/quota_store.h"

namespace inferd {

class AuditState;

// Thread-safe. It outlives all calls, also those that the audit log still holds.
class RequestGovernor {
 public:
  // Reads policy sets and limits, and what was used from the log; before the first request.
  // kInvalidArgument or kFailedPrecondition names the file or key. `audit` is nullptr where there
  // is no audit log: then budgets begin anew with every start, and policies are refused.
  static StatusOr<std::unique_ptr<RequestGovernor>> Open(const Config& config,
                                                         AuditState* audit,
                                                         const Clock& clock);

  // The limits of a configuration that was read again; those that administrators set stay over
  // them. All or nothing.
  Status Reconfigure(const Config& config);

  // Is anything asked? Without policies MayUse allows all.
  bool has_policies() const { return policy_ != nullptr; }
  // May the scope's caller do `action` with the model? POLICY_DENIED.
  StatusOr<PolicyAnswer> MayUse(const CallScope& scope,
                                std::string_view action,
                                const ResidentModel& model,
                                int64_t max_tokens,
                                PolicyFacts* denied = nullptr) const;
  // Policy, then quota. Fills call.governed, and bounds the request by what policy obliges to. On
  // an ingress worker; whoever calls cancels the reservation if the request goes no further.
  Status Admit(GenerationCall& call, PreparedGeneration& prepared);

  QuotaLedger& ledger() { return quotas_.ledger(); }
  QuotaStore& limits() { return *limits_; }
  PolicyStore* policies() { return policies_.get(); }  // nullptr: there are none

 private:
  explicit RequestGovernor(const Clock& clock) : quotas_(clock) {}
  Status OpenPolicies(const Config& config, AuditState* audit, const Clock& clock);
  Status OpenQuotas(const Config& config, AuditState* audit);

  std::unique_ptr<PolicyStore> policies_;
  std::unique_ptr<PolicyGate> policy_;
  QuotaGate quotas_;
  std::unique_ptr<QuotaStore> limits_;
};

}  // namespace inferd
