// UsageReport: what each account used on each day, computed from the leaves of the audit log. Beside
// UsageFold, which keeps the windows that budgets need, this keeps every day that was asked for.
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

// Which days, of whom. Empty names: all.
struct UsageQuery {
  UtcDay first = 0;
  UtcDay last = 0;  // included
  QuotaAccount account{};
};

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
  explicit UsageReport(UsageQuery query) : query_(std::move(query)) {}

  // All leaves of the shards, in their order. kDataLoss names a leaf that cannot be read.
  Status Add(EntryReader& shard);
  Status Add(const std::string& origin, uint64_t index, std::string_view leaf);

  // kResourceExhausted from Add beyond these: ask for fewer days.
  static constexpr size_t kRowsMax = 100'000;
  const std::map<UsageRowKey, UsageSums>& rows() const { return rows_; }

 private:
  struct Open {
    UsageRowKey key;
    QuotaAmounts upper_bound;
  };
  const UsageQuery query_;
  std::map<UsageRowKey, UsageSums> rows_;
  std::map<LogPlace, Open> open_;
};

}  // namespace inferd
