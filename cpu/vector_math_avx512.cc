#include "cpu/lanes_avx512.h"
#include "cpu/vector_math_apply.h"

namespace inferd {

void ApplyMathAvx512(MathFunction function, const float* in, float* out, int64_t n) {
  ApplyAll<Avx512Lanes>(function, in, out, n);
}

}  // namespace inferd
