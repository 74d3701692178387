#include "daemon/generation_request.h"

#include <algorithm>

#include "base/random.h"
#include "daemon/error_map.h"
#include "daemon/prompt.h"
#include "daemon/replay_record.h"
#include "inferd/v1/generation.pb.h"
#include "inferd/v1/replay.pb.h"
#include "text/stop_matcher.h"

namespace inferd {
namespace {

constexpr Duration kMessageDelayMax = std::chrono::seconds(10);

Status FillSampling(const v1::SamplingParams& in, int64_t vocab_size, GenerationRequest& out) {
  SamplingParams& sampling = out.sampling;
  const SamplingParams unset;
  sampling.temperature = in.has_temperature() ? in.temperature() : unset.temperature;
  sampling.top_p = in.has_top_p() ? in.top_p() : unset.top_p;
  sampling.top_k = in.has_top_k() ? in.top_k() : unset.top_k;
  sampling.min_p = in.has_min_p() ? in.min_p() : unset.min_p;
  sampling.repetition_penalty =
      in.has_repetition_penalty() ? in.repetition_penalty() : unset.repetition_penalty;
  sampling.presence_penalty =
      in.has_presence_penalty() ? in.presence_penalty() : unset.presence_penalty;
  sampling.frequency_penalty =
      in.has_frequency_penalty() ? in.frequency_penalty() : unset.frequency_penalty;
  sampling.seed = in.has_seed() ? in.seed() : RandomSeed();
  if (in.has_logprobs() && in.logprobs() < 0) {
    return MakeFieldError("sampling.logprobs",
                          absl::StrFormat("%d is not in [0, %d]", in.logprobs(), kLogprobsMax));
  }
  sampling.logprobs = in.has_logprobs() ? in.logprobs() : unset.logprobs;
  sampling.logit_bias.assign(in.logit_bias().begin(), in.logit_bias().end());
  std::sort(sampling.logit_bias.begin(), sampling.logit_bias.end());
  const Status status = FromRoom(Validate(sampling, vocab_size));
  if (!status.ok() && !FieldOf(status).empty()) {
    const std::string field = FieldOf(status);
    return MakeFieldError("sampling." + field, Message(status).substr(field.size() + 2));
  }
  RETURN_IF_ERROR(status);
  out.n = in.has_n() ? in.n() : 1;
  if (out.n < 1 || out.n > kChoicesMax) {
    return MakeFieldError("sampling.n",
                          absl::StrFormat("%d is not in [1, %d]", out.n, kChoicesMax));
  }
  return OkStatus();
}

Status FillStopping(const v1::StoppingParams& in, int64_t vocab_size, StoppingParams& out) {
  if (in.has_max_tokens()) {
    if (in.max_tokens() < 1) {
      return MakeFieldError("stopping.max_tokens",
                            absl::StrFormat("%d is less than 1", in.max_tokens()));
    }
    out.max_tokens = in.max_tokens();
  }
  if (in.min_tokens() < 0) {
    return MakeFieldError("stopping.min_tokens",
                          absl::StrFormat("%d is negative", in.min_tokens()));
  }
  out.min_tokens = in.min_tokens();
  if (static_cast<size_t>(in.stop_size()) > kStopStringsMax) {
    return MakeFieldError(
        "stopping.stop",
        absl::StrFormat("%d strings, at most %d are taken", in.stop_size(), kStopStringsMax));
  }
  for (const std::string& stop : in.stop()) {
    if (stop.empty() || stop.size() > kStopStringBytesMax) {
      return MakeFieldError("stopping.stop",
                            absl::StrFormat("a string has 1 to %d bytes", kStopStringBytesMax));
    }
    out.stop.push_back(stop);
  }
  if (static_cast<size_t>(in.stop_token_ids_size()) > kStopTokenIdsMax) {
    return MakeFieldError(
        "stopping.stop_token_ids",
        absl::StrFormat(
            "%d tokens, at most %d are taken", in.stop_token_ids_size(), kStopTokenIdsMax));
  }
  for (const int32_t token : in.stop_token_ids()) {
    if (token < 0 || token >= vocab_size) {
      return MakeFieldError(
          "stopping.stop_token_ids",
          absl::StrFormat("token %d is not in the vocabulary of %d", token, vocab_size));
    }
    out.stop_token_ids.push_back(token);
  }
  out.ignore_eos = in.ignore_eos();
  out.include_stop = in.include_stop();
  return OkStatus();
}

Status FillOutput(const v1::OutputOptions& in, const DeliveryDefaults& defaults, CallFacts& out) {
  out.want_text = in.has_text() ? in.text() : true;
  out.want_token_ids = in.token_ids();
  out.message_tokens_max = defaults.message_tokens_max;
  if (in.has_max_tokens_per_message()) {
    out.message_tokens_max = in.max_tokens_per_message();
    if (out.message_tokens_max < 1 || out.message_tokens_max > kMessageTokensMax) {
      return MakeFieldError(
          "output.max_tokens_per_message",
          absl::StrFormat("%d is not in [1, %d]", out.message_tokens_max, kMessageTokensMax));
    }
  }
  out.message_delay_max = defaults.message_delay_max;
  if (in.has_max_delay()) {
    // Bounded before it is multiplied.
    const int64_t seconds = std::clamp<int64_t>(in.max_delay().seconds(), -1, 1000);
    out.message_delay_max = std::chrono::seconds(seconds) + Duration(in.max_delay().nanos());
    if (out.message_delay_max < Duration(0) || out.message_delay_max > kMessageDelayMax) {
      return MakeFieldError("output.max_delay", "is not in [0 s, 10 s]");
    }
  }
  return OkStatus();
}

StatusOr<std::vector<TokenId>> TakeIds(const v1::TokenIds& in,
                                       const ResidentModel& model,
                                       PreparedGeneration& out) {
  for (const int32_t token : in.ids()) {
    if (token < 0 || token >= model.config.vocab_size) {
      return MakeFieldError(
          "token_ids",
          absl::StrFormat(
              "token %d is not in the vocabulary of %d", token, model.config.vocab_size));
    }
    for (int shift = 0; shift < 32; shift += 8) {
      out.prompt_content.push_back(static_cast<char>(token >> shift & 0xff));
    }
  }
  out.prompt_parts["token_ids"] = 1;
  return std::vector<TokenId>(in.ids().begin(), in.ids().end());
}

// The prompt's tokens; its content and parts go into `out`.
template <typename Request>
StatusOr<std::vector<TokenId>> MakePrompt(const Request& request,
                                          const ResidentModel& model,
                                          PreparedGeneration& out) {
  switch (request.prompt_case()) {
    case Request::kText:
      out.prompt_content = request.text();
      out.prompt_parts["text"] = 1;
      return EncodeText(model, request.text(), SpecialTokens::kAsText, model.add_bos);
    case Request::kChat: {
      ASSIGN_OR_RETURN(ChatEncoding chat, EncodeChat(model, request.chat()));
      out.prompt_content = std::move(chat.text);
      for (const v1::ChatMessage& message : request.chat().messages()) {
        // Templates take a few known roles alone (RenderPieces): a role is no free text.
        ++out.prompt_parts[message.role()];
      }
      return std::move(chat.tokens);
    }
    case Request::kTokenIds:
      return TakeIds(request.token_ids(), model, out);
    case Request::PROMPT_NOT_SET:
      break;
  }
  return MakeFieldError("prompt", "set one of text, token_ids and chat");
}

Status CheckLength(const ResidentModel& model, size_t prompt_tokens) {
  if (prompt_tokens == 0) {
    return MakeFieldError("prompt", "is empty; the model needs at least one token to go on from");
  }
  // One position is left for the first output token.
  const int64_t room = std::min(model.config.context_tokens_max, model.kv_tokens_max) - 1;
  if (static_cast<int64_t>(prompt_tokens) > room) {
    return MakeError(
        Reason::kContextLengthExceeded,
        absl::StrFormat(
            "the prompt has %d tokens; model %s takes %d", prompt_tokens, model.name, room));
  }
  return OkStatus();
}

// The two request messages have the same fields.
template <typename Request>
StatusOr<PreparedGeneration> PrepareAny(const Request& request,
                                        const ModelResolver& models,
                                        const TenantId& tenant,
                                        const DeliveryDefaults& defaults) {
  PreparedGeneration prepared;
  CallFacts& facts = prepared.facts;
  GenerationRequest& out = prepared.request;
  RETURN_IF_ERROR(CheckEndUser(request.end_user()));
  if (request.session_id().size() > kSessionIdBytesMax) {
    return MakeFieldError("session_id", absl::StrFormat("is at most %d bytes", kSessionIdBytesMax));
  }
  ASSIGN_OR_RETURN(
      facts.model,
      models.Resolve(
          {.reference = request.model(), .tenant = tenant, .session = request.session_id()}));
  const ResidentModel& model = *facts.model;
  if (request.has_expected_digest()) {
    RETURN_IF_ERROR(CheckDigest(model, request.expected_digest(), "expected_digest"));
  }
  RETURN_IF_ERROR(FillSampling(request.sampling(), model.config.vocab_size, out));
  RETURN_IF_ERROR(FillStopping(request.stopping(), model.config.vocab_size, out.stopping));
  RETURN_IF_ERROR(FillOutput(request.output(), defaults, facts));
  ASSIGN_OR_RETURN(std::vector<TokenId> prompt, MakePrompt(request, model, prepared));
  RETURN_IF_ERROR(CheckLength(model, prompt.size()));
  facts.seed = out.sampling.seed;
  facts.prompt_tokens = static_cast<int32_t>(prompt.size());
  facts.n = out.n;
  facts.want_logprobs = out.sampling.logprobs >= 0;
  facts.stop = out.stopping.stop;
  out.model = model.slot;
  out.text_start = request.has_text() && request.text().empty();
  out.prompt = std::make_shared<const std::vector<TokenId>>(std::move(prompt));
  out.want_text = facts.want_text;
  out.show_control = request.output().show_control_tokens();
  return prepared;
}

// Enough output for a comparison: where a choice ended by its length, that; else one more than the
// longest, so that a choice that goes on too long is seen to.
int32_t ReplayTokensMax(const v1::ReplayRecord& record, const ResidentModel& model) {
  const bool by_length = std::any_of(
      record.choices().begin(), record.choices().end(), [](const v1::ReplayChoice& choice) {
        return choice.finish() == v1::FINISH_REASON_LENGTH;
      });
  int64_t most = TokensOf(record) - record.prompt_size() + (by_length ? 0 : 1);
  if (record.stopping().has_max_tokens()) {
    most = std::min<int64_t>(most, record.stopping().max_tokens());
  }
  const int64_t room =
      std::min(model.config.context_tokens_max, model.kv_tokens_max) - record.prompt_size();
  most = std::max<int64_t>(most, record.stopping().min_tokens());
  return static_cast<int32_t>(std::max<int64_t>(std::min(most, room), 1));
}

}  // namespace

Status CheckRequestId(std::string_view id) {
  const auto printable = [](char c) { return c > ' ' && c <= '~'; };
  if (id.size() > kRequestIdBytesMax || !std::all_of(id.begin(), id.end(), printable)) {
    return MakeFieldError("request_id",
                          absl::StrFormat("is at most %d bytes of printable ASCII without spaces",
                                          kRequestIdBytesMax));
  }
  return OkStatus();
}

Status CheckEndUser(std::string_view end_user) {
  return end_user.size() > kEndUserBytesMax
             ? MakeFieldError("end_user", absl::StrFormat("is at most %d bytes", kEndUserBytesMax))
             : OkStatus();
}

StatusOr<PreparedGeneration> Prepare(const v1::GenerateRequest& request,
                                     const ModelResolver& models,
                                     const TenantId& tenant,
                                     const DeliveryDefaults& defaults) {
  auto prepared = PrepareAny(request, models, tenant, defaults);
  if (prepared.ok()) {
    prepared->facts.whole = true;
  }
  return prepared;
}

StatusOr<PreparedGeneration> Prepare(const v1::GenerateStreamRequest& request,
                                     const ModelResolver& models,
                                     const TenantId& tenant,
                                     const DeliveryDefaults& defaults) {
  return PrepareAny(request, models, tenant, defaults);
}

StatusOr<PreparedGeneration> PrepareReplay(const v1::ReplayRecord& record,
                                           std::shared_ptr<const ResidentModel> model) {
  const auto damaged = [](const Status& status) {
    return ErrorF(StatusCode::kDataLoss, "the replay record is not sound: %s", Message(status));
  };
  PreparedGeneration prepared;
  CallFacts& facts = prepared.facts;
  GenerationRequest& out = prepared.request;
  facts.model = std::move(model);
  const int64_t vocab_size = facts.model->config.vocab_size;
  Status status = FillSampling(record.sampling(), vocab_size, out);
  if (status.ok()) {
    status = FillStopping(record.stopping(), vocab_size, out.stopping);
  }
  v1::TokenIds ids;
  *ids.mutable_ids() = record.prompt();
  auto prompt = TakeIds(ids, *facts.model, prepared);
  if (!status.ok() || !prompt.ok() || !record.sampling().has_seed()) {
    return damaged(!status.ok() ? status : prompt.status());
  }
  RETURN_IF_ERROR(CheckLength(*facts.model, prompt->size()));
  out.stopping.max_tokens = ReplayTokensMax(record, *facts.model);
  facts.seed = out.sampling.seed;
  facts.prompt_tokens = record.prompt_size();
  facts.n = out.n;
  facts.want_text = record.text();
  facts.want_token_ids = true;
  facts.whole = true;
  facts.stop = out.stopping.stop;
  out.model = facts.model->slot;
  out.text_start = record.text_start();
  out.want_text = record.text();
  out.show_control = record.control_tokens();
  out.use_prefix_cache = false;  // from the beginning, whatever is kept
  out.prompt = std::make_shared<const std::vector<TokenId>>(*std::move(prompt));
  return prepared;
}

QuotaAmounts UpperBoundOf(const CallFacts& facts, const GenerationRequest& request) {
  const int64_t room = facts.model->config.context_tokens_max - facts.prompt_tokens;
  const int64_t out = std::min<int64_t>(request.stopping.max_tokens.value_or(room), room);
  QuotaAmounts amounts{.in = static_cast<uint64_t>(facts.prompt_tokens),
                       .out = static_cast<uint64_t>(std::max<int64_t>(out, 0) * request.n),
                       .conc = 1};
  amounts.kv = amounts.in + amounts.out;
  return amounts;
}

}  // namespace inferd
