#include "cpu/lanes_avx2.h"
#include "cpu/vector_math_apply.h"

namespace inferd {

void ApplyMathAvx2(MathFunction function, const float* in, float* out, int64_t n) {
  ApplyAll<Avx2Lanes>(function, in, out, n);
}

}  // namespace inferd
