// What the engine's door asks of a request before it queues it.
#pragma once

#include <cstdint>

#include "base/clock.h"
#include "engine/engine.h"

namespace inferd::engine_internal {

// The request's tokens_max (prompt and output together), or why it is refused; the error names the
// field. Thread-safe.
StatusOr<int64_t> CheckRequest(const GenerationRequest& request,
                               const ResidentModel& model,
                               TimePoint now);

}  // namespace inferd::engine_internal
