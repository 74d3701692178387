// Goal: messages come in the documented order, tokens are put together as the settings say, and no
// reader holds up another. Method: the pure Egress with a scripted engine, writer and clock.
#include "daemon/egress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "daemon/error_map.h"
#include "inferd/v1/generation.pb.h"

namespace inferd {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class FakeBackend final : public GenerationBackend {
 public:
  StatusOr<StreamHandle> Submit(GenerationRequest /*request*/) override { return ++last_; }
  void Cancel(StreamHandle stream) override { cancelled.push_back(stream); }
  void Pause(StreamHandle stream) override { paused.push_back(stream); }
  void Resume(StreamHandle stream) override { resumed.push_back(stream); }
  EngineStats stats() const override { return {}; }

  std::vector<StreamHandle> cancelled, paused, resumed;

 private:
  StreamHandle last_ = 0;
};

// "started", "delta 0 'ab' 2" (index, text, tokens), "finished 0 'c' 1".
std::string Describe(const v1::GenerateStreamResponse& message) {
  const auto describe = [](const char* kind, int index, const v1::Output& output) {
    return absl::StrFormat("%s %d '%s' %d", kind, index, output.text(), output.token_ids_size());
  };
  if (message.has_started()) {
    return "started";
  }
  return message.has_delta()
             ? describe("delta", message.delta().index(), message.delta())
             : describe("finished", message.finished().index(), message.finished().output());
}

class FakeWriter final : public CallWriter {
 public:
  void Write(const v1::GenerateStreamResponse& message) override {
    EXPECT_FALSE(finished);
    sent.push_back(Describe(message));
  }
  void Finish(const v1::GenerateStreamResponse* last,
              const Status& end,
              const AuditReceipt* record) override {
    EXPECT_FALSE(finished) << "Finish twice";
    has_record = record != nullptr;
    finished = true;
    status = end;
    if (last != nullptr) {
      sent.push_back(Describe(*last));
    }
  }
  void Kill() override { killed = true; }

  // What was sent since the last call.
  std::vector<std::string> Take() { return std::exchange(sent, {}); }

  std::vector<std::string> sent;
  bool finished = false;
  bool killed = false;
  bool has_record = false;
  Status status;
};

// Remembers what is asked of it; the test answers.
class FakeAudit final : public CallAudit {
 public:
  void End(const CallPtr& call, CallOutcome outcome) override {
    ended.emplace_back(call, std::move(outcome));
  }
  void Deny(const GenerationCall&, const Status& status) override {
    denied.emplace_back(Name(ReasonOf(status)));
  }
  std::vector<std::pair<CallPtr, CallOutcome>> ended;
  std::vector<std::string> denied;
};

GenerationEvent Event(const CallPtr& call, GenerationEvent::Kind kind) {
  GenerationEvent event;
  event.stream = call->handle;
  event.kind = kind;
  return event;
}

class EgressTest : public ::testing::Test {
 protected:
  CallPtr Open(int64_t message_tokens_max = 1,
               int32_t n = 1,
               bool recorded = false,
               const char* tenant = "local") {
    auto writer = std::make_shared<FakeWriter>();
    CallScope scope(clock_, "Test", "test", Caller{.tenant = TenantId(tenant)});
    auto call = std::make_shared<GenerationCall>(std::move(scope), writer);
    EXPECT_TRUE(registry_.Enter(call).ok());
    EXPECT_TRUE(registry_.ClaimId(call).ok());
    auto model = std::make_shared<ResidentModel>();
    model->name = "tiny";
    call->facts.model = std::move(model);
    call->facts.n = n;
    call->record.on = recorded;
    call->facts.want_token_ids = true;
    call->facts.message_tokens_max = message_tokens_max;
    call->facts.message_delay_max = std::chrono::milliseconds(20);
    EXPECT_TRUE(registry_.Submit(call, backend_, {}).ok());
    egress_.HandleHandOver(call, OkStatus(), Now());
    return call;
  }
  static FakeWriter& Writer(const CallPtr& call) { return static_cast<FakeWriter&>(*call->writer); }
  TimePoint Now() const { return clock_.Now(); }

