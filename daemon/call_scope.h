// CallScope: what is known of one call from its start to its end, its caller, and its line in the
// log. Every handler of every service has one, from a CallGate.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/check.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/status.h"
#include "daemon/caller.h"

namespace inferd {

// Used by one thread at a time.
class CallScope {
 public:
  // `caller` is a refusal if nobody is known to call, or nobody who may. `method` is a literal.
  CallScope(const Clock& clock, std::string_view method, std::string peer, StatusOr<Caller> caller);

  // Why the call must go no further; OK for a caller who may go on. A handler does nothing before
  // it has asked.
  Status admission() const { return caller_.status(); }
  // Of a call that was admitted.
  const Caller& caller() const {
    CHECK(caller_.ok());
    return *caller_;
  }

  // The caller's name for the call; ours if `wanted` is empty.
  void SetRequestId(std::string_view wanted);
  void set_model(std::string_view model) { model_ = model; }
  void set_tokens(int64_t prompt, int64_t output) {
    prompt_tokens_ = prompt;
    output_tokens_ = output;
  }

  std::string_view method() const { return method_; }
  const std::string& request_id() const { return request_id_; }
  // Our own name for the call, a ULID: that of its leaves.
  const std::string& rid() const { return rid_; }
  const std::string& peer() const { return peer_; }
  const std::string& model() const { return model_; }
  TimePoint start() const { return start_; }

  // Writes the log line: method, our own ids, code, reason, duration, counts. Once, at the end.
  void End(const Status& status);

 private:
  const Clock& clock_;
  const std::string_view method_;  // a literal
  const std::string peer_;
  const StatusOr<Caller> caller_;
  const TimePoint start_;
  const std::string rid_;
  std::string request_id_;
  std::string model_;
  int64_t prompt_tokens_ = 0;
  int64_t output_tokens_ = 0;
};

// When a call must have ended: the caller's deadline or `duration_max` from now, whichever is
// sooner. `deadline` is on the system's civil clock, as gRPC gives it.
TimePoint EffectiveDeadline(const Clock& clock,
                            std::chrono::system_clock::time_point deadline,
                            Duration duration_max);

}  // namespace inferd
