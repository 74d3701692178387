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

Status UsageReport::CatchUp(EntryReader& shard) {
  ASSIGN_OR_RETURN(const uint64_t size, shard.Size());
  uint64_t& next = next_[shard.origin()];
  if (next >= size) {
    return OkStatus();
  }
  return shard.Visit(next, size, [&](uint64_t index, std::string_view leaf) {
    RETURN_IF_ERROR(Annotate(Add(shard.origin(), index, leaf),
                             absl::StrFormat("%s, leaf %d", shard.origin(), index)));
    next = index + 1;
    return OkStatus();
  });
}

UsageReport::Rows UsageReport::Select(UtcDay first,
                                      UtcDay last,
                                      const QuotaAccount& account) const {
  Rows selected;
  for (auto row = rows_.lower_bound({.day = first}); row != rows_.end() && row->first.day <= last;
       ++row) {
    if (account.Covers(row->first.account)) {
      selected.insert(*row);
    }
  }
  return selected;
}

Status UsageReport::Add(const std::string& origin, uint64_t index, std::string_view leaf) {
  ASSIGN_OR_RETURN(const LeafView view, ParseLeaf(leaf));
  if (view.type == LeafType::kInferenceAdmitted) {
    ASSIGN_OR_RETURN(auto intent, IntentOf(view));
    if (!intent.has_value()) {
      return OkStatus();  // exempt
    }
    Open open{.key = {.day = intent->day, .account = std::move(intent->account)},
              .upper_bound = intent->upper_bound};
    if (rows_.size() >= kRowsMax && !rows_.contains(open.key)) {
      return ErrorF(StatusCode::kResourceExhausted, "the usage report has %d rows", kRowsMax);
    }
    UsageSums& sums = rows_[open.key];
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
    return OkStatus();  // exempt
  }
  UsageSums& sums = rows_[found->second.key];
  --sums.open;
  Subtract(found->second.upper_bound, sums);
  inferd::Add(SettledOf(view), sums);
  open_.erase(found);
  return OkStatus();
}

}  // namespace inferd
