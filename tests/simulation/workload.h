// Workload: everything that happens to a simulated device from outside, as a plain value. The same
// workload gives the same run; scenario.h writes it as text and reads it back.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/model_geometry.h"
#include "scheduler/service.h"

namespace inferd::sim {

struct GroupSetup {
  StateKind kind = StateKind::kBlocks;
  int32_t window = 0;  // positions; 0: all
  int64_t units = 0;   // of the pool

  friend bool operator==(const GroupSetup&, const GroupSetup&) = default;
};

struct ModelSetup {
  std::string name;
  int64_t context_tokens_max = 8192;
  std::vector<GroupSetup> groups;
  bool loading = false;  // its weights come with a Disturbance

  friend bool operator==(const ModelSetup&, const ModelSetup&) = default;
};

// Who decides the order: the scheduler's own fair policy, or a baseline.
enum class PolicyKind : uint8_t { kFair, kFcfs, kPriority, kDrr, kVtc };

struct DeviceSetup {
  int64_t step_tokens_max = 512;
  int64_t running_max = 256;
  int64_t waiting_max = 1024;
  int64_t in_flight_max = 1;   // plans uncommitted at once
  bool cut_at_blocks = false;  // the device needs canonical chunks
  bool prefix_cache = true;
  Duration queue_timeout{};  // of every class; zero: none
  int64_t lease_tokens = 0;  // output tokens of a lease; 0: no leases
  Duration lease_reply{};    // how long the ledger takes to extend one
  // Host memory for state of preempted sequences, in per cent of each pool; 0: none. A unit's copy.
  int64_t host_percent = 0;
  Duration copy_unit = std::chrono::milliseconds(1);
  // A paused sequence gives up its state, and ends; zero: never.
  Duration paused_state_max{};
  Duration paused_max{};
  bool refuses_late = false;
  int64_t draft_tokens = 0;  // that a row may guess ahead; 0: no speculation
  // Roughly a 7B model on an A10G, the device of the published VTC logs.
  StepTimeModel time{.base_ns = 22'000'000,
                     .prefill_token_ns = 210'000,
                     .decode_row_ns = 50'000,
                     .context_kilotoken_ns = 819'200};
  int64_t noise_per_mille = 0;  // steps last up to so much longer than the model says, at random
};

struct PolicySetup {
  PolicyKind kind = PolicyKind::kFair;
  int64_t theta = 4096;  // the fairness window, in service units
};

struct TenantSetup {
  std::string name;
  int64_t weight = 1;
  int64_t waiting_max = 1024;  // sequences
  int64_t running_max = 1 << 20;
  int64_t running_tokens_max = int64_t{1} << 40;
  int64_t guaranteed_blocks = 0;
  int64_t budget_tokens = 1'000'000'000;  // output tokens it may lease
  bool strict = false;                    // reserves all that it declares
  bool shared_cache = false;              // lives in the trust domain of all such tenants
};

// Consecutive prompt tokens with a content of their own: equal content, equal tokens.
struct Segment {
  uint64_t content = 0;
  int32_t tokens = 0;

  friend bool operator==(const Segment&, const Segment&) = default;
};

struct Submission {
  std::string name;
  Duration at{};
  uint32_t tenant = 0;
  uint32_t model = 0;
  std::vector<Segment> shared;       // what the prompt begins with; the rest is the request's own
  int32_t prompt_tokens = 1;         // all of it
  int32_t output_tokens = 1;         // what the model will say, unless cut short
  int32_t output_max = 1;            // what the client declares; output_tokens or more
  std::optional<Duration> deadline;  // from arrival
  int32_t service_class = 0;         // 0 is the most urgent
  bool deterministic = false;
};

struct Disturbance {
  enum class Kind : uint8_t {
    kCancel,  // the client goes away
    kStall,   // the client stops reading for `lasting`
    kDrain,   // no new request from now on
    kFault,   // the device fails at the step that is done next: its requests end
    kLoad,    // a model's weights are there
    kUnload,  // a model takes no new requests, and goes when its last one has ended
  };
  Kind kind = Kind::kCancel;
  Duration at{};
  uint32_t submission = 0;  // whose, if it is of a request
  Duration lasting{};
  uint32_t model = 0;  // of kLoad and kUnload
  bool of_request() const { return kind == Kind::kCancel || kind == Kind::kStall; }
};

struct Workload {
  uint64_t seed = 0;  // of the noise and of the prompts' contents
  DeviceSetup device;
  PolicySetup policy;
  std::vector<ModelSetup> models;
  std::vector<TenantSetup> tenants;
  std::vector<Submission> submissions;    // ascending `at`
  std::vector<Disturbance> disturbances;  // ascending `at`
};

// Puts submissions and disturbances in order of time; equal times keep their order.
void SortByTime(Workload& workload);

// The prompt of one submission. Token j of a segment depends on its content and j alone.
std::vector<TokenId> PromptOf(const Workload& workload, size_t submission, int64_t vocab_size);

// Units of the host for a group.
inline int64_t HostUnits(const GroupSetup& group, int64_t host_percent) {
  return (group.units * host_percent + 99) / 100;
}

inline constexpr int64_t kVocabSize = 32'000;
inline constexpr int kServiceClasses = 3;

}  // namespace inferd::sim
