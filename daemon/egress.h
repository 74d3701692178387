// Egress: turns the engine's events into messages, one outstanding write a call, and keeps slow
// readers from holding anyone up. Pure: no thread, no clock, no gRPC; EgressThread drives it.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "daemon/audit_join.h"
#include "daemon/generation_call.h"
#include "daemon/stream_registry.h"
#include "engine/generation.h"

namespace inferd {

// One thread. Coalescing: a choice's output goes out when nothing is being written and it is its
// first, its end, message_tokens_max tokens, or message_delay_max old; what comes during a write
// waits for its end and goes together. Order: started, deltas, one finished for each choice, OK.
//
// A call with a record (call->record.on) sends nothing before its admitted leaf is durable, and its
// last message and status wait for its completed leaf.
class Egress {
 public:
  struct Options {
    int64_t undelivered_tokens_max = 1024;  // then the request is paused
    Duration stall_max{};                   // a write that takes longer pauses it too
    Duration slow_reader_timeout{};         // paused this long without progress: SLOW_CONSUMER
    Duration record_wait{};                 // longest wait for a leaf: then AUDIT_UNAVAILABLE
  };
  // The registry outlives it; so does the audit, which is nullptr where there is none.
  Egress(StreamRegistry& registry, CallAudit* audit, const Options& options)
      : registry_(registry), audit_(audit), options_(options) {}

  void HandleEvents(std::vector<GenerationEvent>&& events, TimePoint now);
  // The ingress worker is done with the call: it was submitted (OK), or refused.
  void HandleHandOver(const CallPtr& call, const Status& status, TimePoint now);
  // The write ended; not ok: the connection is gone.
  void HandleWriteDone(const CallPtr& call, bool ok, TimePoint now);
  void HandleCancel(const CallPtr& call, TimePoint now);
  // The log's answer for a leaf of the call.
  void HandleAudited(const CallPtr& call,
                     AuditStage stage,
                     const StatusOr<AuditReceipt>& result,
                     TimePoint now);
  void AbortAll(const Status& status, TimePoint now);

  // Does what is due and returns when it wants to be called next (TimePoint::max(): never).
  TimePoint RunTimers(TimePoint now);

  // Sequences that are paused for slow readers. Any thread.
  int64_t paused_sequences() const { return paused_sequences_.load(std::memory_order_relaxed); }
  // A generation ended because the device is gone; the engine refuses everything after that. Any
  // thread.
  bool device_lost() const { return device_lost_.load(std::memory_order_relaxed); }

 private:
  void HandleEvent(const CallPtr& call, GenerationEvent&& event, TimePoint now);
  void Abort(const CallPtr& call, const Status& status, TimePoint now);
  void Close(const CallPtr& call,
             const v1::GenerateStreamResponse* last,
             const Status& status,
             bool cancel,
             TimePoint now);
  // May what came so far be computed? Takes further leases of its quota as need be.
  bool HoldsLease(GenerationCall& call);
  // Of a closed call: asks for its last leaf, or ends it if there will be none.
  void EndRecord(const CallPtr& call, TimePoint now);
  // Ends a call whose record failed or took too long.
  void EndWithoutRecord(const CallPtr& call, TimePoint now);
  void SendEnd(const CallPtr& call,
               const v1::GenerateStreamResponse* last,
               const Status& status,
               const AuditReceipt* record,
               TimePoint now);
  // Sends what is ready, if nothing is being written; else arms the timer.
  void Pump(const CallPtr& call, TimePoint now);
  void Write(const CallPtr& call,
             const v1::GenerateStreamResponse& message,
             int64_t tokens,
             TimePoint now);
  void Pause(const CallPtr& call, TimePoint now);
  void Resume(const CallPtr& call);
  void Arm(const CallPtr& call, TimePoint when);
  void Disarm(const CallPtr& call);
  void FireTimer(const CallPtr& call, TimePoint now);

  StreamRegistry& registry_;
  CallAudit* const audit_;
  const Options options_;
  std::multimap<TimePoint, CallPtr> timers_;
  std::vector<CallPtr> touched_;  // by the batch of events in hand
  std::atomic<int64_t> paused_sequences_{0};
  std::atomic<bool> device_lost_{false};
};

}  // namespace inferd
