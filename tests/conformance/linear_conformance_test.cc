// Goal: every device's linear ops mean what device.h says. Method: every storage format, odd shapes
// and row counts, fused parts, gates, biases and residuals, against f64 sums over the reference
// dequantisers; tight where the activations are such that int8 holds them.
#include <cmath>

#include "model/dequantize.h"
#include "tests/conformance/op_bench.h"

namespace inferd {
namespace {

constexpr double kSqrt2OverPi = 0.7978845608028654;

double Gate(Activation activation, double x) {
  return activation == Activation::kSilu
             ? x / (1 + std::exp(-x))
             : 0.5 * x * (1 + std::tanh(kSqrt2OverPi * (x + 0.044715 * x * x * x)));
}

// x · Wᵀ + bias over the stacked parts, then the gate, then the residual.
Matrix NaiveLinear(const Matrix& x, const LinearSpec& spec, const Matrix* residual) {
  std::vector<double> stacked;
  int32_t out = 0;
  for (const TensorView& part : spec.parts) {
    out += static_cast<int32_t>(part.rows);
  }
  stacked.resize(static_cast<size_t>(x.rows * out));
  int32_t first = 0;
  for (size_t p = 0; p < spec.parts.size(); ++p) {
    const std::vector<float> w = Dequantize(spec.parts[p]);
    const std::vector<float> bias = spec.biases.empty() || spec.biases[p].empty()
                                        ? std::vector<float>(w.size(), 0.0f)
                                        : Dequantize(spec.biases[p]);
    for (int32_t r = 0; r < x.rows; ++r) {
      for (int32_t o = 0; o < spec.parts[p].rows; ++o) {
        double sum = static_cast<double>(bias[static_cast<size_t>(o)]);
        for (int32_t i = 0; i < x.cols; ++i) {
          sum += static_cast<double>(x.at(r, i)) *
                 static_cast<double>(w[static_cast<size_t>(o * x.cols + i)]);
        }
        stacked[static_cast<size_t>(r * out + first + o)] = sum;
      }
    }
    first += static_cast<int32_t>(spec.parts[p].rows);
  }
  Matrix result(x.rows, spec.gated ? out / 2 : out);
  for (int32_t r = 0; r < x.rows; ++r) {
    for (int32_t o = 0; o < result.cols; ++o) {
      double y = stacked[static_cast<size_t>(r * out + o)];
      if (spec.gated) {
        y = Gate(spec.activation, y) * stacked[static_cast<size_t>(r * out + result.cols + o)];
      }
      result.at(r, o) = static_cast<float>(
          y + (residual == nullptr ? 0.0 : static_cast<double>(residual->at(r, o))));
    }
  }
  return result;
}

class LinearConformance : public DeviceTest {
 protected:
  // Runs the op; `residual` may be null. If `in_place`, the output tensor is the residual's.
  Matrix Run(const Matrix& x, const LinearSpec& spec, const Matrix* residual, bool in_place) {
    OpBench bench(device());
    bench.BeginStep(x.rows);
    const auto linear = bench.Load(spec);
    const auto fed = bench.Feed(x);
    std::unique_ptr<DeviceTensor> fed_residual;
    if (residual != nullptr) {
      fed_residual = bench.Feed(*residual);
    }
    std::unique_ptr<DeviceTensor> own = in_place ? nullptr : bench.Empty(linear->out_features());
    DeviceTensor* out = in_place ? fed_residual.get() : own.get();
    bench.device().Linear(
        {.x = fed.get(), .weight = linear.get(), .residual = fed_residual.get(), .out = out});
    return bench.Read(*out, x.rows);
  }
};

bool IsFloat(QuantFormat format) { return Info(format).block_values == 1; }

std::vector<QuantFormat> AllFormats() {
  std::vector<QuantFormat> formats;
  for (int i = 0; i < kNumQuantFormats; ++i) {
    formats.push_back(static_cast<QuantFormat>(i));
  }
  return formats;
}

TEST_P(LinearConformance, EveryFormatAndShape) {
  struct Shape {
    int32_t rows, out, blocks;
  };
  for (const QuantFormat format : AllFormats()) {
    for (const Shape shape : {Shape{1, 1, 1},
                              Shape{2, 16, 2},
                              Shape{5, 17, 3},
                              Shape{3, 100, 1},
                              Shape{33, 40, 2},
                              Shape{17, 31, 1}}) {
      const int32_t in = shape.blocks * (IsFloat(format) ? 36 : Info(format).block_values);
      SCOPED_TRACE(std::string(Info(format).name) + " rows " + std::to_string(shape.rows) +
                   " out " + std::to_string(shape.out) + " in " + std::to_string(in));
      const OwnedTensor w(format, shape.out, in, static_cast<uint64_t>(shape.out));
      const LinearSpec spec{.parts = {w.view}, .biases = {}};
      const Matrix held = RandomInt8Matrix(shape.rows, in, 1);
      EXPECT_LE(RelativeError(NaiveLinear(held, spec, nullptr), Run(held, spec, nullptr, false)),
                limits().linear);
      if (shape.rows * shape.out < 100) {
        continue;  // too few outputs for their root mean square to say what noise is
      }
      const Matrix any = RandomMatrix(shape.rows, in, 2);
      EXPECT_LE(RelativeError(NaiveLinear(any, spec, nullptr), Run(any, spec, nullptr, false)),
                IsFloat(format) ? limits().linear : limits().linear_noise);
    }
  }
}

TEST_P(LinearConformance, PartsOfDifferentFormatsAndSizesWithBiases) {
  for (const auto& formats :
       {std::vector{QuantFormat::kQ4_K, QuantFormat::kQ4_K, QuantFormat::kQ6_K},
        std::vector{QuantFormat::kF32, QuantFormat::kF16, QuantFormat::kBF16},
        std::vector{QuantFormat::kQ8_0, QuantFormat::kF32, QuantFormat::kQ4_1},
        std::vector{QuantFormat::kQ2_K, QuantFormat::kQ5_0, QuantFormat::kQ3_K}}) {
    const OwnedTensor q(formats[0], 40, 256, 3);
    const OwnedTensor k(formats[1], 8, 256, 4);
    const OwnedTensor v(formats[2], 24, 256, 5);
    const OwnedTensor q_bias(RandomMatrix(1, 40, 6));
    const OwnedTensor v_bias(RandomMatrix(1, 24, 7));
    const LinearSpec spec{.parts = {q.view, k.view, v.view},
                          .biases = {q_bias.view, TensorView{}, v_bias.view}};
    const Matrix x = RandomInt8Matrix(7, 256, 8);
    EXPECT_LE(RelativeError(NaiveLinear(x, spec, nullptr), Run(x, spec, nullptr, false)),
              limits().linear)
        << Info(formats[0]).name;
  }
}

TEST_P(LinearConformance, GatesAndResiduals) {
  for (const QuantFormat format : {QuantFormat::kF32, QuantFormat::kQ4_1, QuantFormat::kQ4_K}) {
    for (const Activation activation : {Activation::kSilu, Activation::kGeluTanh}) {
      for (const int32_t out : {1, 24, 50}) {
        const OwnedTensor gate(format, out, 256, 9);
        const OwnedTensor up(format, out, 256, 10);
        const LinearSpec spec{
            .parts = {gate.view, up.view}, .biases = {}, .gated = true, .activation = activation};
        const Matrix x = RandomInt8Matrix(6, 256, 11);
        const Matrix residual = RandomMatrix(6, out, 12);
        const Matrix expected = NaiveLinear(x, spec, nullptr);
        EXPECT_LE(RelativeError(expected, Run(x, spec, nullptr, false)), limits().linear);
        const Matrix with_residual = NaiveLinear(x, spec, &residual);
        EXPECT_LE(RelativeError(with_residual, Run(x, spec, &residual, false)), limits().linear);
        EXPECT_LE(RelativeError(with_residual, Run(x, spec, &residual, true)), limits().linear);
      }
    }
  }
}

// Values at the edges: all zero, huge, tiny.
TEST_P(LinearConformance, ExtremeActivations) {
  const OwnedTensor w(QuantFormat::kQ4_0, 20, 64, 13);
  const LinearSpec spec{.parts = {w.view}, .biases = {}};
  for (const float scale : {0.0f, 1e-30f, 1e-6f, 1e6f, 1e30f}) {
    Matrix x = RandomInt8Matrix(4, 64, 14);
    for (float& value : x.values) {
      value *= scale;
    }
    EXPECT_LE(RelativeError(NaiveLinear(x, spec, nullptr), Run(x, spec, nullptr, false)),
              limits().linear_noise)
        << scale;
  }
}

TEST_P(LinearConformance, Logits) {
  for (const QuantFormat format : {QuantFormat::kF32, QuantFormat::kQ8_0, QuantFormat::kQ6_K}) {
    const OwnedTensor w(format, 333, 256, 15);
    const OwnedTensor bias(RandomMatrix(1, 333, 16));
    const LinearSpec spec{.parts = {w.view}, .biases = {bias.view}};
    const Matrix x = RandomInt8Matrix(9, 256, 17);
    const std::vector<int32_t> wanted = {0, 3, 4, 8};
    Matrix expected = NaiveLinear(x, spec, nullptr);
    constexpr float kScale = 0.25f;
    constexpr float kCap = 3.0f;
    Matrix rows(4, 333);
    for (int32_t r = 0; r < 4; ++r) {
      for (int32_t o = 0; o < 333; ++o) {
        rows.at(r, o) =
            kCap * std::tanh(kScale * expected.at(wanted[static_cast<size_t>(r)], o) / kCap);
      }
    }
    OpBench bench(device());
    bench.BeginStep(ForwardBatch{.tokens = std::vector<TokenId>(9),
                                 .positions = {0, 1, 2, 3, 4, 5, 6, 7, 8},
                                 .sequences = {{.first_row = 0, .n_rows = 9, .start = 0}},
                                 .logit_rows = wanted});
    const auto linear = bench.Load(spec);
    const auto fed = bench.Feed(x);
    const auto out = bench.Empty(333);
    bench.device().Logits(*fed, *linear, kScale, kCap, *out);
    EXPECT_LE(RelativeError(rows, bench.Read(*out, 4)), limits().linear) << Info(format).name;
  }
}

INSTANTIATE_TEST_SUITE_P(Devices,
                         LinearConformance,
                         ::testing::ValuesIn(ConformanceDeviceNames()),
                         DeviceTestName);

}  // namespace
}  // namespace inferd
