#include "daemon/messages.h"

#include "base/check.h"
#include "daemon/model_directory.h"
#include "inferd/v1/generation.pb.h"

namespace inferd {
namespace {

void Set(google::protobuf::Duration* out, Duration duration) {
  out->set_seconds(duration.count() / 1'000'000'000);
  out->set_nanos(static_cast<int32_t>(duration.count() % 1'000'000'000));
}

void FillLogprobs(const std::vector<SampledToken>& tokens, v1::Logprobs* out) {
  for (const SampledToken& token : tokens) {
    out->add_logprobs(token.logprob);
    out->set_top_count(static_cast<int32_t>(token.top.size()));
    for (const TokenLogprob& top : token.top) {
      out->add_top_token_ids(top.token);
      out->add_top_logprobs(top.logprob);
    }
  }
}

void FillOutput(const CallFacts& facts, int32_t index, PendingOutput&& pending, v1::Output* out) {
  out->set_index(index);
  if (facts.want_text) {
    out->set_text(std::move(pending.text));
  }
  if (facts.want_token_ids || facts.want_logprobs) {
    out->mutable_token_ids()->Add(pending.tokens.begin(), pending.tokens.end());
  }
  if (facts.want_logprobs) {
    FillLogprobs(pending.logprobs, out->mutable_logprobs());
  }
}

PendingOutput Take(ChoiceState& choice) {
  PendingOutput taken = std::move(choice.pending);
  choice.pending = PendingOutput();
  choice.first_sent = true;
  return taken;
}

}  // namespace

bool HasContent(const CallFacts& facts, const PendingOutput& output) {
  const bool tokens = facts.want_token_ids || facts.want_logprobs;
  return (facts.want_text && !output.text.empty()) || (tokens && !output.tokens.empty());
}

v1::GenerateStreamResponse StartedMessage(const GenerationCall& call) {
  v1::GenerateStreamResponse message;
  v1::Started* started = message.mutable_started();
  started->set_request_id(call.scope.request_id());
  started->mutable_model()->set_name(call.facts.model->name);
  started->mutable_model()->set_digest(DigestText(call.facts.model->digest));
  started->mutable_model()->set_version(call.facts.model->version);
  started->set_seed(call.facts.seed);
  started->set_prompt_tokens(call.facts.prompt_tokens);
  started->set_cached_tokens(call.started->usage.cached_tokens);
  Set(started->mutable_queue_time(), call.started->timings.queue);
  const ResidentModel& model = *call.facts.model;
  started->set_numerics_id(DigestText(model.numerics_id));
  if (model.chat_template != nullptr) {
    started->set_template_digest(DigestText(model.template_digest));
  }
  if (model.tokenizer != nullptr) {
    started->set_tokenizer_digest(DigestText(model.tokenizer_digest));
  }
  started->set_system_fingerprint(model.fingerprint);
  if (const auto& receipt = call.recorded.receipt; receipt.has_value()) {
    v1::AuditReceipt* audit = started->mutable_audit();
    audit->set_origin(receipt->origin);
    audit->set_index(receipt->index);
    audit->set_leaf_hash(DigestText(receipt->leaf_hash));
    audit->set_record_id(call.scope.rid());
    if (call.record.level == AuditLevel::kMetadata) {
      audit->set_salt(call.record.salt.data(), call.record.salt.size());
    }
  }
  return message;
}

v1::GenerateStreamResponse DeltaMessage(GenerationCall& call, int32_t index) {
  v1::GenerateStreamResponse message;
  ChoiceState& choice = call.choices[static_cast<size_t>(index)];
  FillOutput(call.facts, index, Take(choice), message.mutable_delta());
  return message;
}

v1::GenerateStreamResponse FinishedMessage(GenerationCall& call, int32_t index) {
  v1::GenerateStreamResponse message;
  v1::Finished* finished = message.mutable_finished();
  ChoiceState& choice = call.choices[static_cast<size_t>(index)];
  CHECK(choice.end.has_value());
  const GenerationEvent& end = *choice.end;
  finished->set_index(index);
  if (HasContent(call.facts, choice.pending)) {
    FillOutput(call.facts, index, Take(choice), finished->mutable_output());
  }
  finished->set_finish_reason(end.reason == FinishReason::kLength ? v1::FINISH_REASON_LENGTH
                                                                  : v1::FINISH_REASON_STOP);
  if (end.matched_stop_string.has_value()) {
    finished->set_matched_stop_string(
        call.facts.stop.at(static_cast<size_t>(*end.matched_stop_string)));
  } else if (end.matched_stop_token.has_value()) {
    finished->set_matched_stop_token_id(*end.matched_stop_token);
  }
  finished->mutable_usage()->set_prompt_tokens(end.usage.prompt_tokens);
  finished->mutable_usage()->set_cached_tokens(end.usage.cached_tokens);
  finished->mutable_usage()->set_output_tokens(end.usage.output_tokens);
  Set(finished->mutable_timings()->mutable_queue(), end.timings.queue);
  Set(finished->mutable_timings()->mutable_prefill(), end.timings.prefill);
  Set(finished->mutable_timings()->mutable_decode(), end.timings.decode);
  return message;
}

}  // namespace inferd
