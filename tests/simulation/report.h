// What came of a simulated run.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"

namespace inferd::sim {

enum class EndKind : uint8_t {
  kOpen,       // the run stopped before it ended
  kFinished,   // the model said all it had to say
  kCancelled,  // by the client
  kDeadline,
  kQueueTimeout,
  kLease,    // its tenant's budget was used up
  kShed,     // taken out of the queue under overload
  kRefused,  // at submission
  kFault,    // the device failed at a step of it
};

struct RequestOutcome {
  EndKind end = EndKind::kOpen;
  Duration arrival{};
  std::optional<Duration> started;      // first grant planned
  std::optional<Duration> first_token;  // committed
  std::optional<Duration> ended;
  int64_t output_tokens = 0;
  int64_t cached_tokens = 0;  // of the prompt, found in the prefix cache at its first admission
  int32_t preemptions = 0;
  int64_t recomputed_tokens = 0;
  uint64_t output_hash = 0;  // of the tokens streamed
};

// A broken invariant. `check` is its name in checks.h.
struct Violation {
  std::string check;
  std::string what;
  Duration at{};
  uint64_t step = 0;
};

struct TenantService {
  // Delivered: new prompt tokens and output tokens at their cost, nothing computed twice.
  int64_t delivered_units = 0;
  // Charged: what the scheduler wrote to the account.
  int64_t charged_units = 0;
};

// Where every tenant stands at one time.
struct ServiceSample {
  Duration at{};
  std::vector<int64_t> delivered_units;
  std::vector<bool> waiting;  // it has requests that never ran
};

struct Report {
  std::vector<RequestOutcome> requests;  // as the workload's submissions
  std::optional<Violation> violation;    // the first; the run stops at it
  std::vector<TenantService> tenants;
  std::vector<ServiceSample> service;  // a sample a step, if asked for
  std::vector<double> token_gaps_s;    // between tokens of one request, if asked for
  uint64_t plan_hash = 0;              // of every plan, byte for byte
  uint64_t steps = 0;
  Duration busy{};  // of the device
  Duration ended{};
  int64_t prompt_tokens = 0;  // computed for the first time
  int64_t output_tokens = 0;
  int64_t recomputed_tokens = 0;
  int64_t cached_tokens = 0;
  int64_t preemptions = 0;
  int64_t swapped_in = 0;
  int64_t accepted_tokens = 0;      // of drafts
  int64_t cache_lookup_tokens = 0;  // of whole blocks, at admissions
  int64_t cache_hit_tokens = 0;
  int64_t blocks_held = 0;  // at the end, by nobody's sequences
  // Fairness, in service units of a tenant of weight 1.
  double lemma_excess = 0;   // most that a key was above a backlogged one
  double pair_gap = 0;       // widest |W_f/w_f - W_g/w_g| over a joint backlog
  double largest_grant = 0;  // G: most charged to one tenant in one step
  double bound_used = 0;     // pair_gap / (2 (theta + 2 G)), the most of any pair
};

}  // namespace inferd::sim