  void Publish(GenerationEvent event) {
    std::vector<GenerationEvent> events;
    events.push_back(std::move(event));
    egress_.HandleEvents(std::move(events), Now());
  }
  void PublishStarted(const CallPtr& call) {
    Publish(Event(call, GenerationEvent::Kind::kStarted));
  }
  void PublishToken(const CallPtr& call, const std::string& text, int32_t choice = 0) {
    GenerationEvent event = Event(call, GenerationEvent::Kind::kDelta);
    event.choice = choice;
    event.text = text;
    event.tokens = {7};
    Publish(std::move(event));
  }
  void PublishEnd(const CallPtr& call, const std::string& text, int32_t choice = 0) {
    GenerationEvent event = Event(call, GenerationEvent::Kind::kFinished);
    event.choice = choice;
    event.text = text;
    event.tokens = {8};
    Publish(std::move(event));
  }
  void Delivered(const CallPtr& call) { egress_.HandleWriteDone(call, true, Now()); }
  void Advance(Duration by) {
    clock_.Advance(by);
    egress_.RunTimers(Now());
  }
  // Started was sent and taken.
  CallPtr OpenStarted(int64_t message_tokens_max = 1, int32_t n = 1) {
    CallPtr call = Open(message_tokens_max, n);
    PublishStarted(call);
    EXPECT_THAT(Writer(call).Take(), ElementsAre("started"));
    Delivered(call);
    return call;
  }

