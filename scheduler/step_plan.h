// StepPlan: what the scheduler grants for one step of one model, and what comes back of it.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "scheduler/sequence.h"

namespace inferd {

// Consecutive positions of one sequence: [start, start + n_tokens). Everything before `start` is
// in the cache or is computed by the step before this one.
struct PlanRow {
  const Sequence* sequence = nullptr;  // alive until the plan is committed
  int64_t start = 0;
  int32_t n_tokens = 0;
  bool sample = false;  // the row reaches the last known token: draw the next one
  // The last draft.size() of n_tokens positions hold these instead of known tokens: a token is
  // drawn at every position from the last known one on. A draft's state counts only if it came
  // true.
  std::span<const TokenId> draft = {};  // valid until the plan is committed
  // Positions of known tokens end here.
  int64_t end() const { return start + n_tokens - static_cast<int64_t>(draft.size()); }
};

enum class StatePlace : uint8_t {
  kDevice,  // the model's pool of the group
  kHost,    // ModelSpec::host
};

// One unit's whole content, all layers of its group.
struct StateCopy {
  size_t group = 0;
  BlockIndex from = 0;
  BlockIndex to = 0;
  StatePlace from_place = StatePlace::kDevice;
  StatePlace to_place = StatePlace::kDevice;
  friend bool operator==(const StateCopy&, const StateCopy&) = default;
};

// Why the scheduler ended a sequence by itself.
enum class EndReason : uint8_t {
  kDeadline,      // its own deadline passed
  kQueueTimeout,  // it waited longer than its class allows
  kLease,         // its lease was not extended
  kShed,          // it waited, the queue was full, and its tenant had more than its share of it
  kSlowReader,    // it was paused for longer than paused_max
};

struct Ended {
  SequenceId id;
  EndReason reason = EndReason::kDeadline;
  friend bool operator==(const Ended&, const Ended&) = default;
};

struct StepPlan {
  uint64_t epoch = 0;  // for Commit; meaningful if there are rows
  ModelSlot model;     // one model a step
  std::vector<PlanRow> rows;
  // In this order, before the rows and after them; a device that copies beside its rows keeps that
  // order. State of preempted sequences goes to the host with copies_before, and comes back with
  // it. A slot that no copy fills starts empty with the row that starts at position 0.
  std::vector<StateCopy> copies_before;
  std::vector<StateCopy> copies_after;
  int32_t n_tokens = 0;               // of all rows, <= step_tokens_max
  Duration expected{};                // by the model's StepTimeModel
  std::vector<Ended> ended;           // gone: no grant and no event follows
  std::vector<SequenceId> preempted;  // gave up their units: to be computed again, or kSwapped
  // Half of their lease is used: ExtendLease or DenyLease, soon. Named once for each lease.
  std::vector<SequenceId> lease_wanted;
  bool empty() const { return rows.empty(); }
};

// For one row that samples: the token drawn, and whether the sequence ends with the last one given.
struct RowResult {
  TokenId token = 0;
  bool finished = false;
  // Of a row with a draft: the tokens drawn behind `token`, as long as the token before each is the
  // draft's, up to the one that ends the sequence.
  std::array<TokenId, kDraftTokensMax> more{};
  int32_t num_more = 0;
};

// rows[i] belongs to plan.rows[i]; those of rows that do not sample are not read.
struct StepResult {
  std::vector<RowResult> rows = {};
  // How long the step took; zero: as the plan expected. For predictions, never for the order.
  Duration duration{};
};

}  // namespace inferd
