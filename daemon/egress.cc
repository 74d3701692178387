#include "daemon/egress.h"

#include <algorithm>
#include <set>

#include "base/little_endian.h"
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

// Keeps the output for the record's commitment, as generation.proto says it is made.
void KeepContent(const CallFacts& facts, const GenerationEvent& event, std::string& content) {
  if (facts.want_text) {
    content += event.text;
    return;
  }
  for (const TokenId id : event.tokens) {
    AppendLittleEndian(static_cast<uint32_t>(id), content);
  }
}

// Tokens that a lease is for: how far a request runs on after a limit was closed.
constexpr uint64_t kLeaseTokens = 64;

// Once for each call; more change nothing.
void SettleQuota(GenerationCall& call) {
  if (call.governed.reservation.open()) {
    const int64_t cached = call.started.has_value() ? call.started->usage.cached_tokens : 0;
    const QuotaActual actual = {.in = static_cast<uint64_t>(call.facts.prompt_tokens),
                                .cached = static_cast<uint64_t>(cached),
                                .out = static_cast<uint64_t>(call.output_tokens)};
    call.governed.settled = call.governed.reservation.Settle(actual).charged;
  }
}

// For a call whose admitted leaf may yet come: if nothing ends it then, the log has it in full too.
void ChargeInFull(GenerationCall& call) {
  QuotaReservation& reservation = call.governed.reservation;
  if (reservation.open()) {
    const QuotaAmounts& bound = reservation.upper_bound();
    call.governed.settled =
        reservation.Settle({.in = bound.in, .out = bound.out, .micro = bound.micro}).charged;
  }
}

CallOutcome OutcomeOf(const GenerationCall& call, TimePoint now) {
  CallOutcome outcome;
  outcome.status = call.recorded.status;
  outcome.admitted = *call.recorded.receipt;
  outcome.prompt_tokens = static_cast<uint64_t>(call.facts.prompt_tokens);
  outcome.output_tokens = static_cast<uint64_t>(call.output_tokens);
  outcome.total = now - call.scope.start();
  if (call.started.has_value()) {
    outcome.queue = call.started->timings.queue;
    outcome.cached_tokens = static_cast<uint64_t>(call.started->usage.cached_tokens);
  }
  std::set<std::string_view> finishes;
  for (const ChoiceState& choice : call.choices) {
    if (call.record.level != AuditLevel::kNone) {
      AppendLittleEndian(static_cast<uint32_t>(choice.content.size()), outcome.content);
      outcome.content += choice.content;
      AnsweredChoice& answered = outcome.choices.emplace_back();
      answered.tokens = choice.tokens;
      if (choice.end.has_value()) {
        answered.finish = choice.end->reason;
      }
    }
    if (choice.end.has_value()) {
      outcome.first_token = choice.end->timings.queue + choice.end->timings.prefill;
      finishes.insert(choice.end->reason == FinishReason::kLength ? "length" : "stop");
    }
  }
  for (const std::string_view finish : finishes) {
    outcome.finish += (outcome.finish.empty() ? "" : "+") + std::string(finish);
  }
  return outcome;
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
    if (!HoldsLease(*call)) {
      Abort(call, MakeError(Reason::kTokenBudget, "a limit was closed meanwhile"), now);
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
  if (call->record.on && call->record.level != AuditLevel::kNone) {
    KeepContent(call->facts, event, choice.content);
    choice.tokens.insert(choice.tokens.end(), event.tokens.begin(), event.tokens.end());
  }
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
        {{"rid", call->scope.rid()}, {"error", std::string(Message(event.error))}});
  }
  if (const Status status = StatusOfEnd(event); !status.ok()) {
    Close(call, nullptr, status, !event.last, now);
    return;
  }
  choice.end = std::move(event);
}

