// QuotaGate: has this caller the quota for this request? The join of calls and the QuotaLedger: who
// is charged, what a refusal says, what the caller is told of its limits.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "daemon/caller.h"
#include "governance/audit/leaf.h"
#include "governance/quota/quota_ledger.h"
#include "governance/quota/quota_store.h"
#include "governance/quota/usage_fold.h"

namespace inferd {

// Metadata for the caller: x-ratelimit-limit-tokens and so on.
using RateLimitFields = std::vector<std::pair<std::string, std::string>>;

struct QuotaAdmission {
  QuotaReservation reservation;
  RateLimitFields fields;
};

// Whose budgets a caller's requests count in. A tenant without an organisation is its own; a name
// that limits cannot have counts as none.
QuotaAccount AccountOf(const Caller& caller, std::string_view model);

// Of the tightest limits on requests and on tokens.
RateLimitFields FieldsOf(const std::vector<QuotaState>& states);

// RESOURCE_EXHAUSTED with its reason, QuotaFailure and RetryInfo; REQUEST_EXCEEDS_LIMIT if no retry
// can pass; QUEUE_FULL if the ledger is full.
Status RefusalStatus(const QuotaRefusal& refusal);

// Thread-safe.
class QuotaGate {
 public:
  explicit QuotaGate(const Clock& clock) : ledger_({.clock = &clock}) {}

  // Before the first request: what the log says was used, then what is allowed.
  Status Start(const UsageByAccount& used, std::vector<QuotaLimit> limits);

  // `denied`, if not null, gets what the denied leaf says.
  StatusOr<QuotaAdmission> Reserve(const Caller& caller,
                                   std::string_view model,
                                   const QuotaAmounts& upper_bound,
                                   RateLimitFields* fields,
                                   QuotaFacts* denied);

  QuotaLedger& ledger() { return ledger_; }

 private:
  QuotaLedger ledger_;
};

}  // namespace inferd
