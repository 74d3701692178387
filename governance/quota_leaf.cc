#include "governance/quota_leaf.h"

#include <algorithm>
#include <utility>

namespace inferd {

QuotaFacts ReservedFacts(const QuotaReservation& reservation) {
  const QuotaAccount& account = reservation.account();
  return {.dec = "reserved",
          .acct = QuotaAccountFacts{.org = account.org,
                                    .project = account.project,
                                    .key = account.key,
                                    .model = account.model},
          .win = UtcDayText(reservation.day()),
          .res = reservation.upper_bound()};
}

QuotaFacts DeniedFacts(const QuotaAmounts& asked, const QuotaRefusal& refusal) {
  QuotaFacts facts{.dec = "denied", .res = asked};
  for (const QuotaViolation& violation : refusal.violations) {
    if (facts.hit.size() == kLeafListMax) {
      break;
    }
    const QuotaState& state = violation.state;
    const Duration reset = violation.retry_after.value_or(state.reset.value_or(Duration(0)));
    facts.hit.push_back(
        {.metric = std::string(Name(state.metric)),
         .id = state.id,
         .limit = state.limit,
         .remaining = state.remaining,
         .reset_ms = static_cast<uint64_t>(
             std::chrono::ceil<std::chrono::milliseconds>(std::max(reset, Duration(0))).count())});
  }
  return facts;
}

std::vector<LeafDraft> SnapshotDrafts(const UsageFold& fold) {
  std::vector<LeafDraft> drafts;
  for (UsageSnapshotPart& part : fold.Snapshot()) {
    LeafDraft& draft = drafts.emplace_back();
    draft.type = LeafType::kQuotaSnapshot;
    draft.tenant = TenantId(std::string(kLogTenant));
    draft.detail["at"] = part.at.index;
    draft.detail["at_origin"] = part.at.origin;
    draft.detail["open"] = part.open_from.index;
    draft.detail["open_origin"] = part.open_from.origin;
    draft.detail["part"] = part.part;
    draft.detail["parts"] = part.num_parts;
    draft.detail["rows"] = std::move(part.rows);
  }
  return drafts;
}

}  // namespace inferd
