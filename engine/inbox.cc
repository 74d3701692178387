#include "engine/inbox.h"

#include <utility>

namespace inferd::engine_internal {

StatusOr<StreamHandle> Inbox::Push(Arrival arrival) {
  MutexLock lock(mutex_);
  if (!failure_.ok()) {
    return failure_;
  }
  if (draining_ || stopping_) {
    return ErrorF(StatusCode::kUnavailable, "the engine drains: no new requests");
  }
  if (waiting_ + arrival.request.n > waiting_max_) {
    return ErrorF(StatusCode::kUnavailable, "the queue is full: %d choices wait", waiting_);
  }
  waiting_ += arrival.request.n;
  const StreamHandle stream = ++last_stream_;
  live_.emplace(stream, Live{});
  arrival.stream = stream;
  arrivals_.push_back(std::move(arrival));
  for_core_.notify_one();
  return stream;
}

void Inbox::SignalLocked(StreamHandle stream, Live& live) {
  if (!live.signalled) {
    live.signalled = true;
    signalled_.push_back(stream);
    for_core_.notify_one();
  }
}

void Inbox::Cancel(StreamHandle stream) {
  MutexLock lock(mutex_);
  if (const auto it = live_.find(stream); it != live_.end()) {
    it->second.cancel = true;
    SignalLocked(stream, it->second);
  }
}

void Inbox::SetPaused(StreamHandle stream, bool paused) {
  MutexLock lock(mutex_);
  const auto it = live_.find(stream);
  if (it != live_.end() && it->second.pause != paused) {
    it->second.pause = paused;
    SignalLocked(stream, it->second);
  }
}

void Inbox::Drain() {
  MutexLock lock(mutex_);
  draining_ = true;
}

void Inbox::Stop() {
  MutexLock lock(mutex_);
  stopping_ = true;
  for_core_.notify_one();
}

bool Inbox::core_runs() const {
  MutexLock lock(mutex_);
  return core_runs_;
}

bool Inbox::idle() const {
  MutexLock lock(mutex_);
  return live_.empty();
}

int64_t Inbox::num_waiting() const {
  MutexLock lock(mutex_);
  return waiting_;
}

void Inbox::Park() {
  MutexLock lock(mutex_);
  ++parkers_;
  for_core_.notify_one();
  for_parker_.wait(lock.std_lock(),
                   [this]() NO_THREAD_SAFETY_ANALYSIS { return core_parked_ || !core_runs_; });
}

void Inbox::Unpark() {
  MutexLock lock(mutex_);
  --parkers_;
  for_core_.notify_one();
}

void Inbox::LetRun() {
  MutexLock lock(mutex_);
  const uint64_t turn = turns_;
  --parkers_;
  for_core_.notify_one();
  for_parker_.wait(lock.std_lock(),
                   [&]() NO_THREAD_SAFETY_ANALYSIS { return turns_ != turn || !core_runs_; });
  ++parkers_;
  for_core_.notify_one();
  for_parker_.wait(lock.std_lock(),
                   [this]() NO_THREAD_SAFETY_ANALYSIS { return core_parked_ || !core_runs_; });
}

void Inbox::CoreRuns(bool runs) {
  MutexLock lock(mutex_);
  core_runs_ = runs;
  for_parker_.notify_all();
}

Mail Inbox::Take(std::optional<Duration> wait) {
  MutexLock lock(mutex_);
  const auto something = [this]() NO_THREAD_SAFETY_ANALYSIS {
    return stopping_ || parkers_ > 0 || !arrivals_.empty() || !signalled_.empty();
  };
  if (!wait.has_value()) {
    for_core_.wait(lock.std_lock(), something);
  } else if (*wait > Duration::zero()) {
    for_core_.wait_for(lock.std_lock(), *wait, something);
  }
  if (parkers_ > 0) {
    core_parked_ = true;
    for_parker_.notify_all();
    for_core_.wait(lock.std_lock(), [this]() NO_THREAD_SAFETY_ANALYSIS { return parkers_ == 0; });
    core_parked_ = false;
    ++turns_;
    for_parker_.notify_all();
  }
  Mail mail;
  mail.stop = stopping_;
  mail.arrivals.swap(arrivals_);
  mail.signals.reserve(signalled_.size());
  for (const StreamHandle stream : signalled_) {
    if (const auto it = live_.find(stream); it != live_.end()) {
      it->second.signalled = false;
      mail.signals.push_back(
          {.stream = stream, .cancel = it->second.cancel, .pause = it->second.pause});
    }
  }
  signalled_.clear();
  return mail;
}

void Inbox::Started(int64_t choices) {
  MutexLock lock(mutex_);
  waiting_ -= choices;
}

void Inbox::Finished(StreamHandle stream) {
  MutexLock lock(mutex_);
  live_.erase(stream);
}

void Inbox::Fail(const Status& status) {
  MutexLock lock(mutex_);
  failure_ = status;
}

}  // namespace inferd::engine_internal
