// What a quota is: whose use it limits, of what, how much, and what happens beyond it.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/status.h"
#include "governance/quota/quota_amounts.h"

namespace inferd {

enum class QuotaMetric : uint8_t {
  kRequestsPerMinute,      // rpm: one a request
  kInputTokensPerMinute,   // itpm
  kOutputTokensPerMinute,  // otpm
  kConcurrency,            // conc: open requests
  kKvTokens,               // kv: tokens whose KV open requests may need
  kTokensPerDay,           // tok_day: input and output, of a UTC day
  kTokensPerMonth,         // tok_month
  kSpendPerDay,            // spend_day: millionths of the currency
  kSpendPerMonth,          // spend_month
};
inline constexpr int kNumQuotaMetrics = 9;
std::string_view Name(QuotaMetric metric);
std::optional<QuotaMetric> QuotaMetricFromName(std::string_view name);

// How a metric is counted.
enum class QuotaKind : uint8_t {
  kRate,       // a bucket that drains: GCRA by cost
  kSemaphore,  // given back at the request's end
  kBudget,     // used up, until its UTC window ends
};
QuotaKind KindOf(QuotaMetric metric);
bool IsMonthly(QuotaMetric metric);

// What a request of these amounts costs in a metric.
uint64_t CostOf(QuotaMetric metric, const QuotaAmounts& amounts);

enum class QuotaMode : uint8_t {
  kEnforce,  // refuses what is over
  kWarn,     // lets it pass and tells the caller
  kShadow,   // lets it pass and counts it for the operator
};
std::string_view Name(QuotaMode mode);
std::optional<QuotaMode> QuotaModeFromName(std::string_view name);

// Who spends: org, its tenant, the tenant's project and key, and the model. Project, key and model
// may be empty. As the scope of a limit: an empty name stands for all.
struct QuotaAccount {
  std::string org{};
  std::string tenant{};
  std::string project{};
  std::string key{};
  std::string model{};
  friend auto operator<=>(const QuotaAccount&, const QuotaAccount&) = default;

  // Does a limit of this scope count what `account` spends?
  bool Covers(const QuotaAccount& account) const;
  // "org:o/tenant:t/key:k/model:m", without the names that are empty.
  std::string Text() const;
};

// Names in accounts and ids of limits: 1 to 64 of A-Z a-z 0-9 . _ : / @ # + -
inline constexpr size_t kQuotaNameBytesMax = 64;
bool IsQuotaName(std::string_view name);

// Kinds of units for a time. It ends by itself, whatever becomes of whoever set it.
struct QuotaRaise {
  uint64_t limit = 0;
  uint64_t burst = 0;
  WallTime until{};
  friend bool operator==(const QuotaRaise&, const QuotaRaise&) = default;
};

// No limit, burst or amount is beyond this, so that sums of them stay exact.
inline constexpr uint64_t kQuotaUnitsMax = uint64_t{1} << 48;

struct QuotaLimit {
  std::string id{};
  QuotaAccount scope{};  // its org is never empty
  QuotaMetric metric = QuotaMetric::kRequestsPerMinute;
  // Units a minute, at a time, or in a window. 0 closes: nothing that costs passes, and open
  // requests get no further lease.
  uint64_t limit = 0;
  // Rates: the units that may be spent at once; at least 1 and by default a minute's worth.
  uint64_t burst = 0;
  QuotaMode mode = QuotaMode::kEnforce;
  // itpm: are tokens that the prefix cache had given back at the end?
  bool cached_free = false;
  std::optional<QuotaRaise> raise{};
  friend bool operator==(const QuotaLimit&, const QuotaLimit&) = default;
};

// kInvalidArgument names the limit and what is wrong with it.
Status Validate(const QuotaLimit& limit);

}  // namespace inferd
