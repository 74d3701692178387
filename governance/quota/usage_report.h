// UsageReport: what each account used on each day, computed from the leaves of the audit log.
// Beside UsageFold, which keeps the windows that budgets need, this keeps every day that was asked
// for.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "governance/quota/quota_limit.h"
#include "governance/quota/usage_fold.h"
#include "governance/quota/utc_window.h"
#include "governance/verify/entry_reader.h"

namespace inferd {

struct UsageRowKey {
  UtcDay day = 0;  // that the request was admitted in
  QuotaAccount account{};
  friend auto operator<=>(const UsageRowKey&, const UsageRowKey&) = default;
};

// Open requests count with what they reserved, as in a budget.
struct UsageSums {
  uint64_t requests = 0;  // admitted
  uint64_t open = 0;      // of them not ended
  uint64_t input_tokens = 0;
  uint64_t output_tokens = 0;
  uint64_t micro = 0;
  friend bool operator==(const UsageSums&, const UsageSums&) = default;
};

// One thread at a time.
class UsageReport {
 public:
  using Rows = std::map<UsageRowKey, UsageSums>;

  // What the shards, in their order, have beyond what was added before. kDataLoss names a leaf that
  // cannot be read, kResourceExhausted comes beyond kRowsMax rows.
  Status CatchUp(EntryReader& shard);

  // Of these days, both included, and of accounts that `account` covers; its empty names are all.
  Rows Select(UtcDay first, UtcDay last, const QuotaAccount& account) const;
  const Rows& rows() const { return rows_; }

  static constexpr size_t kRowsMax = 1'000'000;

 private:
  struct Open {
    UsageRowKey key;
    QuotaAmounts upper_bound;
  };
  Status Add(const std::string& origin, uint64_t index, std::string_view leaf);

  Rows rows_;
  std::map<LogPlace, Open> open_;
  std::map<std::string, uint64_t, std::less<>> next_;  // leaf of each shard
};

}  // namespace inferd
