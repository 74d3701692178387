// Engine: one device and the models resident on it. One core thread owns all scheduler and KV
// state; other threads only enqueue. Never throws, never blocks on a client.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backend/device.h"
#include "base/clock.h"
#include "base/digest.h"
#include "engine/generation.h"
#include "model/model_config.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace inferd {

class ModelFile;

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
};

// What everyone may know of a resident model. Immutable; shared with request threads, which may
// outlive its residence.
struct ResidentModel {
  std::string name;
  Digest digest;
  std::string path;
  ModelConfig config;
  Digest numerics_id;
  int64_t weight_bytes = 0;
  int64_t file_bytes = 0;
  int64_t kv_tokens_max = 0;  // positions that the KV pool holds
  std::string quantization;   // the format of most weights, "Q4_1"
  // nullptr if the file has no vocabulary: then token ids go in and out, no text.
  std::shared_ptr<const Tokenizer> tokenizer;
  std::shared_ptr<const ChatTemplate> chat_template;  // nullptr if the file has none
  Digest template_digest;
  std::vector<TokenId> end_tokens;  // eos, eot, eom: what ends a generation
  std::optional<TokenId> bos;
  std::string bos_text, eos_text;
  bool add_bos = false;
  ModelSlot slot;
};

// Counters and gauges, read by any thread.
struct EngineStats {
  uint64_t steps = 0;
  uint64_t prompt_tokens = 0;
  uint64_t cached_tokens = 0;  // of prompt_tokens, not computed but found
  uint64_t output_tokens = 0;
  uint64_t preemptions = 0;
  int64_t running = 0;
  int64_t waiting = 0;
  int64_t kv_blocks_used = 0;    // by requests
  int64_t kv_blocks_cached = 0;  // by nobody, but worth keeping
  int64_t kv_blocks_total = 0;
  TimePoint last_step{};  // for health: work queued and no step for long means wedged
};

class Engine {
 public:
  // `device`, `clock` and `sink` outlive the engine.
  Engine(Device& device, const Clock& clock, EventSink& sink, const EngineOptions& options);
  ~Engine();  // stops the thread; unfinished requests finish as kCancelled
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Packs the model on the device and makes it servable. Before Start(), or while running (the
  // core thread then pauses between two steps).
  StatusOr<std::shared_ptr<const ResidentModel>> LoadModel(const std::string& name,
                                                           const Digest& digest,
                                                           const ModelFile& file);
  void Start();

  // Checks and queues. kInvalidArgument names the field; kResourceExhausted if the KV pool can
  // never hold it; kUnavailable when the queue is full, the engine drains or the device is lost;
  // kNotFound for a slot without a model; kDeadlineExceeded if it is late already. Thread-safe,
  // never blocks on the core thread's work.
  StatusOr<StreamHandle> Submit(GenerationRequest request);
  // Ends a request within two steps. Unknown or finished handles are ignored. Thread-safe.
  void Cancel(StreamHandle stream);
  // A paused request keeps its KV and is not scheduled (its reader is slow). Thread-safe.
  void Pause(StreamHandle stream);
  void Resume(StreamHandle stream);

  // Refuses new requests; running ones go on.
  void Drain();
  bool idle() const;  // nothing queued or running
  EngineStats stats() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace inferd
