// Goal: the quantised GEMMs of every device mean what their weights and activations mean, and a row
// never sees how many others there are. Method: every weight format of the kernels, both classes,
// one to 65 tokens, against f64 sums over the dequantised weights; bits of a row against the bits
// of the same row computed alone. The emulated cards run the kernels' own source; a real card runs
// the same cases in inferd_gpu_check, bit for bit against these.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "base/half.h"
#include "cuda/activation_layout.h"
#include "cuda/packed_weights.h"
#include "cuda/qgemm_emulated.h"
#include "tests/conformance/gemm_cases.h"
#include "tests/cuda/random_operands.h"

namespace inferd::cuda_internal {
namespace {

// f32 sums of the tensor core, which truncates, over the sum of the products' magnitudes.
constexpr double kErrorMax = 2e-6;

// One op on a device: y [m, n] f32 of packed operands.
struct GemmOp {
  WeightFormat format;
  GemmClass gemm_class = GemmClass::kDecode;
  GemmCase shape;
  const std::vector<uint8_t>* weights = nullptr;
  const std::vector<uint16_t>* x = nullptr;
};

class GemmConformance : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (GetParam() == "cuda") {
      GTEST_SKIP() << "cuda: this build has no CUDA device; `make gpu-check` runs the same cases "
                      "on a card";
    }
    options_.core =
        GetParam() == "emulated_sm80" ? TensorCoreClass::kAmpere : TensorCoreClass::kHopper;
  }

  // Tokens [first, end) of the op, the others NaN.
  std::vector<float> Run(const GemmOp& op, int64_t first, int64_t end) const {
    std::vector<float> y(static_cast<size_t>(op.shape.m * op.shape.n), std::nanf(""));
    QgemmArgs args{.weights = op.weights->data(),
                   .x = op.x->data(),
                   .n = op.shape.n,
                   .k = op.shape.k,
                   .first_token = first,
                   .end_token = end,
                   .epilogue = Epilogue::kStoreFloat,
                   .y = y.data()};
    if (op.gemm_class == GemmClass::kPrefill) {
      EmulateQgemmP(op.format, args, options_);
    } else if (EmulatesEveryShape(op.format)) {
      EmulateQgemmD(op.format, args, options_);
    } else {  // the shapes for more tokens are not built for this format: passes of eight
      for (; args.first_token < end; args.first_token += kTileTokens) {
        args.end_token = std::min<int64_t>(end, args.first_token + kTileTokens);
        EmulateQgemmD(op.format, args, options_);
      }
    }
    return y;
  }

  EmulationOptions options_;
};

// Weights as a file would hold them, so that the oracle reads them its own way.
std::string FileOf(const WeightFormat& format, const GemmCase& shape, uint64_t seed) {
  PackedWeights weights(format, shape.n, shape.k);
  SplitMix64 random(seed);
  for (int64_t row = 0; row < shape.n; ++row) {
    for (int64_t block = 0; block < NumBlocks(shape.k); ++block) {
      RowBlock values;
      for (uint8_t& code : values.codes) {
        code = static_cast<uint8_t>(random.Below(uint64_t{1} << format.bits));
      }
      const bool super = format.scale == ScaleKind::kSuperBlock;
      for (int g = 0; g < format.GroupsPerBlock(); ++g) {
        values.scale[g] = super ? static_cast<uint16_t>(random.Below(64))
                                : FloatToHalf(static_cast<float>(0.001 + 0.02 * random.Unit()));
        values.minimum[g] = super ? static_cast<uint16_t>(random.Below(64))
                                  : FloatToHalf(static_cast<float>(0.1 * random.Unit()));
        if (format.zero == ZeroKind::kZeroPoint) {
          values.zero[g] = static_cast<uint8_t>(random.Below(16));
        }
      }
      values.d = FloatToHalf(0.001f);
      values.d_minimum = FloatToHalf(0.002f);
      weights.Write(row, block, values);
    }
  }
  return weights.Serialize();
}

// The largest error over the sum of magnitudes of a row's products.
double ErrorOf(const GemmOp& op, const PackedWeights& weights, const std::vector<float>& y) {
  double worst = 0;
  for (int64_t n = 0; n < op.shape.n; ++n) {
    const std::vector<float> w = weights.DequantizeRow(n);
    for (int64_t m = 0; m < op.shape.m; ++m) {
      double sum = 0;
      double magnitude = 1e-30;
      for (int64_t k = 0; k < op.shape.k; ++k) {
        const double product =
            static_cast<double>(w[static_cast<size_t>(k)]) *
            static_cast<double>(
                BfloatToFloat((*op.x)[static_cast<size_t>(ActivationIndex(op.shape.k, m, k))]));
        sum += product;
        magnitude += std::abs(product);
      }
      const double got = static_cast<double>(y[static_cast<size_t>(m * op.shape.n + n)]);
      const double error = std::abs(got - sum) / magnitude;
      worst = std::isfinite(got) ? std::max(worst, error) : HUGE_VAL;
    }
  }
  return worst;
}

TEST_P(GemmConformance, EveryFormatClassAndNumberOfTokens) {
  uint64_t seed = 0;
  for (const WeightFormat& format : KernelFormats()) {
    for (size_t i = 0; i < kGemmCases.size(); ++i) {
      // The classes of cards differ in the tensor core alone, which cuda_test knows bit by bit.
      if (options_.core == TensorCoreClass::kAmpere && i % 4 != 0) {
        continue;
      }
      const GemmCase& shape = kGemmCases[i];
      const auto weights = PackedWeights::Parse(FileOf(format, shape, ++seed));
      ASSERT_TRUE(weights.ok()) << weights.status();
      const std::vector<uint8_t> bytes(weights->bytes().begin(), weights->bytes().end());
      const std::vector<uint16_t> x = RandomPackedActivations(shape.m, shape.k, seed);
      for (const GemmClass gemm_class : {GemmClass::kDecode, GemmClass::kPrefill}) {
        SCOPED_TRACE(
            "bits " + std::to_string(format.bits) + " group " + std::to_string(format.group) +
            " zero " + std::to_string(static_cast<int>(format.zero)) + " scale " +
            std::to_string(static_cast<int>(format.scale)) + " m " + std::to_string(shape.m) +
            (gemm_class == GemmClass::kDecode ? " decode" : " prefill"));
        const GemmOp op{format, gemm_class, shape, &bytes, &x};
        const std::vector<float> all = Run(op, 0, shape.m);
        EXPECT_LE(ErrorOf(op, *weights, all), kErrorMax);
        // The last tile of tokens alone.
        const int64_t first = (shape.m - 1) / kTileTokens * kTileTokens;
        const std::vector<float> alone = Run(op, first, shape.m);
        const auto at = static_cast<size_t>(first * shape.n);
        EXPECT_EQ(std::memcmp(&all[at], &alone[at], (all.size() - at) * sizeof(float)), 0);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Devices,
                         GemmConformance,
                         ::testing::Values("emulated_sm80", "emulated_sm90", "cuda"),
                         [](const ::testing::TestParamInfo<std::string>& test) {
                           return test.param;
                         });

}  // namespace
}  // namespace inferd::cuda_internal
