#include "engine/request_check.h"

#include <algorithm>

#include "base/utf8.h"
#include "text/stop_matcher.h"

namespace inferd::engine_internal {
namespace {

Status CheckStopping(const StoppingParams& stopping, const ResidentModel& model) {
  if (stopping.max_tokens.has_value() && *stopping.max_tokens < 1) {
    return ErrorF(
        StatusCode::kInvalidArgument, "max_tokens: %d is not at least 1", *stopping.max_tokens);
  }
  if (stopping.min_tokens < 0 ||
      stopping.min_tokens > stopping.max_tokens.value_or(stopping.min_tokens)) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "min_tokens: %d is not in [0, max_tokens]",
                  stopping.min_tokens);
  }
  if (stopping.stop.size() > kStopStringsMax) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "stop: %d strings, at most %d",
                  stopping.stop.size(),
                  kStopStringsMax);
  }
  for (const std::string& stop : stopping.stop) {
    if (stop.empty() || stop.size() > kStopStringBytesMax || !IsValidUtf8(stop)) {
      return ErrorF(StatusCode::kInvalidArgument,
                    "stop: a string is empty, longer than %d bytes or not UTF-8",
                    kStopStringBytesMax);
    }
  }
  if (!stopping.stop.empty() && model.tokenizer == nullptr) {
    return ErrorF(StatusCode::kInvalidArgument, "stop: the model has no vocabulary, thus no text");
  }
  if (stopping.stop_token_ids.size() > kStopTokenIdsMax) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "stop_token_ids: %d ids, at most %d",
                  stopping.stop_token_ids.size(),
                  kStopTokenIdsMax);
  }
  for (const TokenId token : stopping.stop_token_ids) {
    if (token < 0 || token >= model.config.vocab_size) {
      return ErrorF(StatusCode::kInvalidArgument,
                    "stop_token_ids: %d is not in the vocabulary of %d",
                    token,
                    model.config.vocab_size);
    }
  }
  // Something must be left to draw.
  if (stopping.min_tokens > 0 &&
      static_cast<int64_t>(stopping.stop_token_ids.size() + model.end_tokens.size()) >=
          model.config.vocab_size) {
    return ErrorF(StatusCode::kInvalidArgument, "min_tokens: every token ends the generation");
  }
  return OkStatus();
}

}  // namespace

StatusOr<int64_t> CheckRequest(const GenerationRequest& request,
                               const ResidentModel& model,
                               TimePoint now) {
  if (request.prompt == nullptr || request.prompt->empty()) {
    return ErrorF(StatusCode::kInvalidArgument, "prompt: no tokens");
  }
  const std::vector<TokenId>& prompt = *request.prompt;
  const int64_t prompt_tokens = static_cast<int64_t>(prompt.size());
  const int64_t context = model.config.context_tokens_max;
  if (prompt_tokens >= context) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "prompt: %d tokens leave no room in the context of %d",
                  prompt_tokens,
                  context);
  }
  if (std::any_of(prompt.begin(), prompt.end(), [&model](TokenId token) {
        return token < 0 || token >= model.config.vocab_size;
      })) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "prompt: a token id is not in the vocabulary of %d",
                  model.config.vocab_size);
  }
  if (request.n < 1 || request.n > kChoicesMax) {
    return ErrorF(StatusCode::kInvalidArgument, "n: %d is not in [1, %d]", request.n, kChoicesMax);
  }
  if (request.want_text && model.tokenizer == nullptr) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "want_text: the model has no vocabulary, thus no text");
  }
  RETURN_IF_ERROR(Validate(request.sampling, model.config.vocab_size));
  RETURN_IF_ERROR(CheckStopping(request.stopping, model));
  if (request.deadline.has_value() && *request.deadline <= now) {
    return ErrorF(StatusCode::kDeadlineExceeded, "the deadline has passed before the start");
  }
  // Unset, the output may fill what there is; asked for, it must be possible.
  const int64_t wanted = request.stopping.max_tokens.has_value()
                             ? std::min(context, prompt_tokens + *request.stopping.max_tokens)
                             : std::max(prompt_tokens + 1, std::min(context, model.kv_tokens_max));
  if (wanted > model.kv_tokens_max) {
    return ErrorF(StatusCode::kResourceExhausted,
                  "%d tokens of prompt and output: the KV pool holds %d",
                  wanted,
                  model.kv_tokens_max);
  }
  return wanted;
}

}  // namespace inferd::engine_internal
