#include "daemon/replay_record.h"

#include <algorithm>

#include "daemon/model_directory.h"

namespace inferd {
namespace {

v1::FinishReason WireReason(const std::optional<FinishReason>& finish) {
  if (finish == FinishReason::kStop) {
    return v1::FINISH_REASON_STOP;
  }
  return finish == FinishReason::kLength ? v1::FINISH_REASON_LENGTH : v1::FINISH_REASON_UNSPECIFIED;
}

void FillSampling(const GenerationRequest& request, v1::SamplingParams* out) {
  const SamplingParams& in = request.sampling;
  out->set_temperature(in.temperature);
  out->set_top_p(in.top_p);
  out->set_top_k(in.top_k);
  out->set_min_p(in.min_p);
  out->set_repetition_penalty(in.repetition_penalty);
  out->set_presence_penalty(in.presence_penalty);
  out->set_frequency_penalty(in.frequency_penalty);
  out->set_seed(in.seed);
  out->set_n(request.n);
  for (const auto& [token, bias] : in.logit_bias) {
    (*out->mutable_logit_bias())[token] = bias;
  }
}

void FillStopping(const StoppingParams& in, v1::StoppingParams* out) {
  if (in.max_tokens.has_value()) {
    out->set_max_tokens(*in.max_tokens);
  }
  out->set_min_tokens(in.min_tokens);
  out->mutable_stop()->Add(in.stop.begin(), in.stop.end());
  out->mutable_stop_token_ids()->Add(in.stop_token_ids.begin(), in.stop_token_ids.end());
  out->set_ignore_eos(in.ignore_eos);
  out->set_include_stop(in.include_stop);
}

}  // namespace

v1::ReplayRecord MakeReplayRecord(const PreparedGeneration& prepared) {
  const GenerationRequest& request = prepared.request;
  const ResidentModel& model = *prepared.facts.model;
  v1::ReplayRecord record;
  record.set_model_digest(DigestText(model.digest));
  record.set_numerics_id(DigestText(model.numerics_id));
  record.set_model_name(model.name);
  record.mutable_prompt()->Add(request.prompt->begin(), request.prompt->end());
  FillSampling(request, record.mutable_sampling());
  FillStopping(request.stopping, record.mutable_stopping());
  record.set_text(request.want_text);
  record.set_control_tokens(request.show_control);
  record.set_text_start(request.text_start);
  return record;
}

std::string FinishReplayRecord(const v1::ReplayRecord& request,
                               const std::vector<AnsweredChoice>& choices) {
  v1::ReplayRecord record = request;
  for (const AnsweredChoice& choice : choices) {
    v1::ReplayChoice* out = record.add_choices();
    out->mutable_tokens()->Add(choice.tokens.begin(), choice.tokens.end());
    out->set_finish(WireReason(choice.finish));
  }
  return record.SerializeAsString();
}

StatusOr<v1::ReplayRecord> ParseReplayRecord(std::string_view bytes) {
  v1::ReplayRecord record;
  if (!record.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return ErrorF(StatusCode::kDataLoss, "what was kept for the replay is no record");
  }
  return record;
}

int64_t TokensOf(const v1::ReplayRecord& record) {
  int32_t longest = 0;
  for (const v1::ReplayChoice& choice : record.choices()) {
    longest = std::max(longest, choice.tokens_size());
  }
  return int64_t{record.prompt_size()} + longest;
}

ReplayComparison CompareReplay(const v1::ReplayRecord& record,
                               const std::vector<AnsweredChoice>& again) {
  ReplayComparison found;
  for (int32_t i = 0; i < record.choices_size(); ++i) {
    const v1::ReplayChoice& then = record.choices(i);
    const bool whole = then.finish() != v1::FINISH_REASON_UNSPECIFIED;
    const AnsweredChoice now =
        static_cast<size_t>(i) < again.size() ? again[static_cast<size_t>(i)] : AnsweredChoice();
    const auto [at, other] = std::mismatch(
        then.tokens().begin(), then.tokens().end(), now.tokens.begin(), now.tokens.end());
    const auto same = static_cast<int32_t>(at - then.tokens().begin());
    found.tokens += static_cast<uint64_t>(same);
    const bool equal = same == then.tokens_size() &&
                       (!whole || (now.tokens.size() == static_cast<size_t>(then.tokens_size()) &&
                                   WireReason(now.finish) == then.finish()));
    if (!equal) {
      found.result = v1::REPLAY_RESULT_DIFFERS;
      found.first_diff = {.choice = i, .token = same};
      return found;
    }
    if (!whole) {
      found.result = v1::REPLAY_RESULT_PREFIX_MATCH;
    }
  }
  return found;
}

}  // namespace inferd
