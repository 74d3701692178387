#include "governance/quota/quota_decision.h"

#include <algorithm>

namespace inferd {
namespace {

std::string InWords(const QuotaViolation& violation) {
  const QuotaState& state = violation.state;
  std::string text = absl::StrFormat("%s of %s (%s): costs %d, %d left of %d",
                                     Name(state.metric),
                                     state.scope.Text(),
                                     state.id,
                                     violation.cost,
                                     state.remaining,
                                     state.limit);
  if (violation.never) {
    text += ", more than it ever lets through at once";
  }
  return text;
}

}  // namespace

Status StatusOf(const QuotaRefusal& refusal) {
  if (refusal.ledger_full) {
    return ErrorF(StatusCode::kUnavailable, "quota: too many requests are open; try again");
  }
  std::string text;
  for (size_t i = 0; i < std::min(refusal.violations.size(), kViolationsInErrorMax); ++i) {
    text += (i == 0 ? "" : "; ") + InWords(refusal.violations[i]);
  }
  if (refusal.violations.size() > kViolationsInErrorMax) {
    text += absl::StrFormat("; and %d more", refusal.violations.size() - kViolationsInErrorMax);
  }
  if (refusal.never) {
    text += "; ask for less";
  } else if (refusal.retry_after) {
    text +=
        absl::StrFormat("; try again in %d ms",
                        std::chrono::ceil<std::chrono::milliseconds>(*refusal.retry_after).count());
  }
  return ErrorF(StatusCode::kResourceExhausted, "quota: %s", text);
}

}  // namespace inferd
