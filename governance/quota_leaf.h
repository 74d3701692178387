// The quota side of leaves: what the ledger did, in the words of the log, and back.
#pragma once

#include <vector>

#include "governance/audit/leaf.h"
#include "governance/quota/quota_ledger.h"
#include "governance/quota/usage_fold.h"

namespace inferd {

// For an admitted leaf. Its tenant is that of the reservation's account.
QuotaFacts ReservedFacts(const QuotaReservation& reservation);
// For a denied leaf: what was asked for, and all limits that refused.
QuotaFacts DeniedFacts(const QuotaAmounts& asked, const QuotaRefusal& refusal);

// quota.snapshot leaves, to be appended in their order. The fold's budgets can be had again from
// the last of them on, so a restart need not read the whole log: write them once in a while.
std::vector<LeafDraft> SnapshotDrafts(const UsageFold& fold);

}  // namespace inferd
