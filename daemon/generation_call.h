// GenerationCall: one Generate or GenerateStream call, from acceptance to its status.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "daemon/call_scope.h"
#include "daemon/generation_backend.h"
#include "daemon/quota_gate.h"
#include "governance/audit/leaf.h"
#include "governance/key_store.h"

namespace inferd::v1 {
class GenerateStreamResponse;
class ReplayRecord;
}  // namespace inferd::v1

namespace inferd {

// Where a call's messages go: a gRPC stream, a unary reply that is being put together, or a test.
// Write and Finish are called on the egress thread alone, Finish once and nothing after it but
// Kill. At most one Write is outstanding; its end is reported to EgressThread::WriteDone.
class CallWriter {
 public:
  virtual ~CallWriter() = default;
  virtual void Write(const v1::GenerateStreamResponse& message) = 0;
  // Ends the call, with a last message or (nullptr) without. A Write may still be outstanding if
  // `status` is an error.
  // `record`, if there is one, names the call's last leaf, for the trailers.
  virtual void Finish(const v1::GenerateStreamResponse* last,
                      const Status& status,
                      const AuditReceipt* record) = 0;
  // Drops a finished call whose reader does not even take the status. Harmless if it is gone.
  virtual void Kill() = 0;
};

// What the request asked for, as egress needs it.
struct CallFacts {
  std::shared_ptr<const ResidentModel> model;  // shared with the directory
  uint64_t seed = 0;
  int32_t prompt_tokens = 0;
  int32_t n = 1;
  bool want_text = true;
  bool want_token_ids = false;
  bool want_logprobs = false;
  bool whole = false;  // unary: nothing is sent before a choice's end
  int64_t message_tokens_max = 1;
  Duration message_delay_max{};
  std::vector<std::string> stop;
};

// All of one choice's answer.
struct AnsweredChoice {
  std::vector<TokenId> tokens;         // that were drawn, those that a stop cut off included
  std::optional<FinishReason> finish;  // nullopt: it was ended from outside
};

// How the call is recorded. Set by the ingress worker before the call is submitted.
struct CallRecord {
  bool on = false;  // an admitted leaf is or will be on its way
  AuditMode mode = AuditMode::kStrict;
  AuditLevel level = AuditLevel::kMetadata;
  SubjectRef subject;
  CommitmentSalt salt{};
  ModelFacts model;
  // At level full: what computes the answer again, without the answer. Shared only to be of a type
  // that this header does not know whole.
  std::shared_ptr<const v1::ReplayRecord> replay;
};

// What policy and quota said of the call. Set by the ingress worker before the call is submitted;
// then egress settles it, once.
struct CallGovernance {
  std::optional<PolicyFacts> policy;       // absent: there are no policies
  std::optional<QuotaFacts> quota_denied;  // of a refusal
  QuotaReservation reservation;            // open until the call ends
  std::optional<QuotaAmounts> settled;
  RateLimitFields fields;  // for the caller
};

// Where the record stands; what is sent depends on it.
struct RecordState {
  bool admitted = false;                // the leaf is durable, or best effort goes on without
  std::optional<AuditReceipt> receipt;  // of that leaf
  Status lost;                          // why there is no leaf
  bool ending = false;                  // the completed leaf is on its way
  bool sent = false;                    // the status was handed to gRPC
  // The end that waits for its leaf.
  Status status;
  // Shared only to be of a type that this header does not know whole.
  std::shared_ptr<const v1::GenerateStreamResponse> last;
};

// Output of a choice that was not sent yet.
struct PendingOutput {
  std::string text;
  std::vector<TokenId> tokens;
  std::vector<SampledToken> logprobs;
  TimePoint since{};  // when the oldest of it came
};

struct ChoiceState {
  PendingOutput pending;
  std::string content;          // all of the output, for the record
  std::vector<TokenId> tokens;  // the same
  bool first_sent = false;
  std::optional<GenerationEvent> end;  // kFinished came; its output is in `pending`
  bool end_sent = false;
};

// Shared by the gRPC reactor, the ingress worker, the registry and egress, since any of them may
// be the last to let go.
struct GenerationCall {
  GenerationCall(CallScope call_scope, std::shared_ptr<CallWriter> call_writer)
      : scope(std::move(call_scope)), writer(std::move(call_writer)) {}

  // Ingress worker until it hands the call over (submitted or refused), egress thread after.
  CallScope scope;
  CallFacts facts;
  CallRecord record;
  CallGovernance governed;
  bool replay = false;  // of an answer that is recorded: it has a leaf of its own

  // Constant after construction.
  const std::shared_ptr<CallWriter> writer;

  // Guarded by the StreamRegistry's mutex.
  bool gone = false;                     // left the registry; must not be submitted any more
  bool named = false;                    // its request id is in the registry
  GenerationBackend* backend = nullptr;  // set once submitted
  StreamHandle handle = 0;

  // Egress thread only.
  bool handed_over = false;  // the ingress worker is done with it
  Status abort;              // why to end it once it is handed over; OK: no reason
  bool closed = false;       // no more output; Finish was called, or waits for the record
  RecordState recorded;
  std::optional<GenerationEvent> started;
  bool started_sent = false;
  std::vector<ChoiceState> choices;
  int32_t choices_open = 0;
  size_t next_choice = 0;  // where the search for something to send goes on
  bool writing = false;
  TimePoint write_start{};
  int64_t writing_tokens = 0;      // in the outstanding write
  int64_t undelivered_tokens = 0;  // came from the engine, not taken by the reader
  int64_t output_tokens = 0;
  bool paused = false;
  TimePoint paused_since{};  // or since the reader last took something
  std::optional<std::multimap<TimePoint, std::shared_ptr<GenerationCall>>::iterator> timer;
};

using CallPtr = std::shared_ptr<GenerationCall>;

}  // namespace inferd
