#include "cpu/isa.h"

#include <cpuid.h>

namespace inferd {
namespace {

struct Leaf {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Leaf Cpuid(uint32_t leaf, uint32_t subleaf) {
  Leaf result;
  if (__get_cpuid_count(leaf, subleaf, &result.eax, &result.ebx, &result.ecx, &result.edx) == 0) {
    return Leaf{};
  }
  return result;
}

constexpr bool HasAll(uint32_t value, uint32_t bits) { return (value & bits) == bits; }

// The register state that the operating system saves (XCR0); 0 where it saves none.
uint32_t SavedState(const Leaf& leaf1) {
  if ((leaf1.ecx & bit_OSXSAVE) == 0) {
    return 0;
  }
  uint32_t low = 0;
  uint32_t high = 0;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

struct Detected {
  bool avx2 = false;
  bool avx512 = false;
};

Detected Detect() {
  constexpr uint32_t kYmmState = 0x6;   // SSE and AVX registers
  constexpr uint32_t kZmmState = 0xe6;  // and masks, upper halves, upper sixteen
  const Leaf leaf1 = Cpuid(1, 0);
  const Leaf leaf7 = Cpuid(7, 0);
  const uint32_t saved = SavedState(leaf1);
  Detected detected;
  detected.avx2 = HasAll(saved, kYmmState) && HasAll(leaf1.ecx, bit_AVX | bit_FMA | bit_F16C) &&
                  HasAll(leaf7.ebx, bit_AVX2);
  detected.avx512 = detected.avx2 && HasAll(saved, kZmmState) &&
                    HasAll(leaf7.ebx, bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL) &&
                    HasAll(leaf7.ecx, bit_AVX512VNNI);
  return detected;
}

}  // namespace

std::string_view Name(CpuIsa isa) {
  switch (isa) {
    case CpuIsa::kScalar:
      return "scalar";
    case CpuIsa::kAvx2:
      return "avx2";
    case CpuIsa::kAvx512:
      return "avx512";
  }
  return "unknown";
}

std::optional<CpuIsa> CpuIsaFromName(std::string_view name) {
  for (const CpuIsa isa : {CpuIsa::kScalar, CpuIsa::kAvx2, CpuIsa::kAvx512}) {
    if (Name(isa) == name) {
      return isa;
    }
  }
  return std::nullopt;
}

bool IsSupported(CpuIsa isa) {
  static const Detected detected = Detect();
  switch (isa) {
    case CpuIsa::kScalar:
      return true;
    case CpuIsa::kAvx2:
      return detected.avx2;
    case CpuIsa::kAvx512:
      return detected.avx512;
  }
  return false;
}

CpuIsa BestIsa() {
  if (IsSupported(CpuIsa::kAvx512)) {
    return CpuIsa::kAvx512;
  }
  return IsSupported(CpuIsa::kAvx2) ? CpuIsa::kAvx2 : CpuIsa::kScalar;
}

}  // namespace inferd
