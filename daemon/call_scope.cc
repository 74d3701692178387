#include "daemon/call_scope.h"

#include "base/log.h"
#include "base/ulid.h"
#include "daemon/error_map.h"

namespace inferd {

CallScope::CallScope(const Clock& clock,
                     std::string_view method,
                     std::string peer,
                     StatusOr<Caller> caller)
    : clock_(clock),
      method_(method),
      peer_(std::move(peer)),
      caller_(std::move(caller)),
      start_(clock.Now()),
      rid_(NewUlid(clock.WallNow())),
      request_id_(rid_) {}

void CallScope::SetRequestId(std::string_view wanted) {
  request_id_ = wanted.empty() ? rid_ : std::string(wanted);
}

void CallScope::End(const Status& status) {
  const auto micros =
      std::chrono::duration_cast<std::chrono::microseconds>(clock_.Now() - start_).count();
  Log(LogLevel::kInfo,
      "call",
      {{"method", std::string(method_)},
       {"rid", rid_},
       {"peer", peer_},
       {"tenant", caller_.ok() ? caller_->tenant.value() : std::string()},
       {"caller", caller_.ok() ? caller_->actor.id : std::string()},
       {"model", model_},
       {"code", absl::StatusCodeToString(status.code())},
       {"reason", HasReason(status) ? std::string(Name(ReasonOf(status))) : std::string()},
       {"duration_ms", absl::StrFormat("%.3f", static_cast<double>(micros) / 1000)},
       {"prompt_tokens", std::to_string(prompt_tokens_)},
       {"output_tokens", std::to_string(output_tokens_)}});
}

TimePoint EffectiveDeadline(const Clock& clock,
                            std::chrono::system_clock::time_point deadline,
                            Duration duration_max) {
  const TimePoint now = clock.Now();
  if (deadline == std::chrono::system_clock::time_point::max()) {
    return now + duration_max;
  }
  const Duration left = deadline - clock.WallNow();
  return now + std::min(left, duration_max);
}

}  // namespace inferd
