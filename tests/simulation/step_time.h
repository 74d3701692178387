// StepTimeModel: how long a simulated device takes for a step.
#pragma once

#include <cstdint>

#include "base/clock.h"

namespace inferd::sim {

// What the time of a step depends on.
struct StepShape {
  int64_t prefill_tokens = 0;
  int64_t decode_rows = 0;
  int64_t context_tokens = 0;  // positions that all rows together look back on
};

// Linear and integer, so that a run is the same everywhere. The defaults are roughly a 7B model on
// an A10G, the device of the published VTC logs: 22 ms + 0.21 ms a prefill token + 0.05 ms a decode
// row + 0.0008 ms a context token.
struct StepTimeModel {
  Duration base{22'000'000};
  Duration prefill_token{210'000};
  Duration decode_row{50'000};
  Duration context_token{800};

  Duration Predict(const StepShape& shape) const {
    return base + prefill_token * shape.prefill_tokens + decode_row * shape.decode_rows +
           context_token * shape.context_tokens;
  }
};

}  // namespace inferd::sim