  static constexpr Duration kStall = std::chrono::seconds(10);
  static constexpr Duration kTimeout = std::chrono::seconds(30);
  static constexpr Duration kRecordWait = std::chrono::seconds(2);
  ManualClock clock_;
  QuotaLedger ledger_{QuotaLedgerOptions{.clock = &clock_}};
  FakeBackend backend_;
  StreamRegistry registry_{8};
  FakeAudit audit_;
  Egress egress_{registry_,
                 &audit_,
                 {.undelivered_tokens_max = 4,
                  .stall_max = kStall,
                  .slow_reader_timeout = kTimeout,
                  .record_wait = kRecordWait}};
};

TEST_F(EgressTest, StartedThenDeltasThenTheEndWithTheLastTokens) {
  const CallPtr call = OpenStarted();
  PublishToken(call, "a");
  EXPECT_THAT(Writer(call).Take(), ElementsAre("delta 0 'a' 1"));
  Delivered(call);
  PublishEnd(call, "b");
  EXPECT_THAT(Writer(call).Take(), ElementsAre("finished 0 'b' 1"));
  EXPECT_TRUE(Writer(call).finished);
  EXPECT_TRUE(Writer(call).status.ok());
  EXPECT_EQ(registry_.size(), 0u);
  EXPECT_THAT(backend_.cancelled, IsEmpty());
}

TEST_F(EgressTest, NothingBeforeStarted) {
  const CallPtr call = Open();
  EXPECT_THAT(Writer(call).Take(), IsEmpty());
}

TEST_F(EgressTest, WhatComesDuringAWriteGoesTogether) {
  const CallPtr call = OpenStarted();
  PublishToken(call, "a");
  PublishToken(call, "b");
  PublishToken(call, "c");
  EXPECT_THAT(Writer(call).Take(), ElementsAre("delta 0 'a' 1"));
  Delivered(call);
  EXPECT_THAT(Writer(call).Take(), ElementsAre("delta 0 'bc' 2"));
}

TEST_F(EgressTest, TheFirstTokenNeverWaitsLaterOnesDo) {
  const CallPtr call = OpenStarted(3);
  PublishToken(call, "a");
  EXPECT_THAT(Writer(call).Take(), ElementsAre("delta 0 'a' 1"));
  Delivered(call);
  PublishToken(call, "b");
  PublishToken(call, "c");
  EXPECT_THAT(Writer(call).Take(), IsEmpty());
  PublishToken(call, "d");
  EXPECT_THAT(Writer(call).Take(), ElementsAre("delta 0 'bcd' 3"));
}

TEST_F(EgressTest, AWaitingTokenGoesAfterTheDelay) {
  const CallPtr call = OpenStarted(3);
  PublishToken(call, "a");
  Delivered(call);
  Writer(call).Take();
  PublishToken(call, "b");
  Advance(std::chrono::milliseconds(19));
  EXPECT_THAT(Writer(call).Take(), IsEmpty());
  Advance(std::chrono::milliseconds(1));
  EXPECT_THAT(Writer(call).Take(), ElementsAre("delta 0 'b' 1"));
}

TEST_F(EgressTest, TheEndDoesNotWait) {
  const CallPtr call = OpenStarted(100);
  PublishToken(call, "a");
  Delivered(call);
  Writer(call).Take();
  PublishToken(call, "b");
  PublishEnd(call, "c");
  EXPECT_THAT(Writer(call).Take(), ElementsAre("finished 0 'bc' 2"));
}

TEST_F(EgressTest, ChoicesTakeTurnsAndOkComesAfterTheLast) {
  const CallPtr call = OpenStarted(1, 2);
  PublishToken(call, "a", 0);
  PublishToken(call, "A", 1);
  PublishEnd(call, "b", 0);
  PublishToken(call, "B", 1);
  EXPECT_THAT(Writer(call).Take(), ElementsAre("delta 0 'a' 1"));
  Delivered(call);
  EXPECT_THAT(Writer(call).Take(), ElementsAre("delta 1 'AB' 2"));
  Delivered(call);
  EXPECT_THAT(Writer(call).Take(), ElementsAre("finished 0 'b' 1"));
  EXPECT_FALSE(Writer(call).finished);
  Delivered(call);
  PublishEnd(call, "C", 1);
  EXPECT_THAT(Writer(call).Take(), ElementsAre("finished 1 'C' 1"));
  EXPECT_TRUE(Writer(call).finished);
}

TEST_F(EgressTest, AWholeAnswerSendsNothingBetween) {
  const CallPtr call = Open();
  call->facts.whole = true;
  PublishStarted(call);
  Writer(call).Take();
  Delivered(call);
  for (int i = 0; i < 10; ++i) {
    PublishToken(call, "x");
  }
  EXPECT_THAT(Writer(call).Take(), IsEmpty());
  PublishEnd(call, "y");
  EXPECT_THAT(Writer(call).Take(), ElementsAre("finished 0 'xxxxxxxxxxy' 11"));
  EXPECT_THAT(backend_.paused, IsEmpty());
}

TEST_F(EgressTest, ARefusalIsTheStatusAlone) {
  const CallPtr call = Open();
  const Status refusal = MakeError(Reason::kQueueFull, "full");
  const CallPtr refused = std::make_shared<GenerationCall>(
      CallScope(clock_, "Test", "test", Caller{.tenant = TenantId("local")}),
      std::make_shared<FakeWriter>());
  egress_.HandleHandOver(refused, refusal, Now());
  EXPECT_THAT(Writer(refused).Take(), IsEmpty());
  EXPECT_EQ(Writer(refused).status, refusal);
}

TEST_F(EgressTest, CancelFreesTheEngineAndEndsTheCallOnce) {
  const CallPtr call = OpenStarted();
  egress_.HandleCancel(call, Now());
  EXPECT_THAT(backend_.cancelled, ElementsAre(call->handle));
  EXPECT_EQ(Writer(call).status.code(), StatusCode::kCancelled);
  egress_.HandleCancel(call, Now());
  PublishToken(call, "late");
  EXPECT_THAT(backend_.cancelled, ElementsAre(call->handle));
  EXPECT_EQ(registry_.size(), 0u);
}

TEST_F(EgressTest, ACancelBeforeTheHandOverWaitsForIt) {
  auto call = std::make_shared<GenerationCall>(
      CallScope(clock_, "Test", "test", Caller{.tenant = TenantId("local")}),
      std::make_shared<FakeWriter>());
  ASSERT_TRUE(registry_.Enter(call).ok());
  egress_.HandleCancel(call, Now());
  EXPECT_FALSE(Writer(call).finished);
  const Status submitted = registry_.Submit(call, backend_, {});
  EXPECT_EQ(submitted.code(), StatusCode::kCancelled);
  egress_.HandleHandOver(call, submitted, Now());
  EXPECT_EQ(Writer(call).status.code(), StatusCode::kCancelled);
}

TEST_F(EgressTest, ABrokenConnectionCancels) {
  const CallPtr call = OpenStarted();
  PublishToken(call, "a");
  egress_.HandleWriteDone(call, false, Now());
  EXPECT_THAT(backend_.cancelled, ElementsAre(call->handle));
}

TEST_F(EgressTest, AReaderThatIsBehindIsPausedAndResumed) {
  const CallPtr call = OpenStarted();
  for (int i = 0; i < 3; ++i) {
    PublishToken(call, "x");
  }
  EXPECT_THAT(backend_.paused, IsEmpty());
  PublishToken(call, "x");
  EXPECT_THAT(backend_.paused, ElementsAre(call->handle));
  EXPECT_EQ(egress_.paused_sequences(), 1);
  Delivered(call);  // 3 of 4 are left, in one message
  EXPECT_THAT(backend_.resumed, IsEmpty());
  Delivered(call);
  EXPECT_THAT(backend_.resumed, ElementsAre(call->handle));
  EXPECT_EQ(egress_.paused_sequences(), 0);
}

TEST_F(EgressTest, AReaderThatTakesNothingIsAbortedAndThenDropped) {
  const CallPtr call = OpenStarted();
  PublishToken(call, "a");
  Advance(kStall);
  EXPECT_THAT(backend_.paused, ElementsAre(call->handle));
  Advance(kTimeout - std::chrono::seconds(1));
  EXPECT_FALSE(Writer(call).finished);
  Advance(std::chrono::seconds(1));
  EXPECT_EQ(ReasonOf(Writer(call).status), Reason::kSlowConsumer);
  EXPECT_EQ(Writer(call).status.code(), StatusCode::kAborted);
  EXPECT_THAT(backend_.cancelled, ElementsAre(call->handle));
  EXPECT_EQ(egress_.paused_sequences(), 0);
  EXPECT_FALSE(Writer(call).killed);
  Advance(kTimeout);
  EXPECT_TRUE(Writer(call).killed);
}

TEST_F(EgressTest, AReaderThatMovesSlowlyIsNotAborted) {
  const CallPtr call = OpenStarted();
  for (int i = 0; i < 12; ++i) {
    PublishToken(call, "x");
  }
  EXPECT_THAT(backend_.paused, ElementsAre(call->handle));
  for (int i = 0; i < 2; ++i) {
    Advance(kTimeout - std::chrono::seconds(1));
    Delivered(call);
  }
  EXPECT_FALSE(Writer(call).finished);
}

TEST_F(EgressTest, AnAbortedReaderThatThenReadsIsNotDropped) {
  const CallPtr call = OpenStarted();
  PublishToken(call, "a");
  Advance(kStall);
  Advance(kTimeout);
  ASSERT_TRUE(Writer(call).finished);
  Delivered(call);
  Advance(kTimeout * 2);
  EXPECT_FALSE(Writer(call).killed);
}

TEST_F(EgressTest, DeadlineAndFaultEndWithTheirStatus) {
  const std::pair<FinishReason, Reason> rows[] = {
      {FinishReason::kDeadline, Reason::kDeadlineExceeded},
      {FinishReason::kCancelled, Reason::kCancelled},
      {FinishReason::kError, Reason::kEngineError},
  };
  for (const auto& [end, reason] : rows) {
    const CallPtr call = OpenStarted();
    GenerationEvent event = Event(call, GenerationEvent::Kind::kFinished);
    event.reason = end;
    event.last = true;
    event.error = Status(StatusCode::kInternal, "inside");
    Publish(std::move(event));
    EXPECT_EQ(ReasonOf(Writer(call).status), reason);
    EXPECT_THAT(Writer(call).Take(), IsEmpty());
  }
}

TEST_F(EgressTest, AbortAllEndsEveryCall) {
  const CallPtr first = OpenStarted();
  const CallPtr second = OpenStarted();
  egress_.AbortAll(MakeError(Reason::kDraining, "stopping"), Now());
  EXPECT_EQ(ReasonOf(Writer(first).status), Reason::kDraining);
  EXPECT_EQ(ReasonOf(Writer(second).status), Reason::kDraining);
  EXPECT_EQ(registry_.size(), 0u);
}

// The rule that the whole log stands on. Take the gate out of Pump and this is red.
TEST_F(EgressTest, NothingLeavesBeforeTheAdmittedLeafIsDurable) {
  const CallPtr call = Open(1, 1, true);
  PublishStarted(call);
  PublishToken(call, "a");
  PublishEnd(call, "b");
  Advance(kRecordWait / 2);
  EXPECT_THAT(Writer(call).Take(), IsEmpty());
  EXPECT_FALSE(Writer(call).finished);
  egress_.HandleAudited(call, AuditStage::kAdmitted, AuditReceipt{.origin = "log"}, Now());
  EXPECT_THAT(Writer(call).Take(), ElementsAre("started"));
}

TEST_F(EgressTest, TheStatusWaitsForTheCompletedLeaf) {
  const CallPtr call = Open(1, 1, true);
  egress_.HandleAudited(call, AuditStage::kAdmitted, AuditReceipt{.index = 7}, Now());
  PublishStarted(call);
  Delivered(call);
  PublishToken(call, "a");
  Delivered(call);
  EXPECT_THAT(Writer(call).Take(), ElementsAre("started", "delta 0 'a' 1"));
  PublishEnd(call, "b");
  EXPECT_THAT(Writer(call).Take(), IsEmpty());
  EXPECT_FALSE(Writer(call).finished);
  ASSERT_EQ(audit_.ended.size(), 1u);
  const CallOutcome& outcome = audit_.ended[0].second;
  EXPECT_EQ(outcome.admitted.index, 7u);
  EXPECT_EQ(outcome.output_tokens, 2u);
  EXPECT_EQ(outcome.content, std::string("\x02\0\0\0ab", 6));
  EXPECT_EQ(outcome.finish, "stop");
  EXPECT_TRUE(outcome.status.ok());
  egress_.HandleAudited(call, AuditStage::kEnded, AuditReceipt{.index = 8}, Now());
  EXPECT_THAT(Writer(call).Take(), ElementsAre("finished 0 'b' 1"));
  EXPECT_TRUE(Writer(call).status.ok());
  EXPECT_TRUE(Writer(call).has_record);
  EXPECT_EQ(registry_.size(), 0u);
}

TEST_F(EgressTest, ALogThatRefusesEndsTheCallBeforeItSaysAnything) {
  const CallPtr call = Open(1, 1, true);
  PublishStarted(call);
  PublishToken(call, "a");
  egress_.HandleAudited(
      call, AuditStage::kAdmitted, Status(StatusCode::kUnavailable, "full"), Now());
  EXPECT_THAT(Writer(call).Take(), IsEmpty());
  EXPECT_EQ(Writer(call).status.code(), StatusCode::kUnavailable);
  EXPECT_EQ(ReasonOf(Writer(call).status), Reason::kAuditUnavailable);
  EXPECT_THAT(backend_.cancelled, ElementsAre(call->handle));
  EXPECT_THAT(audit_.ended, IsEmpty());
}

TEST_F(EgressTest, ALogThatDoesNotAnswerEndsTheCall) {
  const CallPtr call = Open(1, 1, true);
  PublishStarted(call);
  Advance(kRecordWait);
  EXPECT_EQ(ReasonOf(Writer(call).status), Reason::kAuditUnavailable);
  EXPECT_THAT(Writer(call).Take(), IsEmpty());
  // The leaf came after all: what it admitted is closed.
  egress_.HandleAudited(call, AuditStage::kAdmitted, AuditReceipt{}, Now());
  ASSERT_EQ(audit_.ended.size(), 1u);
  EXPECT_EQ(ReasonOf(audit_.ended[0].second.status), Reason::kAuditUnavailable);
  egress_.HandleAudited(call, AuditStage::kEnded, AuditReceipt{}, Now());
}

// What the log does not say is charged in full; when it says it after all, its last leaf says so.
TEST_F(EgressTest, ALateAdmittedLeafIsSettledAtWhatWasCharged) {
  const QuotaAccount account = {.org = "o", .tenant = "local"};
  for (const bool left : {false, true}) {
    const CallPtr call = Open(1, 1, true);
    call->facts.prompt_tokens = 5;
    const QuotaAmounts bound = {.in = 5, .out = 20, .conc = 1, .kv = 25};
    call->governed.reservation = *ledger_.Reserve(account, bound).reservation;
    PublishStarted(call);
    PublishToken(call, "a");
    if (left) {
      egress_.HandleCancel(call, Now());
    }
    Advance(kRecordWait);
    EXPECT_FALSE(call->governed.reservation.open());
    EXPECT_EQ(call->governed.settled, bound);
    egress_.HandleAudited(call, AuditStage::kAdmitted, AuditReceipt{}, Now());
    EXPECT_EQ(audit_.ended.size(), left ? 2u : 1u);
    EXPECT_EQ(call->governed.settled, bound);
  }
  EXPECT_EQ(ledger_.CurrentUsage().at(account).of_day.tokens, 50u);
}

// A leaf that the log refused is not in it.
TEST_F(EgressTest, ACallThatTheLogRefusesIsNotCharged) {
  const QuotaAccount account = {.org = "o", .tenant = "local"};
  const CallPtr call = Open(1, 1, true);
  call->governed.reservation = *ledger_.Reserve(account, {.in = 5, .out = 20}).reservation;
  PublishStarted(call);
  egress_.HandleAudited(
      call, AuditStage::kAdmitted, Status(StatusCode::kUnavailable, "full"), Now());
  EXPECT_EQ(ledger_.CurrentUsage().at(account).num_admitted, 0u);
}

TEST_F(EgressTest, TheLastTokensAreNotReleasedWithoutTheirLeaf) {
  for (const bool answers : {true, false}) {
    const CallPtr call = Open(1, 1, true);
    egress_.HandleAudited(call, AuditStage::kAdmitted, AuditReceipt{}, Now());
    PublishStarted(call);
    Delivered(call);
    Writer(call).Take();
    PublishEnd(call, "b");
    if (answers) {
      egress_.HandleAudited(
          call, AuditStage::kEnded, Status(StatusCode::kUnavailable, "io"), Now());
    } else {
      Advance(kRecordWait);
    }
    EXPECT_THAT(Writer(call).Take(), IsEmpty());
    EXPECT_EQ(Writer(call).status.code(), StatusCode::kAborted);
    EXPECT_EQ(ReasonOf(Writer(call).status), Reason::kAuditUnavailable);
  }
}

TEST_F(EgressTest, BestEffortServesWithoutALog) {
  const CallPtr call = Open(1, 1, true);
  call->record.mode = AuditMode::kBestEffort;
  egress_.HandleAudited(
      call, AuditStage::kAdmitted, Status(StatusCode::kUnavailable, "full"), Now());
  PublishStarted(call);
  Delivered(call);
  PublishEnd(call, "b");
  EXPECT_THAT(Writer(call).Take(), ElementsAre("started", "finished 0 'b' 1"));
  EXPECT_TRUE(Writer(call).status.ok());
}

TEST_F(EgressTest, ACancelledCallHasItsLastLeafToo) {
  const CallPtr early = Open(1, 1, true);
  egress_.HandleCancel(early, Now());  // before the admitted leaf is durable
  EXPECT_FALSE(Writer(early).finished);
  EXPECT_THAT(backend_.cancelled, ElementsAre(early->handle));
  egress_.HandleAudited(early, AuditStage::kAdmitted, AuditReceipt{}, Now());
  ASSERT_EQ(audit_.ended.size(), 1u);
  EXPECT_EQ(audit_.ended[0].second.status.code(), StatusCode::kCancelled);
  egress_.HandleAudited(early, AuditStage::kEnded, AuditReceipt{}, Now());
  EXPECT_EQ(Writer(early).status.code(), StatusCode::kCancelled);
  EXPECT_TRUE(Writer(early).has_record);
}

TEST_F(EgressTest, ARefusalIsRecordedAndWaitsForNothing) {
  const CallPtr refused = std::make_shared<GenerationCall>(
      CallScope(clock_, "Test", "test", Caller{.tenant = TenantId("local")}),
      std::make_shared<FakeWriter>());
  egress_.HandleHandOver(refused, MakeError(Reason::kQueueFull, "full"), Now());
  EXPECT_TRUE(Writer(refused).finished);
  EXPECT_THAT(audit_.denied, ElementsAre("QUEUE_FULL"));
}

TEST_F(EgressTest, TheRegistryKnowsItsBounds) {
  std::vector<CallPtr> calls;
  for (int i = 0; i < 8; ++i) {
    calls.push_back(OpenStarted());
  }
  auto late = std::make_shared<GenerationCall>(
      CallScope(clock_, "Test", "test", Caller{.tenant = TenantId("local")}),
      std::make_shared<FakeWriter>());
  EXPECT_EQ(ReasonOf(registry_.Enter(late)), Reason::kQueueFull);
  egress_.HandleCancel(calls[0], Now());
  EXPECT_TRUE(registry_.Enter(late).ok());
  late->scope.SetRequestId(calls[1]->scope.request_id());
  EXPECT_EQ(ReasonOf(registry_.ClaimId(late)), Reason::kDuplicateRequestId);
  // An id is a tenant's own.
  auto of_another = std::make_shared<GenerationCall>(
      CallScope(clock_, "Test", "test", Caller{.tenant = TenantId("acme")}),
      std::make_shared<FakeWriter>());
  of_another->scope.SetRequestId(calls[1]->scope.request_id());
  EXPECT_TRUE(registry_.ClaimId(of_another).ok());
  registry_.Leave(late, true);
  registry_.Drain();
  auto drained = std::make_shared<GenerationCall>(
      CallScope(clock_, "Test", "test", Caller{.tenant = TenantId("local")}),
      std::make_shared<FakeWriter>());
  EXPECT_EQ(ReasonOf(registry_.Enter(drained)), Reason::kDraining);
}

TEST_F(EgressTest, ATenantsListHasItsOwnCallsAlone) {
  const CallPtr own = Open();
  const CallPtr others = Open(1, 1, false, "other");
  const TenantId local("local");
  const auto list = [&](const std::string& id, const TenantId* only) {
    std::vector<StreamHandle> handles;
    for (const StreamRegistry::Submitted& call : registry_.ListSubmitted(id, 10, only)) {
      handles.push_back(call.handle);
    }
    return handles;
  };
  EXPECT_THAT(list("", nullptr), ElementsAre(own->handle, others->handle));
  EXPECT_THAT(list("", &local), ElementsAre(own->handle));
  EXPECT_THAT(list(others->scope.rid(), &local), IsEmpty());
  EXPECT_THAT(list(others->scope.rid(), nullptr), ElementsAre(others->handle));
}

}  // namespace
}  // namespace inferd
