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
#include "engine/engine_options.h"
#include "engine/engine_report.h"
#include "engine/generation.h"
#include "model/model_config.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace inferd {

class ModelFile;

// What everyone may know of a resident model. Immutable; shared with request threads, which may
// outlive its residence.
struct ResidentModel {
  std::string name;
  std::string version;  // of the name; several may be resident
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
  Digest template_digest;                             // zeros if there is none
  Digest tokenizer_digest;                            // zeros if there is none
  // "fp_" and 16 hex digits over digest, template, tokenizer and numerics_id: equal requests of
  // equal fingerprint have equal answers.
  std::string fingerprint;
  std::vector<TokenId> end_tokens;  // eos, eot, eom: what ends a generation
  std::optional<TokenId> bos;
  std::string bos_text, eos_text;
  bool add_bos = false;
  ModelSlot slot;
};

// On whose account public prefixes are computed; no caller's tenant.
inline constexpr char kOperatorTenant[] = "_operator";

class Engine {
 public:
  // `device`, `clock` and `sink` outlive the engine.
  Engine(Device& device, const Clock& clock, EventSink& sink, const EngineOptions& options);
  ~Engine();  // stops the thread; unfinished requests finish as kCancelled
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Packs the model on the device and makes it servable. Before Start(), or while running: requests
  // go on meanwhile, a step between two tensors. kResourceExhausted, with who has what, if weights
  // and KV do not fit EngineOptions::memory_bytes. One load or unload at a time; others wait.
  // `reserved_blocks`: units of every state group that requests cannot count on: the tenants'
  // guarantees and public prefixes. No request is taken that would not fit beside them.
  StatusOr<std::shared_ptr<const ResidentModel>> LoadModel(const std::string& name,
                                                           const Digest& digest,
                                                           const ModelFile& file,
                                                           int64_t reserved_blocks = 0,
                                                           const std::string& version = "");
  // Takes no new requests of the model, waits until those it has are done, and frees its memory.
  // After `drain_max` those that are left end as kError (kUnavailable). Where another model is
  // packed meanwhile they end none the later; the memory is freed, and the call returns, once that
  // is done. kNotFound for a slot without a model, kUnavailable for one that is leaving already.
  // Not from the sink; its slot is not used again.
  Status UnloadModel(ModelSlot model, Duration drain_max);
  void Start();

  // What the tenant may have from now on: weight and limits (scheduler/service.h).
  // kInvalidArgument for a weight out of range. Thread-safe; waits for the step in work.
  Status SetTenant(const TenantId& id, const TenantSpec& spec);
  // Computes the prompt's whole blocks and keeps them for every tenant of this device, for as long
  // as the model is resident. Blocks until they are computed: not before Start(), not on the core
  // thread. kInvalidArgument for a prompt shorter than one block, kResourceExhausted for more
  // blocks than LoadModel set aside, else as Submit.
  Status RegisterPublicPrefix(ModelSlot model, const std::vector<TokenId>& prompt);

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
  // Who has what, and why a request waits; what it says of others is for operators alone.
  // Thread-safe; each waits for the step in work and holds up the next while it looks. Not from
  // the sink. Explain: of each of the streams that has not ended.
  EngineReport Report();
  std::vector<StreamReport> Explain(const std::vector<StreamHandle>& streams);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace inferd
