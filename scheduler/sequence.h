// Sequence: one choice of one request on its way through a model: its tokens, how far it is
// computed and which units hold its state.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "scheduler/prefix_cache.h"
#include "scheduler/prompt_prefix.h"
#include "scheduler/service.h"
#include "scheduler/service_policy.h"

namespace inferd {

struct Tenant;

// Most tokens that a step may guess ahead for one sequence (speculation.h).
inline constexpr size_t kDraftTokensMax = 4;

// What a sequence asks for. Plain value.
struct SequenceSpec {
  ModelSlot model = {};
  TenantId tenant = {};       // from the caller's credential
  int32_t service_class = 0;  // index into SchedulerOptions::classes
  // Not empty; shared by the choices of a request.
  std::shared_ptr<const std::vector<TokenId>> prompt = nullptr;
  // Keys of the prompt's blocks. nullptr: the sequence neither uses the prefix cache nor fills it.
  std::shared_ptr<const PromptPrefix> prefix = nullptr;
  int64_t tokens_max = 0;  // prompt and output together; more than the prompt
  std::optional<TimePoint> deadline = std::nullopt;
  // Output tokens that may be computed until ExtendLease; unset: all (no lease is kept).
  std::optional<int64_t> leased_output_tokens = std::nullopt;
};

enum class SequenceState : uint8_t {
  kWaiting,   // holds no state: new, or preempted
  kRunning,   // holds state
  kSwapped,   // waits as preempted; its state is on the host
  kFinished,  // ended, but a step in flight still reads its state
};

// Owned and changed by Scheduler alone; others read it on the engine thread, and not after the
// step that finishes it is committed.
// Invariants: num_computed() <= num_tokens() < tokens_max until it finishes; a block table only
// grows while running, but for entries behind the window, which become kNoBlock.
class Sequence {
 public:
  Sequence(SequenceId id, SequenceSpec spec)
      : id_(id),
        num_prompt_tokens_(static_cast<int64_t>(spec.prompt->size())),
        leased_output_tokens_(spec.leased_output_tokens.value_or(kUnlimited)),
        spec_(std::move(spec)) {}

  // Ascending in order of arrival.
  SequenceId id() const { return id_; }
  const SequenceSpec& spec() const { return spec_; }
  SequenceState state() const { return state_; }
  bool paused() const { return paused_; }
  TimePoint arrival() const { return arrival_; }
  int32_t class_order() const { return class_order_; }

  std::span<const TokenId> prompt() const { return *spec_.prompt; }
  std::span<const TokenId> output() const { return output_; }
  int64_t num_prompt_tokens() const { return num_prompt_tokens_; }
  int64_t num_tokens() const { return num_prompt_tokens_ + static_cast<int64_t>(output_.size()); }
  TokenId token(int64_t position) const {
    const size_t index = static_cast<size_t>(position);
    return index < spec_.prompt->size() ? (*spec_.prompt)[index]
                                        : output_[index - spec_.prompt->size()];
  }

  // Positions whose state is in its units, or will be when the steps in flight are done.
  int64_t num_computed() const { return computed_; }
  // Positions that can be planned now; 0 while the next token is being drawn.
  int64_t num_pending() const { return num_tokens() - computed_; }
  // Entry i holds positions [64 i, 64 i + 64). Valid until the plan that it was read for is
  // committed: later plans append behind it and never move it.
  std::span<const BlockIndex> block_table(size_t group) const { return tables_[group].blocks; }
  // For a slot group: one entry, the slot that holds the state after num_computed() positions.
  int32_t num_preemptions() const { return preemptions_; }
  // Prompt tokens that were found in the prefix cache when the sequence was first admitted.
  int64_t num_cached_tokens() const { return cached_tokens_; }
  bool in_flight() const { return num_in_flight_ > 0; }

 private:
  friend class BatchPlanner;
  friend class CapacityPlanner;
  friend class HostStore;
  friend class ModelLane;
  friend class Scheduler;
  friend class Speculation;
  friend class StateStore;

  struct Table {
    std::vector<BlockIndex> blocks;
    int64_t first_live = 0;  // entries before it are kNoBlock
    bool borrowed = false;   // a slot group: blocks[0] is a checkpoint of the cache, to be copied
    int64_t num_held() const {
      return borrowed ? 0 : static_cast<int64_t>(blocks.size()) - first_live;
    }
  };

  // The earliest position that a step in flight computes, or the next one to plan.
  int64_t OldestStart() const { return num_in_flight_ > 0 ? starts_in_flight_[0] : computed_; }
  bool leased() const { return static_cast<int64_t>(output_.size()) < leased_output_tokens_; }
  // What is late already orders nothing any more.
  TimePoint DueIfInTime(TimePoint now) const {
    return first_token_due_ < now ? TimePoint::max() : first_token_due_;
  }
  // The next token may be planned, units permitting.
  bool plannable() const { return !paused_ && num_pending() > 0 && leased(); }
  bool waits() const {
    return state_ == SequenceState::kWaiting || state_ == SequenceState::kSwapped;
  }
  bool is_decode() const { return plannable() && num_pending() == 1; }

  // What every plan reads of every running sequence stands first, in as few cache lines as it can.
  const SequenceId id_;
  const int64_t num_prompt_tokens_;
  std::vector<TokenId> output_;
  int64_t computed_ = 0;
  int64_t leased_output_tokens_ = kUnlimited;
  int64_t covered_ = 0;        // positions that its units are enough for, in every group
  int64_t high_water_ = 0;     // the most positions ever computed: below it is recompute
  uint64_t granted_in_ = 0;    // the plan that it got tokens in last
  uint64_t preempted_in_ = 0;  // the plan that preempted it last
  FlowIndex flow_ = 0;
  int32_t num_in_flight_ = 0;
  // At most two steps are in flight (Scheduler); their first positions, oldest first.
  std::array<int64_t, 2> starts_in_flight_{};
  SequenceState state_ = SequenceState::kWaiting;
  bool paused_ = false;
  bool started_ = false;    // was in a plan
  bool preempted_ = false;  // waiting to be computed again
  bool lease_asked_ = false;
  DomainIndex domain_ = kNoDomain;
  Tenant* tenant_ = nullptr;
  const SequenceSpec spec_;
  std::vector<Table> tables_;
  // [groups] while it is kSwapped: units of the host that hold the table's entries from first_live.
  std::vector<std::vector<BlockIndex>> on_host_;
  int32_t preemptions_ = 0;

  // Set when it is submitted.
  TimePoint arrival_{};
  TimePoint first_token_due_ = TimePoint::max();
  std::optional<Duration> token_interval_;  // then one token each
  std::optional<TimePoint> paused_at_;
  int64_t waiting_units_ = 0;  // what it counts for in its flow's queue
  int32_t class_order_ = 0;
  // The chain goes on over the output: keys of the blocks behind PromptPrefix::keys.
  std::vector<Digest> output_keys_;
  int64_t published_blocks_ = 0;  // from the start, offered to the cache
  int64_t junction_ = 0;          // the last match's end in the full groups: worth a checkpoint
  int64_t cached_tokens_ = 0;
  bool was_admitted_ = false;
  std::array<TokenId, kDraftTokensMax> draft_{};  // of the row in flight
  int32_t draft_acceptance_ = 1000;               // per mille, of recent drafts
  int64_t draft_rests_until_ = 0;                 // output tokens
  std::vector<int64_t> promised_;  // [groups] units that its admission counts on beyond those held
};

}  // namespace inferd
