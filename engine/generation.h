// The values that cross the engine's door: what is asked, and what comes out, step by step.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backend/forward_batch.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/sampling_params.h"
#include "base/status.h"

namespace inferd {

// Most choices of one request, and most ids in StoppingParams::stop_token_ids.
inline constexpr int32_t kChoicesMax = 16;
inline constexpr size_t kStopTokenIdsMax = 64;

enum class FinishReason : uint8_t {
  kStop,       // an end token, a stop string or a stop id
  kLength,     // max_tokens or the context's end
  kCancelled,  // the caller left, or an operator ended it
  kDeadline,   // its deadline passed
  kError,      // the device failed
};

// When a generation ends. Checked by the engine at Submit (kInvalidArgument).
struct StoppingParams {
  std::optional<int32_t> max_tokens;  // unset: the rest of the context
  // The model's end tokens and stop_token_ids are not drawn, stop strings not matched before.
  int32_t min_tokens = 0;
  std::vector<std::string> stop;
  std::vector<TokenId> stop_token_ids;
  bool ignore_eos = false;    // the model's end tokens are tokens like others
  bool include_stop = false;  // the text of the matched stop string or id is part of the text
};

// One call. Plain value, moved into the engine.
struct GenerationRequest {
  RequestId request_id;
  TenantId tenant;
  ModelSlot model;
  std::shared_ptr<const std::vector<TokenId>> prompt;  // shared by the n choices
  SamplingParams sampling;
  StoppingParams stopping;
  int32_t n = 1;
  int32_t service_class = 0;  // index into EngineOptions::classes
  TimePoint arrival{};
  std::optional<TimePoint> deadline;
  bool want_text = true;
  bool show_control = false;  // control tokens appear in the text
  bool text_start = false;    // the output starts a text of its own (an empty prompt)
  // State of the prompt may come from the tenant's earlier requests, and stays for later ones: the
  // same tokens come out either way.
  bool use_prefix_cache = true;
  std::string prefix_scope;  // narrows who shares it within the tenant (a user, a session)
};

// Names a submitted request at the engine's door. Never reused by one engine.
using StreamHandle = uint64_t;

struct GenerationUsage {
  int32_t prompt_tokens = 0;
  int32_t cached_tokens = 0;  // of the prompt, found in the tenant's prefix cache
  int32_t output_tokens = 0;
};

struct GenerationTimings {
  Duration queue{};    // arrival to first planned
  Duration prefill{};  // first planned to first token
  Duration decode{};   // first token to the end
};

// One choice's news of one step. Events of a request come in order: kStarted once, when its first
// choice is computed (never, if it ends before), deltas, then one kFinished for each choice, the
// last of them with `last` set. `tokens` are all that were drawn, the one that ended the choice
// included; `text` is what is certain of their text, less what a stop cut off.
struct GenerationEvent {
  enum class Kind : uint8_t { kStarted, kDelta, kFinished };
  StreamHandle stream = 0;
  Kind kind = Kind::kDelta;
  int32_t choice = 0;
  bool last = false;  // of the request: nothing follows
  // kDelta and kFinished (what the last token completed):
  std::string text;  // valid UTF-8
  std::vector<TokenId> tokens;
  std::vector<SampledToken> logprobs;  // one for each token, if asked for
  // kFinished:
  FinishReason reason = FinishReason::kStop;
  std::optional<int32_t> matched_stop_string;  // index into StoppingParams::stop
  std::optional<TokenId> matched_stop_token;   // an end token or a stop id
  Status error;                                // if kError
  GenerationUsage usage;
  GenerationTimings timings;
  // kStarted: queue time is in timings.queue.
};

// Where the engine hands over: called on the engine thread, once a step, and must not block.
class EventSink {
 public:
  virtual ~EventSink() = default;
  virtual void Publish(std::vector<GenerationEvent>&& events) = 0;
};

}  // namespace inferd
