// What the ledger says to a request: which limits it is over, and when to come back.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "governance/quota/quota_limit.h"

namespace inferd {

// A limit as it stands.
struct QuotaState {
  std::string id{};
  QuotaAccount scope{};
  QuotaMetric metric = QuotaMetric::kRequestsPerMinute;
  QuotaMode mode = QuotaMode::kEnforce;
  uint64_t limit = 0;      // as of now, raises included
  uint64_t burst = 0;      // rates
  uint64_t used = 0;       // semaphores and budgets: reserved or used now
  uint64_t remaining = 0;  // what a request may cost now
  // Until all of it is there again. Semaphores: not known.
  std::optional<Duration> reset{};
};

// A limit that a request is over.
struct QuotaViolation {
  QuotaState state{};
  uint64_t cost = 0;
  // It is more than the limit ever lets through at once: no retry can pass.
  bool never = false;
  // When it would pass if nothing else happened. Exact for rates and for the end of a budget's
  // window; kSemaphoreRetry for semaphores, whose holders end when they end. Nothing: never, or
  // not before this node may spend more of the limit.
  std::optional<Duration> retry_after{};
};

inline constexpr Duration kSemaphoreRetry = std::chrono::seconds(1);

// Violations that an error names; it counts the others.
inline constexpr size_t kViolationsInErrorMax = 4;

struct QuotaRefusal {
  // All limits of mode enforce that the request is over, in the order of the hierarchy.
  std::vector<QuotaViolation> violations{};
  bool never = false;                     // of any
  std::optional<Duration> retry_after{};  // the latest of all; nothing if one has none
  // The ledger holds as many open requests or accounts as it may: not the caller's quota.
  bool ledger_full = false;
};

// kResourceExhausted with up to kViolationsInErrorMax violations in words; kUnavailable if the
// ledger is full.
Status StatusOf(const QuotaRefusal& refusal);

}  // namespace inferd