bool Egress::HoldsLease(GenerationCall& call) {
  QuotaReservation& reservation = call.governed.reservation;
  if (!reservation.open()) {
    return true;
  }
  const auto spent = static_cast<uint64_t>(call.output_tokens);
  while (reservation.leased() < std::min(spent, reservation.upper_bound().out)) {
    if (reservation.Lease(kLeaseTokens) == 0) {
      return false;
    }
  }
  return true;
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
    if (!call->record.on || call->recorded.sent) {
      Disarm(call);  // the reader took it after all; the status follows
    }
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
  if (call->paused) {
    paused_sequences_ -= call->facts.n;
    call->paused = false;
  }
  call->closed = true;
  registry_.Leave(call, cancel);
  call->scope.set_tokens(call->facts.prompt_tokens, call->output_tokens);
  if (!call->record.on) {
    if (audit_ != nullptr && !call->replay) {
      audit_->Deny(*call, status);
    }
    SettleQuota(*call);
    SendEnd(call, last, status, nullptr, now);
    return;
  }
  call->recorded.status = status;
  if (last != nullptr) {
    call->recorded.last = std::make_shared<const v1::GenerateStreamResponse>(*last);
  }
  Arm(call, now + options_.record_wait);
  EndRecord(call, now);
}

void Egress::EndRecord(const CallPtr& call, TimePoint now) {
  RecordState& recorded = call->recorded;
  if (recorded.receipt.has_value() && !recorded.ending) {
    recorded.ending = true;
    SettleQuota(*call);  // the leaf says what it came to
    audit_->End(call, OutcomeOf(*call, now));
  } else if (!recorded.sent && (recorded.admitted || !recorded.lost.ok())) {
    EndWithoutRecord(call, now);
  }
}

void Egress::EndWithoutRecord(const CallPtr& call, TimePoint now) {
  const RecordState& recorded = call->recorded;
  if (!recorded.lost.ok()) {
    call->governed.reservation.Cancel();  // as the log has it: it was never admitted
  } else if (!recorded.admitted) {
    ChargeInFull(*call);
  } else {
    SettleQuota(*call);
  }
  if (call->record.mode == AuditMode::kBestEffort) {
    SendEnd(call, recorded.last.get(), recorded.status, nullptr, now);
  } else {
    const Status status = recorded.status.ok() ? MakeAuditLostError() : recorded.status;
    SendEnd(call, nullptr, status, nullptr, now);
  }
}

void Egress::SendEnd(const CallPtr& call,
                     const v1::GenerateStreamResponse* last,
                     const Status& status,
                     const AuditReceipt* record,
                     TimePoint now) {
  Disarm(call);
  if (call->writing) {
    // The status waits behind a message that may never be taken.
    Arm(call, now + options_.slow_reader_timeout);
  }
  call->recorded.sent = true;
  call->scope.End(status);
  call->writer->Finish(last, status, record);
}

void Egress::HandleAudited(const CallPtr& call,
                           AuditStage stage,
                           const StatusOr<AuditReceipt>& result,
                           TimePoint now) {
  RecordState& recorded = call->recorded;
  if (stage == AuditStage::kEnded) {
    if (recorded.sent) {
      return;  // it came too late
    }
    if (result.ok()) {
      SendEnd(call, recorded.last.get(), recorded.status, &*result, now);
    } else {
      EndWithoutRecord(call, now);
    }
    return;
  }
  if (result.ok()) {
    recorded.receipt = *result;
    recorded.admitted = true;
  } else if (call->record.mode == AuditMode::kBestEffort) {
    recorded.admitted = true;
  } else {
    recorded.lost = result.status();
  }
  if (call->closed) {
    EndRecord(call, now);
  } else if (!recorded.admitted) {
    Abort(call, MakeError(Reason::kAuditUnavailable, "the audit log takes no records now"), now);
  } else {
    Disarm(call);
    Pump(call, now);
  }
}

void Egress::Pump(const CallPtr& call, TimePoint now) {
  if (call->closed || call->writing) {
    return;
  }
  if (call->record.on && !call->recorded.admitted) {
    if (!call->timer.has_value()) {
      Arm(call, now + options_.record_wait);
    }
    return;
  }
  if (!call->started.has_value()) {
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
  if (call->closed && call->recorded.sent) {
    call->writer->Kill();
    return;
  }
  if (call->closed) {
    EndWithoutRecord(call, now);
    return;
  }
  if (call->record.on && !call->recorded.admitted) {
    ChargeInFull(*call);
    call->recorded.lost =
        MakeError(Reason::kAuditUnavailable, "the audit log did not answer in time");
    Abort(call, call->recorded.lost, now);
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
