#include "cpu/vector_math.h"

#include "base/check.h"
#include "cpu/vector_math_apply.h"

namespace inferd {

void ApplyMath(CpuIsa isa, MathFunction function, const float* in, float* out, int64_t n) {
  CHECK(IsSupported(isa));
  switch (isa) {
    case CpuIsa::kScalar:
      return ApplyMathScalar(function, in, out, n);
    case CpuIsa::kAvx2:
      return ApplyMathAvx2(function, in, out, n);
    case CpuIsa::kAvx512:
      return ApplyMathAvx512(function, in, out, n);
  }
}

}  // namespace inferd
