// The instruction sets that the CPU device has kernels for. All give the same bits
// (docs/design/0002): the choice changes speed alone.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace inferd {

enum class CpuIsa : uint8_t { kScalar, kAvx2, kAvx512 };

// "scalar", "avx2" (with FMA and F16C), "avx512" (F, BW, DQ, VL, VNNI).
std::string_view Name(CpuIsa isa);
std::optional<CpuIsa> CpuIsaFromName(std::string_view name);
// What CPUID and XGETBV allow on this host. kScalar always.
bool IsSupported(CpuIsa isa);
// The fastest supported one.
CpuIsa BestIsa();

}  // namespace inferd
