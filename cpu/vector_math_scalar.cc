#include "cpu/lanes_scalar.h"
#include "cpu/vector_math_apply.h"

namespace inferd {

void ApplyMathScalar(MathFunction function, const float* in, float* out, int64_t n) {
  ApplyAll<ScalarLanes>(function, in, out, n);
}

}  // namespace inferd
