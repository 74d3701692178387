#include "governance/quota/usage_report.h"

#include <utility>

#include "governance/verify/leaf_view.h"

namespace inferd {
namespace {

void Add(const QuotaAmounts& amounts, UsageSums& sums) {
  sums.input_tokens += amounts.in;
  sums.output_tokens += amounts.out;
  sums.micro += amounts.micro;
}

void Subtract(const QuotaAmounts& amounts, UsageSums& sums) {
  sums.input_tokens -= amounts.in;
  sums.output_tokens -= amounts.out;
  sums.micro -= amounts.micro;
}

}  // namespace

Status UsageReport::Add(EntryReader& shard) {
  ASSIGN_OR_RETURN(const uint64_t size, shard.Size());
  return shard.Visit(0, size, [&](uint64_t index, std::string_view leaf) {
    return Annotate(Add(shard.origin(), index, leaf),
                    absl::StrFormat("%s, leaf %d", shard.origin(), index));
  });
}

Status UsageReport::Add(const std::string& origin, uint64_t index, std::string_view leaf) {
  ASSIGN_OR_RETURN(const LeafView view, ParseLeaf(leaf));
  if (view.type == LeafType::kInferenceAdmitted) {
    ASSIGN_OR_RETURN(auto intent, IntentOf(view));
    const bool asked = intent.has_value() && intent->day >= query_.first &&
                       intent->day <= query_.last && query_.account.Covers(intent->account);
    if (!asked) {
      return OkStatus();
    }
    Open open{.key = {.day = intent->day, .account = std::move(intent->account)},
              .upper_bound = intent->upper_bound};
    UsageSums& sums = rows_[open.key];
    if (rows_.size() > kRowsMax) {
      return ErrorF(
          StatusCode::kResourceExhausted, "more than %d rows: ask for fewer days", kRowsMax);
    }
    ++sums.requests;
    ++sums.open;
    inferd::Add(open.upper_bound, sums);
    open_.emplace(LogPlace{origin, index}, std::move(open));
    return OkStatus();
  }
  const bool ends =
      view.type == LeafType::kInferenceCompleted || view.type == LeafType::kInferenceAborted;
  if (!ends || !view.adm) {
    return OkStatus();
  }
  const auto found =
      open_.find({view.adm_origin.empty() ? origin : std::string(view.adm_origin), *view.adm});
  if (found == open_.end()) {
    return OkStatus();  // exempt, or not asked for
  }
  UsageSums& sums = rows_[found->second.key];
  --sums.open;
  Subtract(found->second.upper_bound, sums);
  inferd::Add(SettledOf(view), sums);
  open_.erase(found);
  return OkStatus();
}

}  // namespace inferd
