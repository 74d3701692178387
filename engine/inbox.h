// Inbox: what other threads tell the core thread. Every call takes a short lock and returns.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <future>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "base/thread_annotations.h"
#include "engine/engine.h"
#include "scheduler/prompt_prefix.h"

namespace inferd::engine_internal {

// A request that passed the door's checks.
struct Arrival {
  StreamHandle stream = 0;  // set by Push
  GenerationRequest request;
  std::shared_ptr<const ResidentModel> model;  // shared: it may be unloaded meanwhile
  int64_t tokens_max = 0;                      // prompt and output together
  std::shared_ptr<const PromptPrefix> prefix;  // shared by the request's choices; may be nullptr
  // Set for a public prefix; shared with the caller, who may have given up on it.
  std::shared_ptr<std::promise<Status>> registration;
};

// The latest wishes for one stream.
struct Signal {
  StreamHandle stream = 0;
  bool cancel = false;
  bool pause = false;
};

struct Mail {
  std::vector<Arrival> arrivals;
  std::vector<Signal> signals;  // for streams that arrived, in this mail or before
  bool stop = false;
};

// Many producers, one consumer. Bounded: arrivals by waiting_max choices, signals by one for each
// live stream. Thread-safe.
class Inbox {
 public:
  explicit Inbox(int64_t waiting_max) : waiting_max_(waiting_max) {}

  // Any thread. kUnavailable when full, draining, stopped or failed.
  StatusOr<StreamHandle> Push(Arrival arrival) EXCLUDES(mutex_);
  // Streams that are not live are ignored.
  void Cancel(StreamHandle stream) EXCLUDES(mutex_);
  void SetPaused(StreamHandle stream, bool paused) EXCLUDES(mutex_);
  void Drain() EXCLUDES(mutex_);
  void Stop() EXCLUDES(mutex_);
  bool core_runs() const EXCLUDES(mutex_);
  bool idle() const EXCLUDES(mutex_);  // no stream is live
  int64_t num_waiting() const EXCLUDES(mutex_);

  // Keeps the core thread between two steps from the moment Park returns until Unpark. Nests.
  void Park() EXCLUDES(mutex_);
  void Unpark() EXCLUDES(mutex_);
  // Between Park and Unpark: lets the core thread have a turn (a step, if there is one to run).
  void LetRun() EXCLUDES(mutex_);

  // Core thread. Takes everything; if there is nothing, waits for something, at most `wait`
  // (nullopt: until something comes). Returns after a stop is asked for, whatever else is there.
  Mail Take(std::optional<Duration> wait) EXCLUDES(mutex_);
  // Around the core thread's life: Park waits for it only in between.
  void CoreRuns(bool runs) EXCLUDES(mutex_);
  // `choices` choices no longer wait.
  void Started(int64_t choices) EXCLUDES(mutex_);
  // The stream is over; its handle is forgotten.
  void Finished(StreamHandle stream) EXCLUDES(mutex_);
  // The device is lost: every Push is refused with this from now on.
  void Fail(const Status& status) EXCLUDES(mutex_);

 private:
  struct Live {
    bool cancel = false;
    bool pause = false;
    bool signalled = false;  // is in signalled_
  };
  void SignalLocked(StreamHandle stream, Live& live) REQUIRES(mutex_);

  const int64_t waiting_max_;
  mutable Mutex mutex_;
  std::condition_variable for_core_;    // something to take, or a park ended
  std::condition_variable for_parker_;  // the core thread stands still
  std::map<StreamHandle, Live> live_ GUARDED_BY(mutex_);
  std::vector<Arrival> arrivals_ GUARDED_BY(mutex_);
  std::vector<StreamHandle> signalled_ GUARDED_BY(mutex_);
  StreamHandle last_stream_ GUARDED_BY(mutex_) = 0;
  int64_t waiting_ GUARDED_BY(mutex_) = 0;  // choices
  int32_t parkers_ GUARDED_BY(mutex_) = 0;
  bool core_runs_ GUARDED_BY(mutex_) = false;
  bool core_parked_ GUARDED_BY(mutex_) = false;
  uint64_t turns_ GUARDED_BY(mutex_) = 0;  // times the core thread went on after a park
  bool draining_ GUARDED_BY(mutex_) = false;
  bool stopping_ GUARDED_BY(mutex_) = false;
  Status failure_ GUARDED_BY(mutex_);
};

}  // namespace inferd::engine_internal
