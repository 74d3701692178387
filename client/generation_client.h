// GenerationClient: a thin C++ client of inferd.v1. Plain values in and out: who includes this
// header needs neither gRPC nor protobuf.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/status.h"
#include "text/chat_template.h"

namespace inferd {

// Text, token ids taken as they are, or messages for the model's chat template.
using Prompt = std::variant<std::string, std::vector<TokenId>, std::vector<ChatMessage>>;

// How to draw and when to end. What is unset is left to the daemon, whose proto says what unset
// means; values are checked there.
struct GenerationOptions {
  std::optional<float> temperature, top_p, min_p;
  std::optional<int32_t> top_k;
  std::optional<float> repetition_penalty, presence_penalty, frequency_penalty;
  std::vector<std::pair<TokenId, float>> logit_bias;
  std::optional<uint64_t> seed;
  std::optional<int32_t> n;
  std::optional<int32_t> logprobs;
  std::optional<int32_t> max_tokens, min_tokens;
  std::vector<std::string> stop;
  std::vector<TokenId> stop_token_ids;
  bool ignore_eos = false;
  bool include_stop = false;
};

// One call of Generate or GenerateStream.
struct GenerationCall {
  std::string model;
  Prompt prompt;
  GenerationOptions options;
  std::string request_id;       // "": the daemon makes one
  std::string end_user;         // whose data it is; "": nobody's
  std::string session;          // a conversation; "": none
  std::string expected_digest;  // "": any
  bool stream = true;
  bool token_ids = false;  // ask for them beside the text
  std::optional<int32_t> max_tokens_per_message;
  std::optional<Duration> timeout;  // unset: none
};

struct GenerationStarted {
  std::string request_id;
  std::string model;
  std::string version;
  std::string digest;
  std::string numerics_id;
  std::string fingerprint;  // of digest, template, tokenizer and numerics_id together
  uint64_t seed = 0;
  int32_t prompt_tokens = 0;
  int32_t cached_tokens = 0;
};

struct TokenLogprobs {
  float logprob = 0;                           // of the drawn token
  std::vector<std::pair<TokenId, float>> top;  // the most probable ones, best first
};

// Output of one choice: a piece of a stream, or all of it.
struct ChoiceOutput {
  int32_t index = 0;
  std::string text;
  std::vector<TokenId> token_ids;
  std::vector<TokenLogprobs> logprobs;
};

struct Choice {
  ChoiceOutput output;
  std::string finish_reason;  // "stop" or "length"
  std::optional<std::string> matched_stop;
  std::optional<TokenId> matched_stop_token;
  int32_t output_tokens = 0;
  Duration queue{}, prefill{}, decode{};
};

struct GenerationResult {
  GenerationStarted started;
  std::vector<Choice> choices;  // by index
};

// What a stream tells while it runs, on the calling thread. Either may be empty.
struct GenerationObserver {
  std::function<void(const GenerationStarted&)> on_started;
  std::function<void(const ChoiceOutput&)> on_output;
};

struct ServedModel {
  std::string name, version, digest, state;  // state: "ready" or "loading"
  std::string display_name, architecture, quantization, device, template_digest, numerics_id;
  int64_t context_tokens_max = 0;
  int64_t vocab_size = 0;
  int64_t file_bytes = 0;
  int64_t weight_bytes = 0;
  int64_t kv_tokens_max = 0;
  bool adds_bos = false;
  std::vector<TokenId> end_token_ids;
};

// How to reach a daemon. The files are read when the client is made.
struct Connection {
  std::string endpoint;  // HOST:PORT or unix:PATH
  // PEM files: the authorities that the daemon's certificate comes from ("": no TLS), and our own
  // certificate and key (both or none).
  std::string tls_ca = {}, tls_certificate = {}, tls_key = {};
  std::string api_key_file = {};  // of mode 0600, with an API key; "": none
  bool own = false;               // not shared with other clients of this process
};

// Thread-safe; calls block the calling thread. Statuses are the daemon's, their message extended
// by the field violations, reason and retry delay that came with them.
class GenerationClient {
 public:
  // kInvalidArgument for an endpoint that is neither HOST:PORT nor unix:PATH, or half a pair of
  // files; the errors of reading them. Connects with the first call.
  static StatusOr<std::unique_ptr<GenerationClient>> Create(const Connection& connection);
  ~GenerationClient();

  // Ends with kCancelled when `stop` is requested.
  StatusOr<GenerationResult> Generate(const GenerationCall& call,
                                      const GenerationObserver& observer = {},
                                      std::stop_token stop = {});
  StatusOr<std::vector<TokenId>> Tokenize(const std::string& model,
                                          const std::string& text,
                                          bool add_bos,
                                          bool parse_special,
                                          Duration timeout);
  // All pages.
  StatusOr<std::vector<ServedModel>> ListModels(Duration timeout);
  StatusOr<ServedModel> GetModel(const std::string& model, Duration timeout);
  // grpc.health.v1: "serving", "not serving" or "unknown"; kNotFound for a service that the daemon
  // does not know. "" is the process.
  StatusOr<std::string> Health(const std::string& service, Duration timeout);

 private:
  class Impl;
  explicit GenerationClient(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace inferd
