#include "daemon/call_scope.h"

#include "base/log.h"
#include "base/ulid.h"
#include "daemon/error_map.h"

namespace inferd {

CallScope::CallScope(const Clock& clock, std::string_view method, std::string peer)
    : clock_(clock),
      method_(method),
      peer_(std::move(peer)),
      start_(clock.Now()),
      rid_(NewUlid(clock.WallNow())) {}

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
       {"tenant", Tenant().value()},
       {"model", model_},
       {"code", absl::StatusCodeToString(status.code())},
       {"reason", status.ok() ? std::string() : std::string(Name(ReasonOf(status)))},
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
