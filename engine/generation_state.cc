#include "engine/generation_state.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace inferd::engine_internal {
namespace {

bool Contains(const std::vector<TokenId>& tokens, TokenId token) {
  return std::find(tokens.begin(), tokens.end(), token) != tokens.end();
}

}  // namespace

ChoiceState::ChoiceState(const GenerationRequest& request,
                         const ResidentModel& model,
                         int64_t tokens_max)
    : request_(request),
      model_(model),
      output_tokens_max_(tokens_max - static_cast<int64_t>(request.prompt->size())) {
  const StoppingParams& stopping = request.stopping;
  if (model.tokenizer != nullptr && (request.want_text || !stopping.stop.empty())) {
    detokenizer_.emplace(*model.tokenizer, request.show_control, request.text_start);
  }
  if (!stopping.stop.empty()) {
    stop_matcher_.emplace(stopping.stop, stopping.include_stop);
  }
}

bool ChoiceState::IsEndToken(TokenId token) const {
  return Contains(request_.stopping.stop_token_ids, token) ||
         (!request_.stopping.ignore_eos && Contains(model_.end_tokens, token));
}

bool ChoiceState::Accept(SampledToken&& sampled, GenerationEvent& event) {
  CHECK(!done_);
  const TokenId token = sampled.token;
  ++output_tokens_;
  event.kind = GenerationEvent::Kind::kDelta;
  event.tokens.push_back(token);
  if (request_.sampling.logprobs >= 0) {
    event.logprobs.push_back(std::move(sampled));
  }
  std::optional<FinishReason> reason;
  std::string text;
  if (IsEndToken(token)) {
    reason = FinishReason::kStop;
    event.matched_stop_token = token;
    if (detokenizer_.has_value() && request_.stopping.include_stop) {
      text = AddText(detokenizer_->Add(token), event);
    }
  } else if (detokenizer_.has_value()) {
    text = AddText(detokenizer_->Add(token), event);
  }
  if (event.matched_stop_string.has_value()) {
    reason = FinishReason::kStop;
  } else if (!reason.has_value() && output_tokens_ >= output_tokens_max_) {
    reason = FinishReason::kLength;
  }
  if (request_.want_text) {
    event.text = std::move(text);
  }
  if (!reason.has_value()) {
    return false;
  }
  End(*reason, event);
  return true;
}

void ChoiceState::End(FinishReason reason, GenerationEvent& event) {
  CHECK(!done_);
  done_ = true;
  if (detokenizer_.has_value() && !event.matched_stop_string.has_value()) {
    const std::string rest = Flush(event);
    if (request_.want_text) {
      event.text += rest;
    }
  }
  event.kind = GenerationEvent::Kind::kFinished;
  event.reason = reason;
  event.usage = {.prompt_tokens = static_cast<int32_t>(request_.prompt->size()),
                 .output_tokens = output_tokens_};
}

std::string ChoiceState::AddText(std::string_view piece, GenerationEvent& event) {
  if (!stop_matcher_.has_value() || output_tokens_ < request_.stopping.min_tokens) {
    return std::string(piece);
  }
  StopMatcher::Result result = stop_matcher_->Add(piece);
  event.matched_stop_string = result.matched;
  return std::move(result.text);
}

// The end of the text is certain: what is left is no stop string, however it began.
std::string ChoiceState::Flush(GenerationEvent& event) {
  std::string rest = AddText(detokenizer_->Finish(), event);
  if (stop_matcher_.has_value() && !event.matched_stop_string.has_value()) {
    rest += stop_matcher_->Finish();
  }
  return rest;
}

std::unique_ptr<GenerationState> MakeGenerationState(StreamHandle stream,
                                                     GenerationRequest request,
                                                     std::shared_ptr<const ResidentModel> model,
                                                     int64_t tokens_max) {
  auto generation = std::make_unique<GenerationState>();
  generation->stream = stream;
  generation->request = std::move(request);
  generation->model = std::move(model);
  const StoppingParams& stopping = generation->request.stopping;
  generation->suppressed = stopping.stop_token_ids;
  if (!stopping.ignore_eos) {
    const std::vector<TokenId>& ends = generation->model->end_tokens;
    generation->suppressed.insert(generation->suppressed.end(), ends.begin(), ends.end());
  }
  generation->num_open = generation->request.n;
  for (int32_t choice = 0; choice < generation->request.n; ++choice) {
    generation->choices.emplace_back(
        ChoiceState(generation->request, *generation->model, tokens_max));
  }
  return generation;
}

}  // namespace inferd::engine_internal
