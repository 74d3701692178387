// The names round-trip, and detection agrees with the compiler's own.
#include "cpu/isa.h"

#include "gtest/gtest.h"

namespace inferd {
namespace {

TEST(Isa, NamesRoundTrip) {
  for (const CpuIsa isa : {CpuIsa::kScalar, CpuIsa::kAvx2, CpuIsa::kAvx512}) {
    EXPECT_EQ(CpuIsaFromName(Name(isa)), isa);
  }
  EXPECT_EQ(CpuIsaFromName("amx"), std::nullopt);
  EXPECT_EQ(CpuIsaFromName(""), std::nullopt);
}

TEST(Isa, DetectionAgreesWithTheCompiler) {
  EXPECT_TRUE(IsSupported(CpuIsa::kScalar));
  EXPECT_EQ(IsSupported(CpuIsa::kAvx2),
            __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0);
  EXPECT_EQ(IsSupported(CpuIsa::kAvx512),
            __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
                __builtin_cpu_supports("avx512dq") != 0 &&
                __builtin_cpu_supports("avx512vl") != 0 &&
                __builtin_cpu_supports("avx512vnni") != 0);
  EXPECT_TRUE(IsSupported(BestIsa()));
}

}  // namespace
}  // namespace inferd
