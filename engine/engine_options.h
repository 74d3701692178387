// EngineOptions: what is decided when an engine is made, and the seams that its owner may fill.
#pragma once

#include <cstdint>
#include <vector>

#include "base/clock.h"
#include "engine/generation.h"
#include "scheduler/service.h"
#include "scheduler/speculation.h"

namespace inferd {

class Scheduler;
struct StepPlan;

// One choice has used half of the output tokens that it was granted.
struct LeaseRenewal {
  StreamHandle stream = 0;
  int32_t choice = 0;
  const GenerationRequest& request;  // valid during the call
  int64_t output_tokens = 0;         // asked for
};

// Who extends quotas while answers are drawn: the seam for the quota ledger. Called on the core
// thread, must not block; its owner keeps it until the engine is gone.
class LeaseKeeper {
 public:
  virtual ~LeaseKeeper() = default;
  // Output tokens granted beyond those granted before; 0: none. Then the choice ends with kError
  // (kResourceExhausted) when it has used what it has.
  virtual int64_t Renew(const LeaseRenewal& renewal) = 0;
};

// Sees every step, for step logs and measurements. Called on the core thread, must not block and
// must not keep what it is shown.
class StepObserver {
 public:
  virtual ~StepObserver() = default;
  // The mail is taken; the next plan follows.
  virtual void BeforePlan(const Scheduler& /*scheduler*/) {}
  virtual void AfterPlan(const Scheduler& /*scheduler*/, const StepPlan& /*plan*/) {}
  // The step was computed; `took` is the device's time.
  virtual void AfterStep(const StepPlan& /*plan*/, Duration /*took*/) {}
};

struct EngineOptions {
  int32_t step_tokens_max = 512;  // token budget of a step; more: longer steps, faster prefill
  int32_t running_max = 256;      // sequences of one model that hold KV at once
  int32_t waiting_max = 1024;     // choices that never ran yet; beyond: kUnavailable
  int64_t kv_bytes = int64_t{1} << 30;  // KV of one model
  // How far tenants that wait may drift apart, in service units by weight (a prompt token is one,
  // an output token two): scheduler/service_policy.h. More: fewer preemptions, longer unfairness.
  int64_t fairness_window_units = 8192;
  // KV of prompts is kept while nobody needs its memory, and found again by requests of the same
  // tenant that begin alike.
  bool prefix_cache = true;
  int64_t waiting_prompt_tokens_max = kUnlimited;  // of choices that never ran yet
  // A paused choice gives up its KV, and later ends, when its reader has been slow for so long.
  Duration paused_state_max = Duration::max();
  Duration paused_max = Duration::max();
  // Refuse at once what could not start in time by its class or its deadline (a prediction).
  bool refuses_late = false;
  int32_t model_steps_max = 8;  // steps that a model keeps the device while another one waits
  std::vector<ServiceClass> classes = {ServiceClass{}};  // GenerationRequest::service_class
  LeaseKeeper* leases = nullptr;                         // absent: no leases
  int64_t lease_tokens = 64;  // output tokens of the first lease, and of each renewal
  StepObserver* observer = nullptr;
  int64_t memory_bytes = 0;  // of all models' weights and KV; 0: no bound
  // Host memory for the KV of preempted choices of one model, beyond memory_bytes; 0: they are
  // computed again. It is used where copying is quicker than computing, by the step times and
  // swap_bytes_per_s, one way.
  int64_t swap_bytes = 0;
  int64_t swap_bytes_per_s = int64_t{2} << 30;
  // How long steps take, of every model; zeros: not known. From then on what its measured steps
  // say, fitted again after so many of them; 0: never. It decides when things happen, never what is
  // drawn.
  StepTimeModel step_time = {};
  int32_t step_time_fit_steps = 32;
  // Tokens guessed ahead from a choice's own text (prompt lookup). What is drawn stays the same.
  SpeculationOptions speculation = {};
};

}  // namespace inferd
