// GenerationState: what the engine knows of one request while it runs: for each choice its text,
// its stops and its counts.
#pragma once

#include <cstdint>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "engine/engine.h"
#include "text/incremental_detokenizer.h"
#include "text/stop_matcher.h"

namespace inferd::engine_internal {

// One choice. Engine thread only. Invariant: after Accept returned true or End was called, it is
// done and nothing else is called.
class ChoiceState {
 public:
  // Both outlive the choice. `tokens_max`: prompt and output together.
  ChoiceState(const GenerationRequest& request, const ResidentModel& model, int64_t tokens_max);

  // Takes the token that was drawn and fills what it means into the event: text, tokens, and, if
  // the choice ends with it, kind kFinished and the reason. True if it ends.
  bool Accept(SampledToken&& sampled, GenerationEvent& event);
  // Ends the choice from outside; the event takes the text that was held back.
  void End(FinishReason reason, GenerationEvent& event);

  // True if end tokens and stop ids must not be drawn so many tokens ahead of the next one.
  bool below_min_tokens(int32_t ahead) const {
    return output_tokens_ + ahead < request_.stopping.min_tokens;
  }
  int32_t output_tokens() const { return output_tokens_; }
  bool done() const { return done_; }

 private:
  bool IsEndToken(TokenId token) const;
  // Text that is certain now, and maybe the stop string that it completes.
  std::string AddText(std::string_view piece, GenerationEvent& event);
  // Everything held back.
  std::string Flush(GenerationEvent& event);

  const GenerationRequest& request_;
  const ResidentModel& model_;
  const int64_t output_tokens_max_;
  std::optional<IncrementalDetokenizer> detokenizer_;  // if anyone wants the text
  std::optional<StopMatcher> stop_matcher_;            // if there are stop strings
  int32_t output_tokens_ = 0;
  bool done_ = false;
};

// One request: its choices, and the times that are reported. Engine thread only; at a stable
// address, since its choices refer to its request.
struct GenerationState {
  struct Choice {
    explicit Choice(ChoiceState choice_state) : state(std::move(choice_state)) {}
    ChoiceState state;
    SequenceId sequence;
    std::optional<TimePoint> first_planned;
    std::optional<TimePoint> first_token;
    int32_t cached_tokens = 0;
  };

  StreamHandle stream = 0;
  GenerationRequest request;
  std::shared_ptr<const ResidentModel> model;
  std::vector<TokenId> suppressed;  // below min_tokens
  std::vector<Choice> choices;
  int32_t num_open = 0;  // choices that are not done
  bool started = false;  // kStarted is out
  // Of a public prefix: told when it is computed; its events stay inside.
  std::shared_ptr<std::promise<Status>> registration;
};

// With one choice for each of request.n, none submitted yet.
std::unique_ptr<GenerationState> MakeGenerationState(StreamHandle stream,
                                                     GenerationRequest request,
                                                     std::shared_ptr<const ResidentModel> model,
                                                     int64_t tokens_max);

}  // namespace inferd::engine_internal
