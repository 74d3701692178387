// Goal: a row's logits depend on its own tokens alone. Method: random mixes over tiny random models
// (full and window KV, plain and K-quants, partial rope) on every instruction set and with several
// threads, held to single rows computed on the scalar code.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>

#include "base/check.h"
#include "tests/conformance/op_bench.h"
#include "tests/invariance/random_mixes.h"
#include "tests/support/random_model.h"

namespace inferd {
namespace {

// Four tests make 200 mixes on each CPU device in optimised builds; sanitised ones take fewer.
#ifdef NDEBUG
constexpr int32_t kMixes = 50;
#else
constexpr int32_t kMixes = 8;
#endif

class Invariance : public DeviceTest {
 protected:
  void Check(std::string_view family, QuantFormat format) {
    SCOPED_TRACE(family);
    const std::string path =
        ::testing::TempDir() + "inferd_invariance_" + std::to_string(getpid()) + ".gguf";
    ASSERT_TRUE(WriteRandomModel(TinyModel(family, 3, format), path).ok());
    const auto file = ModelFile::Open(path);
    ASSERT_TRUE(file.ok()) << Message(file.status());
    CHECK(std::remove(path.c_str()) == 0);
    const MixOptions options{.seed = 11};
    const ConformanceDevice scalar =
        OpenConformanceDevice(GetParam() == "exact" ? "exact" : "cpu_scalar", 1);
    const auto references = MakeReferences(*scalar.device, **file, options);
    const int32_t mixes = GetParam() == "exact" ? 4 : kMixes;
    const MixCounts counts = RunMixes(device(), **file, references, mixes, options);
    EXPECT_EQ(counts.mismatches, 0) << "of " << counts.rows << " rows";
    // The mixes did what they are for.
    EXPECT_GE(counts.widest_step, 16);
    EXPECT_GE(counts.preemptions, mixes);
    EXPECT_GE(counts.takeovers, mixes);
  }
};

TEST_P(Invariance, FullAttention) { Check("llama", QuantFormat::kQ4_1); }
TEST_P(Invariance, Windows) { Check("gemma3", QuantFormat::kQ8_0); }
TEST_P(Invariance, KQuants) { Check("qwen3", QuantFormat::kQ4_K); }
TEST_P(Invariance, FloatWeights) { Check("phi3", QuantFormat::kF32); }

INSTANTIATE_TEST_SUITE_P(Devices,
                         Invariance,
                         ::testing::ValuesIn(ConformanceDeviceNames()),
                         DeviceTestName);

}  // namespace
}  // namespace inferd
