// The elementary functions of the numeric contract over arrays, on a chosen instruction set. The
// kernels use the same code in line; this is the door for tests and for whoever needs an array.
#pragma once

#include <cstdint>

#include "cpu/isa.h"

namespace inferd {

enum class MathFunction : uint8_t { kExp, kTanh, kSilu, kGeluTanh };

// out[i] = function(in[i]), i < n; out may be in. The ISA must be supported.
void ApplyMath(CpuIsa isa, MathFunction function, const float* in, float* out, int64_t n);

}  // namespace inferd
