// Goal: embedding, norms and sampling mean what device.h says, on every device.
#include <cmath>

#include "cpu/sampling.h"
#include "model/dequantize.h"
#include "tests/conformance/op_bench.h"

namespace inferd {
namespace {

class RowConformance : public DeviceTest {};

TEST_P(RowConformance, EmbedsRowsOfEveryFormat) {
  const std::vector<TokenId> tokens = {0, 36, 7, 7, 16, 15, 31};
  for (int i = 0; i < kNumQuantFormats; ++i) {
    const auto format = static_cast<QuantFormat>(i);
    const OwnedTensor table(format, 37, 512, 1);
    const OwnedTensor bias(RandomMatrix(1, 37, 2));
    const std::vector<float> values = Dequantize(table.view);
    Matrix expected(static_cast<int32_t>(tokens.size()), 512);
    for (int32_t r = 0; r < expected.rows; ++r) {
      for (int32_t c = 0; c < 512; ++c) {
        expected.at(r, c) =
            3.5f * values[static_cast<size_t>(tokens[static_cast<size_t>(r)] * 512 + c)];
      }
    }
    // With a bias: a tied model's, which belongs to the logits.
    auto linear = device().LoadLinear({.parts = {table.view}, .biases = {bias.view}});
    ASSERT_TRUE(linear.ok());
    ForwardBatch batch;
    batch.tokens = tokens;
    batch.positions = {0, 1, 2, 3, 4, 5, 6};
    batch.sequences = {{.first_row = 0, .n_rows = 7, .start = 0}};
    device().BeginStep(batch);
    auto out = device().AllocateTensor(7, 512);
    ASSERT_TRUE(out.ok());
    device().Embed(**linear, 3.5f, **out);
    OpBench bench(device());
    EXPECT_LE(RelativeError(expected, bench.Read(**out, 7)), limits().rows) << Info(format).name;
  }
}

TEST_P(RowConformance, NormalisesRows) {
  for (const int32_t d : {1, 5, 64, 100, 576}) {
    const Matrix x = RandomMatrix(9, d, 3);
    const Matrix residual = RandomMatrix(9, d, 4);
    const Matrix weight = RandomMatrix(1, d, 5);
    for (const float epsilon : {1e-6f, 0.1f}) {
      Matrix expected(9, d);
      Matrix expected_sum(9, d);
      for (int32_t r = 0; r < 9; ++r) {
        double squares = 0;
        for (int32_t i = 0; i < d; ++i) {
          squares += std::pow(static_cast<double>(x.at(r, i)), 2);
        }
        for (int32_t i = 0; i < d; ++i) {
          const double normal = static_cast<double>(x.at(r, i)) /
                                std::sqrt(squares / d + static_cast<double>(epsilon)) *
                                static_cast<double>(weight.at(0, i));
          expected.at(r, i) = static_cast<float>(normal);
          expected_sum.at(r, i) =
              static_cast<float>(normal + static_cast<double>(residual.at(r, i)));
        }
      }
      OpBench bench(device());
      bench.BeginStep(9);
      const auto loaded = bench.Load(weight.values);
      const auto fed = bench.Feed(x);
      const auto fed_residual = bench.Feed(residual);
      const auto out = bench.Empty(d);
      const auto norm = [&](const DeviceTensor* added, DeviceTensor* to) {
        device().RmsNorm({.x = fed.get(),
                          .weight = loaded.get(),
                          .epsilon = epsilon,
                          .residual = added,
                          .out = to});
        return bench.Read(*to, 9);
      };
      EXPECT_LE(RelativeError(expected, norm(nullptr, out.get())), limits().rows) << d;
      EXPECT_LE(RelativeError(expected_sum, norm(fed_residual.get(), out.get())), limits().rows);
      EXPECT_LE(RelativeError(expected_sum, norm(fed_residual.get(), fed_residual.get())),
                limits().rows);
      EXPECT_LE(RelativeError(expected, norm(nullptr, fed.get())), limits().rows);
    }
  }
}

// A device's Sample gives the reference sampler's tokens for its logits, whatever rows share a
// call.
TEST_P(RowConformance, SamplesByTheReference) {
  constexpr int32_t kRows = 6;
  const Matrix x = RandomMatrix(kRows, 64, 6);
  const OwnedTensor w(QuantFormat::kF32, 500, 64, 7);
  OpBench bench(device());
  bench.BeginStep(kRows);
  const auto linear = bench.Load({.parts = {w.view}, .biases = {}});
  const auto fed = bench.Feed(x);
  const auto logits = bench.Empty(500);
  bench.device().Logits(*fed, *linear, 1.0f, 0.0f, *logits);
  const Matrix values = bench.Read(*logits, kRows);

  const std::vector<SamplingParams> params = {
      {.temperature = 0, .logprobs = 3},
      {.seed = 1, .logprobs = 0},
      {.temperature = 0.7f, .top_k = 20, .seed = 2},
      {.top_p = 0.8f, .seed = 3},
      {.min_p = 0.05f, .repetition_penalty = 1.3f, .seed = 4},
      {.logit_bias = {{7, 9.0f}}, .seed = 5}};
  const std::vector<TokenId> output = {1, 2, 3};
  const std::vector<TokenId> suppressed = {0, 7};
  std::vector<SampleRow> rows;
  for (int32_t i = 0; i < 2 * kRows; ++i) {  // logits rows may be drawn from twice, in any order
    rows.push_back({.logits_row = (5 * i) % kRows,
                    .params = &params[static_cast<size_t>(i) % params.size()],
                    .choice = i / kRows,
                    .position = 100 + i,
                    .output = output,
                    .suppressed = suppressed});
  }
  std::vector<SampledToken> drawn(rows.size());
  device().Sample(*logits, rows, drawn);
  ASSERT_TRUE(device().Synchronize().ok());
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto row =
        std::span(values.values).subspan(static_cast<size_t>(rows[i].logits_row) * 500, 500);
    const SampledToken expected = Sampler().Sample(row, rows[i]);
    EXPECT_EQ(drawn[i].token, expected.token);
    EXPECT_EQ(drawn[i].logprob, expected.logprob);
    ASSERT_EQ(drawn[i].top.size(), expected.top.size());
    for (size_t j = 0; j < expected.top.size(); ++j) {
      EXPECT_EQ(drawn[i].top[j].token, expected.top[j].token);
      EXPECT_EQ(drawn[i].top[j].logprob, expected.top[j].logprob);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Devices,
                         RowConformance,
                         ::testing::ValuesIn(ConformanceDeviceNames()),
                         DeviceTestName);

}  // namespace
}  // namespace inferd
