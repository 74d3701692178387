// The values by which service is asked for, measured and promised: tenants, classes, costs, times.
// Plain values; all arithmetic on them is in integers, so that the same calls give the same plans.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>

#include "base/clock.h"

namespace inferd {

// A bound that does not bind.
inline constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();

// What a tenant may have of one device. Fixed by the operator, never by a request.
struct TenantSpec {
  // Share of the device while others are backlogged, in proportion to theirs: 1..kWeightMax.
  int64_t weight = 1;
  int64_t running_max = kUnlimited;  // sequences that hold state at once
  // Tokens that these may come to, prompts and all the output that they may have. One that is
  // larger is refused; after the bound was lowered it runs alone. What fits goes before what does
  // not, within the tenant.
  int64_t running_tokens_max = kUnlimited;
  int64_t waiting_max = kUnlimited;                // sequences that never ran yet
  int64_t waiting_prompt_tokens_max = kUnlimited;  // their prompts' tokens
  int64_t host_units_max = kUnlimited;  // of its preempted sequences' state, kept by the host
  // Units of each state group that each of its trust domains keeps cached whatever others need.
  int64_t cached_blocks_guaranteed = 0;
  // Admissions count on all the output that a sequence may have, not on what the tenant's usually
  // use: nothing of it is preempted for want of room, and fewer run at once.
  bool reserves_all_output = false;
  static constexpr int64_t kWeightMax = 1'000'000;
};

// What one token of a model costs, in service units. Models of one device are calibrated so that a
// unit is about the same device time on each.
struct ServiceCosts {
  int32_t prompt_token = 1;
  int32_t output_token = 2;
  int32_t cached_token = 0;  // a prompt token found in the tenant's own prefix cache
};

// A class of service. It orders work within a tenant and inside the policy's window, and never
// changes a tenant's share.
struct ServiceClass {
  int32_t order = 0;  // smaller first, within a tenant
  // First token due this long after arrival; then one token each `token_interval`.
  std::optional<Duration> first_token = std::nullopt;
  std::optional<Duration> token_interval = std::nullopt;
  // Ends as kQueueTimeout if it has not started this long after arrival.
  std::optional<Duration> queue_max = std::nullopt;
};

// How long a step takes: base + prefill·prompt tokens + decode·decode rows + context·(positions
// that the rows attend to)/1024. A guess; refit by whoever drives the scheduler from the times that
// it measured.
struct StepTimeModel {
  int64_t base_ns = 0;
  int64_t prefill_token_ns = 0;
  int64_t decode_row_ns = 0;
  int64_t context_kilotoken_ns = 0;

  Duration Estimate(int64_t prefill_tokens, int64_t decode_rows, int64_t context_tokens) const {
    return Duration(base_ns + prefill_token_ns * prefill_tokens + decode_row_ns * decode_rows +
                    context_kilotoken_ns * (context_tokens / 1024));
  }
};

}  // namespace inferd
