#include "daemon/egress_thread.h"

#include <algorithm>

namespace inferd {

EgressThread::EgressThread(StreamRegistry& registry,
                           CallAudit* audit,
                           const Clock& clock,
                           const Egress::Options& options)
    : clock_(clock), egress_(registry, audit, options), thread_([this] { Run(); }) {}

EgressThread::~EgressThread() {
  {
    MutexLock lock(wake_mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void EgressThread::Publish(std::vector<GenerationEvent>&& events) {
  {
    MutexLock lock(events_mutex_);
    events_.push_back(std::move(events));
  }
  Wake();
}

void EgressThread::HandOver(CallPtr call, Status status) {
  Command command{.kind = Command::Kind::kHandOver, .call = std::move(call)};
  command.status = std::move(status);
  Post(std::move(command));
}

void EgressThread::WriteDone(CallPtr call, bool ok) {
  Post({.kind = Command::Kind::kWriteDone, .call = std::move(call), .ok = ok});
}

void EgressThread::Cancel(CallPtr call) {
  Post({.kind = Command::Kind::kCancel, .call = std::move(call)});
}

void EgressThread::Audited(CallPtr call, AuditStage stage, StatusOr<AuditReceipt> result) {
  Command command{.kind = Command::Kind::kAudited, .call = std::move(call)};
  command.stage = stage;
  command.receipt = std::move(result);
  Post(std::move(command));
}

void EgressThread::AbortAll(Status status) {
  Command command{.kind = Command::Kind::kAbortAll};
  command.status = std::move(status);
  Post(std::move(command));
}

void EgressThread::Post(Command&& command) {
  {
    MutexLock lock(commands_mutex_);
    commands_.push_back(std::move(command));
  }
  Wake();
}

void EgressThread::Wake() {
  {
    MutexLock lock(wake_mutex_);
    if (woken_) {
      return;
    }
    woken_ = true;
  }
  wake_.notify_one();
}

bool EgressThread::WaitUntil(TimePoint when) {
  MutexLock lock(wake_mutex_);
  const auto due = [this]() NO_THREAD_SAFETY_ANALYSIS { return woken_ || stopping_; };
  if (when == TimePoint::max()) {
    wake_.wait(lock.std_lock(), due);
  } else {
    wake_.wait_for(lock.std_lock(), when - clock_.Now(), due);
  }
  woken_ = false;
  return !stopping_;
}

void EgressThread::Run() {
  std::vector<Command> commands;
  std::vector<std::vector<GenerationEvent>> batches;
  TimePoint next = TimePoint::max();
  while (WaitUntil(next)) {
    {
      MutexLock lock(commands_mutex_);
      std::swap(commands, commands_);
    }
    {
      MutexLock lock(events_mutex_);
      std::swap(batches, events_);
    }
    for (const Command& command : commands) {
      Execute(command);
    }
    commands.clear();
    for (std::vector<GenerationEvent>& batch : batches) {
      egress_.HandleEvents(std::move(batch), clock_.Now());
    }
    batches.clear();
    next = egress_.RunTimers(clock_.Now());
  }
}

void EgressThread::Execute(const Command& command) {
  const TimePoint now = clock_.Now();
  switch (command.kind) {
    case Command::Kind::kHandOver:
      return egress_.HandleHandOver(command.call, command.status, now);
    case Command::Kind::kWriteDone:
      return egress_.HandleWriteDone(command.call, command.ok, now);
    case Command::Kind::kCancel:
      return egress_.HandleCancel(command.call, now);
    case Command::Kind::kAudited:
      return egress_.HandleAudited(command.call, command.stage, command.receipt, now);
    case Command::Kind::kAbortAll:
      return egress_.AbortAll(command.status, now);
  }
}

}  // namespace inferd
