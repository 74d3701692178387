// How a model file says that its heads are rotated.
#pragma once

#include <cstdint>

#include "base/status.h"
#include "model/config_reader.h"
#include "model/family.h"
#include "model/weight_reader.h"

namespace inferd {

// The rope of layers that see everything, and of layers with a window (the same but for
// Family::local_rope).
struct ModelRope {
  RopeConfig global;
  RopeConfig local;
};

struct RopeFacts {
  int32_t head_dim = 0;
  int32_t context_declared = 0;  // the file's
  int64_t context_served = 0;    // ours; long-rope models choose their factors by it
};

// kUnimplemented names a scaling that is not served (YaRN among them).
StatusOr<ModelRope> ReadRope(const Family& family,
                             const RopeFacts& facts,
                             ConfigReader& config,
                             WeightReader& weights);

}  // namespace inferd
