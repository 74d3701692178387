#include "daemon/egress.h"

#include <algorithm>

#include "base/log.h"
#include "daemon/error_map.h"
#include "daemon/messages.h"
#include "inferd/v1/generation.pb.h"

namespace inferd {
namespace {

// The status of a call whose choice ended without an answer.
Status StatusOfEnd(const GenerationEvent& end) {
  switch (end.reason) {
    case FinishReason::kStop:
    case FinishReason::kLength:
      return OkStatus();
    case FinishReason::kCancelled:
      return MakeError(Reason::kCancelled, "the generation was cancelled");
    case FinishReason::kDeadline:
      return MakeError(Reason::kDeadlineExceeded, "the deadline passed before the end");
    case FinishReason::kError:
      return end.error.code() == StatusCode::kUnavailable
                 ? MakeError(Reason::kDeviceLost, "the device failed")
                 : FromRoom(Status(StatusCode::kInternal, ""));
  }
  return MakeError(Reason::kEngineError, "the engine failed");
}

// When the choice's pending output is to be sent: at once, at a later time, or (max) when more
// comes.
TimePoint SendTime(const CallFacts& facts, const ChoiceState& choice, TimePoint now) {
  if (choice.end_sent) {
    return TimePoint::max();
  }
  if (choice.end.has_value()) {
    return now;
  }
  if (facts.whole || !HasContent(facts, choice.pending)) {
    return TimePoint::max();
  }
  const auto tokens = static_cast<int64_t>(choice.pending.tokens.size());
  if (!choice.first_sent || tokens >= facts.message_tokens_max) {
    return now;
  }
  return choice.pending.since + facts.message_delay_max;
}

}  // namespace

void Egress::HandleEvents(std::vector<GenerationEvent>&& events, TimePoint now) {
  touched_.clear();
  for (GenerationEvent& event : events) {
    const CallPtr call = registry_.Find(event.stream);
    if (call != nullptr && !call->closed) {
      HandleEvent(call, std::move(event), now);
      touched_.push_back(call);
    }
  }
  for (const CallPtr& call : touched_) {
    if (call->closed) {
      continue;
    }
    Pump(call, now);
    const bool behind = call->writing && !call->facts.whole &&
                        call->undelivered_tokens >= options_.undelivered_tokens_max;
    if (!call->closed && behind && !call->paused) {
      Pause(call, now);
    }
  }
  touched_.clear();
}

void Egress::HandleEvent(const CallPtr& call, GenerationEvent&& event, TimePoint now) {
  call->handed_over = true;
  if (call->choices.empty()) {
    call->choices.resize(static_cast<size_t>(call->facts.n));
    call->choices_open = call->facts.n;
  }
  if (event.kind == GenerationEvent::Kind::kStarted) {
    call->started = std::move(event);
    return;
  }
  const auto num_tokens = static_cast<int64_t>(event.tokens.size());
  call->undelivered_tokens += num_tokens;
  call->output_tokens += num_tokens;
  ChoiceState& choice = call->choices.at(static_cast<size_t>(event.choice));
  PendingOutput& pending = choice.pending;
  if (pending.text.empty() && pending.tokens.empty()) {
    pending.since = now;
  }
  pending.text += event.text;
  pending.tokens.insert(pending.tokens.end(), event.tokens.begin(), event.tokens.end());
  pending.logprobs.insert(pending.logprobs.end(),
                          std::make_move_iterator(event.logprobs.begin()),
                          std::make_move_iterator(event.logprobs.end()));
  if (event.kind != GenerationEvent::Kind::kFinished) {
    return;
  }
  if (event.reason == FinishReason::kError) {
    device_lost_ = device_lost_ || event.error.code() == StatusCode::kUnavailable;
    Log(LogLevel::kError,
        "engine error",
        {{"request_id", call->scope.request_id()}, {"error", std::string(Message(event.error))}});
  }
  if (const Status status = StatusOfEnd(event); !status.ok()) {
    Close(call, nullptr, status, !event.last, now);
    return;
  }
  choice.end = std::move(event);
}

void Egress::HandleHandOver(const CallPtr& call, const Status& status, TimePoint now) {
  call->handed_over = true;
  if (call->closed) {
    return;
  }
  if (!call->abort.ok()) {
    Close(call, nullptr, call->abort, true, now);
  } else if (!status.ok()) {
    Close(call, nullptr, status, false, now);
  } else {
    Pump(call, now);
  }
}

void Egress::HandleWriteDone(const CallPtr& call, bool ok, TimePoint now) {
  call->writing = false;
  if (call->closed) {
    Disarm(call);  // the reader took it after all; the status follows
    return;
  }
  if (!ok) {
    Close(call, nullptr, MakeError(Reason::kCancelled, "the caller left"), true, now);
    return;
  }
  call->undelivered_tokens -= call->writing_tokens;
  call->paused_since = now;
  if (call->paused && call->undelivered_tokens <= options_.undelivered_tokens_max / 2) {
    Resume(call);
  }
  Pump(call, now);
}

void Egress::HandleCancel(const CallPtr& call, TimePoint now) {
  Abort(call, MakeError(Reason::kCancelled, "the caller left"), now);
}

void Egress::AbortAll(const Status& status, TimePoint now) {
  for (const CallPtr& call : registry_.All()) {
    Abort(call, status, now);
  }
}

void Egress::Abort(const CallPtr& call, const Status& status, TimePoint now) {
  if (call->closed) {
    return;
  }
  if (call->handed_over) {
    Close(call, nullptr, status, true, now);
    return;
  }
  // The ingress worker still uses it. Leaving makes its Submit fail; the hand-over then closes.
  if (call->abort.ok()) {
    call->abort = status;
  }
  registry_.Leave(call, true);
}

void Egress::Close(const CallPtr& call,
                   const v1::GenerateStreamResponse* last,
                   const Status& status,
                   bool cancel,
                   TimePoint now) {
  Disarm(call);
  if (call->writing) {
    // The status waits behind a message that may never be taken.
    Arm(call, now + options_.slow_reader_timeout);
  }
  if (call->paused) {
    paused_sequences_ -= call->facts.n;
    call->paused = false;
  }
  call->closed = true;
  registry_.Leave(call, cancel);
  call->scope.set_tokens(call->facts.prompt_tokens, call->output_tokens);
  call->scope.End(status);
  call->writer->Finish(last, status);
}

void Egress::Pump(const CallPtr& call, TimePoint now) {
  if (call->closed || call->writing || !call->started.has_value()) {
    return;
  }
  if (!call->started_sent) {
    call->started_sent = true;
    Write(call, StartedMessage(*call), 0, now);
    return;
  }
  TimePoint soonest = TimePoint::max();
  const size_t num_choices = call->choices.size();
  for (size_t i = 0; i < num_choices; ++i) {
    const size_t index = (call->next_choice + i) % num_choices;
    ChoiceState& choice = call->choices[index];
    const TimePoint when = SendTime(call->facts, choice, now);
    if (when > now) {
      soonest = std::min(soonest, when);
      continue;
    }
    call->next_choice = (index + 1) % num_choices;
    const auto tokens = static_cast<int64_t>(choice.pending.tokens.size());
    if (!choice.end.has_value()) {
      Write(call, DeltaMessage(*call, static_cast<int32_t>(index)), tokens, now);
      return;
    }
    const v1::GenerateStreamResponse message = FinishedMessage(*call, static_cast<int32_t>(index));
    choice.end_sent = true;
    if (--call->choices_open == 0) {
      Close(call, &message, OkStatus(), false, now);
    } else {
      Write(call, message, tokens, now);
    }
    return;
  }
  Arm(call, soonest);
}

void Egress::Write(const CallPtr& call,
                   const v1::GenerateStreamResponse& message,
                   int64_t tokens,
                   TimePoint now) {
  call->writing = true;
  call->write_start = now;
  call->writing_tokens = tokens;
  Arm(call, now + options_.stall_max);
  call->writer->Write(message);
}

void Egress::Pause(const CallPtr& call, TimePoint now) {
  call->paused = true;
  call->paused_since = now;
  paused_sequences_ += call->facts.n;
  call->backend->Pause(call->handle);
  Arm(call, now + options_.slow_reader_timeout);
}

void Egress::Resume(const CallPtr& call) {
  call->paused = false;
  paused_sequences_ -= call->facts.n;
  call->backend->Resume(call->handle);
}

void Egress::Arm(const CallPtr& call, TimePoint when) {
  Disarm(call);
  if (when != TimePoint::max()) {
    call->timer = timers_.emplace(when, call);
  }
}

void Egress::Disarm(const CallPtr& call) {
  if (call->timer.has_value()) {
    timers_.erase(*call->timer);
    call->timer.reset();
  }
}

TimePoint Egress::RunTimers(TimePoint now) {
  while (!timers_.empty() && timers_.begin()->first <= now) {
    const CallPtr call = timers_.begin()->second;
    Disarm(call);
    FireTimer(call, now);
  }
  return timers_.empty() ? TimePoint::max() : timers_.begin()->first;
}

void Egress::FireTimer(const CallPtr& call, TimePoint now) {
  if (call->closed) {
    call->writer->Kill();
    return;
  }
  if (!call->writing) {
    Pump(call, now);
    return;
  }
  if (!call->paused) {
    Pause(call, now);
  } else if (now >= call->paused_since + options_.slow_reader_timeout) {
    Abort(call, MakeError(Reason::kSlowConsumer, "the reader took nothing for too long"), now);
  } else {
    Arm(call, call->paused_since + options_.slow_reader_timeout);
  }
}

}  // namespace inferd
