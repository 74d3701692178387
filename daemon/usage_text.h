// Usage, limits and policies between the wire and governance's plain values.
#pragma once

#include <string>
#include <utility>

#include "base/clock.h"
#include "base/status.h"
#include "governance/policy/policy_store.h"
#include "governance/quota/quota_decision.h"
#include "governance/quota/usage_report.h"
#include "governance/quota_simulation.h"

namespace google::protobuf {
class Duration;
}  // namespace google::protobuf

namespace inferd::v1 {
class Account;
class GetPoliciesResponse;
class QuotaRefusal;
class QuotaState;
class SetQuotaRequest;
class SimulateQuotasResponse;
class UsageRow;
}  // namespace inferd::v1

namespace inferd {

struct DayRange {
  UtcDay first = 0;
  UtcDay last = 0;
};
// "2026-11-21", or "" for today. kInvalidArgument.
StatusOr<DayRange> ReadDays(const std::string& from, const std::string& to, WallTime now);

QuotaAccount ReadAccount(const v1::Account& account);
// kInvalidArgument if it names no org.
StatusOr<QuotaAccount> ReadNamedAccount(const v1::Account& account);
// kInvalidArgument for what is no limit.
StatusOr<QuotaLimit> ReadLimit(const v1::SetQuotaRequest& request, WallTime now);

void Fill(Duration duration, google::protobuf::Duration* out);
void Fill(const std::pair<const UsageRowKey, UsageSums>& row, v1::UsageRow* out);
void Fill(const QuotaState& state, v1::QuotaState* out);
void Fill(const QuotaViolation& violation, v1::QuotaRefusal* out);
void Fill(const QuotaSimulation& simulation, v1::SimulateQuotasResponse& out);
void Fill(const PolicyStore& store, v1::GetPoliciesResponse& out);

}  // namespace inferd
