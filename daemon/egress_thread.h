// EgressThread: the one thread that writes. Fed by the engine with one batch a step, and by gRPC's
// callbacks.
#pragma once

#include <condition_variable>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/thread_annotations.h"
#include "daemon/egress.h"

namespace inferd {

// Thread-safe; no call blocks. What is queued here is bounded by the calls in flight and by the
// pause of readers that are behind (Egress).
class EgressThread final : public EventSink {
 public:
  EgressThread(StreamRegistry& registry,
               CallAudit* audit,
               const Clock& clock,
               const Egress::Options& options);
  ~EgressThread() override;

  // The engine's thread: a vector is moved and, if the egress thread sleeps, it is woken.
  void Publish(std::vector<GenerationEvent>&& events) override EXCLUDES(events_mutex_);

  // See Egress for what each means.
  void HandOver(CallPtr call, Status status) EXCLUDES(commands_mutex_);
  void WriteDone(CallPtr call, bool ok) EXCLUDES(commands_mutex_);
  void Cancel(CallPtr call) EXCLUDES(commands_mutex_);
  void Audited(CallPtr call, AuditStage stage, StatusOr<AuditReceipt> result)
      EXCLUDES(commands_mutex_);
  void AbortAll(Status status) EXCLUDES(commands_mutex_);

  int64_t paused_sequences() const { return egress_.paused_sequences(); }
  bool device_lost() const { return egress_.device_lost(); }

 private:
  struct Command {
    enum class Kind : uint8_t { kHandOver, kWriteDone, kCancel, kAudited, kAbortAll };
    Kind kind;
    CallPtr call{};
    bool ok = false;
    Status status{};
    AuditStage stage = AuditStage::kAdmitted;
    StatusOr<AuditReceipt> receipt = AuditReceipt();
  };

  void Post(Command&& command) EXCLUDES(commands_mutex_);
  void Wake() EXCLUDES(wake_mutex_);
  // False when it is time to stop.
  bool WaitUntil(TimePoint when) EXCLUDES(wake_mutex_);
  void Run();
  void Execute(const Command& command);

  const Clock& clock_;
  Egress egress_;  // egress thread only, but for its atomics
  // Two queues, so that the engine's thread never meets gRPC's threads at a lock.
  Mutex events_mutex_;
  std::vector<std::vector<GenerationEvent>> events_ GUARDED_BY(events_mutex_);
  Mutex commands_mutex_;
  std::vector<Command> commands_ GUARDED_BY(commands_mutex_);
  Mutex wake_mutex_;
  std::condition_variable wake_;
  bool woken_ GUARDED_BY(wake_mutex_) = false;
  bool stopping_ GUARDED_BY(wake_mutex_) = false;
  std::thread thread_;
};

}  // namespace inferd
