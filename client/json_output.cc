// The JSON documents of inferctl. Their keys are a promise to scripts: golden files hold them.
#include <nlohmann/json.hpp>

#include "client/commands.h"

namespace inferd {
namespace {

using Json = nlohmann::ordered_json;

double Ms(Duration duration) { return std::chrono::duration<double, std::milli>(duration).count(); }

// Strings of a daemon are UTF-8 by contract; one that is not must not end the program.
std::string Dump(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace);
}

Json JsonOf(const ServedModel& model) {
  return {{"name", model.name},
          {"version", model.version},
          {"digest", model.digest},
          {"state", model.state},
          {"display_name", model.display_name},
          {"architecture", model.architecture},
          {"quantization", model.quantization},
          {"device", model.device},
          {"context_tokens_max", model.context_tokens_max},
          {"vocab_size", model.vocab_size},
          {"file_bytes", model.file_bytes},
          {"weight_bytes", model.weight_bytes},
          {"kv_tokens_max", model.kv_tokens_max},
          {"adds_bos", model.adds_bos},
          {"end_token_ids", model.end_token_ids},
          {"template_digest", model.template_digest},
          {"numerics_id", model.numerics_id}};
}

Json JsonOf(const std::vector<TokenLogprobs>& logprobs) {
  Json tokens = Json::array();
  for (const TokenLogprobs& token : logprobs) {
    Json top = Json::array();
    for (const auto& [id, logprob] : token.top) {
      top.push_back({{"token_id", id}, {"logprob", logprob}});
    }
    tokens.push_back({{"logprob", token.logprob}, {"top", std::move(top)}});
  }
  return tokens;
}

Json JsonOf(const Choice& choice) {
  Json json = {{"index", choice.output.index},
               {"text", choice.output.text},
               {"token_ids", choice.output.token_ids}};
  if (!choice.output.logprobs.empty()) {
    json["logprobs"] = JsonOf(choice.output.logprobs);
  }
  json["finish_reason"] = choice.finish_reason;
  if (choice.matched_stop) {
    json["matched_stop"] = *choice.matched_stop;
  }
  if (choice.matched_stop_token) {
    json["matched_stop_token_id"] = *choice.matched_stop_token;
  }
  json["output_tokens"] = choice.output_tokens;
  json["timings_ms"] = {
      {"queue", Ms(choice.queue)}, {"prefill", Ms(choice.prefill)}, {"decode", Ms(choice.decode)}};
  return json;
}

Json JsonOf(const LatencySummary& summary) {
  return {{"count", summary.count},
          {"mean", summary.mean},
          {"p50", summary.p50},
          {"p90", summary.p90},
          {"p99", summary.p99},
          {"max", summary.max}};
}

}  // namespace

std::string ToJson(const GenerationResult& result) {
  Json choices = Json::array();
  for (const Choice& choice : result.choices) {
    choices.push_back(JsonOf(choice));
  }
  return Dump({{"request_id", result.started.request_id},
               {"model", result.started.model},
               {"version", result.started.version},
               {"digest", result.started.digest},
               {"numerics_id", result.started.numerics_id},
               {"system_fingerprint", result.started.fingerprint},
               {"seed", result.started.seed},
               {"prompt_tokens", result.started.prompt_tokens},
               {"cached_tokens", result.started.cached_tokens},
               {"choices", std::move(choices)}});
}

std::string ToJson(const std::vector<ServedModel>& models) {
  Json list = Json::array();
  for (const ServedModel& model : models) {
    list.push_back(JsonOf(model));
  }
  return Dump({{"models", std::move(list)}});
}

std::string ToJson(const ServedModel& model) { return Dump(JsonOf(model)); }

std::string ToJson(const BenchCommand& command,
                   const std::string& model,
                   const LoadReport& report) {
  Json workload = {{"model", model},
                   {"loop", command.rate_per_s > 0 ? "open" : "closed"},
                   {"rate_per_s", command.rate_per_s},
                   {"concurrency", command.concurrency},
                   {"requests", command.requests},
                   {"prompt_tokens", command.prompt_tokens},
                   {"output_tokens", command.output_tokens},
                   {"seed", command.seed}};
  if (command.duration) {
    workload["duration_s"] = Ms(*command.duration) / 1e3;
  }
  return Dump({{"workload", std::move(workload)},
               {"completed", report.completed},
               {"failed", report.failed},
               {"duration_s", report.duration_s},
               {"prompt_tokens", report.prompt_tokens},
               {"output_tokens", report.output_tokens},
               {"requests_per_s", report.requests_per_s},
               {"output_tokens_per_s", report.output_tokens_per_s},
               {"ttft_ms", JsonOf(report.ttft_ms)},
               {"itl_ms", JsonOf(report.itl_ms)},
               {"tpot_ms", JsonOf(report.tpot_ms)},
               {"e2e_ms", JsonOf(report.e2e_ms)},
               {"client_lag_ms", JsonOf(report.lag_ms)}});
}

}  // namespace inferd
