#include "tests/support/random_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "model/dequantize.h"
#include "model/model_description.h"

namespace inferd {
namespace {

using FamilyAndFormat = std::tuple<std::string_view, QuantFormat>;
class EachRandomModel : public testing::TestWithParam<FamilyAndFormat> {};

TEST_P(EachRandomModel, IsUnderstoodWhollyAndItsWeightsAreSane) {
  const auto& [family, format] = GetParam();
  const RandomModelSpec spec = TinyModel(family, 7, format);
  const std::string bytes = RandomModel(spec).Bytes();
  EXPECT_EQ(bytes, RandomModel(spec).Bytes());
  const auto gguf = Gguf::Parse(std::as_bytes(std::span(bytes)));
  ASSERT_TRUE(gguf.ok()) << gguf.status();
  const auto model = DescribeModel(*gguf);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(static_cast<int32_t>(model->config.layers.size()), spec.n_layers);
  EXPECT_EQ(model->config.vocab_size, spec.vocab_size);
  const LayerWeights& layer = model->weights.layers.back();
  for (const TensorView* tensor : {&layer.q, &layer.v, &layer.up, &layer.down}) {
    EXPECT_EQ(tensor->format, format);
    double sum = 0.0;
    double squares = 0.0;
    for (const float value : Dequantize(*tensor)) {
      ASSERT_TRUE(std::isfinite(value));
      sum += double{value};
      squares += double{value} * double{value};
    }
    const auto n = static_cast<double>(tensor->num_values());
    const double wanted = 1.0 / std::sqrt(static_cast<double>(tensor->cols));
    EXPECT_NEAR(std::sqrt(squares / n), wanted, 0.25 * wanted) << tensor->name;
    EXPECT_NEAR(sum / n, 0.0, 0.2 * wanted) << tensor->name;
  }
}

INSTANTIATE_TEST_SUITE_P(Families,
                         EachRandomModel,
                         testing::Combine(testing::ValuesIn(RandomModelFamilies().begin(),
                                                            RandomModelFamilies().end()),
                                          testing::Values(QuantFormat::kF32,
                                                          QuantFormat::kF16,
                                                          QuantFormat::kBF16,
                                                          QuantFormat::kQ4_0,
                                                          QuantFormat::kQ4_1,
                                                          QuantFormat::kQ5_0,
                                                          QuantFormat::kQ5_1,
                                                          QuantFormat::kQ8_0,
                                                          QuantFormat::kQ2_K,
                                                          QuantFormat::kQ3_K,
                                                          QuantFormat::kQ4_K,
                                                          QuantFormat::kQ5_K,
                                                          QuantFormat::kQ6_K)),
                         [](const testing::TestParamInfo<FamilyAndFormat>& model) {
                           return std::string(std::get<0>(model.param)) + "_" +
                                  std::string(Info(std::get<1>(model.param)).name);
                         });

TEST(RandomModel, BenchShapeHasElevenHundredMillionParameters) {
  const RandomModelSpec spec = BenchModel(1, QuantFormat::kQ4_0);
  const int64_t attention =
      int64_t{2} * spec.d_model * (spec.n_heads + spec.n_kv_heads) * spec.head_dim;
  const int64_t ffn = int64_t{3} * spec.d_model * spec.d_ff;
  const int64_t parameters =
      spec.n_layers * (attention + ffn) + int64_t{2} * spec.vocab_size * spec.d_model;
  EXPECT_NEAR(static_cast<double>(parameters), 1.1e9, 0.05e9);
}

TEST(RandomModel, SeedsGiveDifferentWeights) {
  EXPECT_NE(RandomModel(TinyModel("llama", 1, QuantFormat::kF32)).Bytes(),
            RandomModel(TinyModel("llama", 2, QuantFormat::kF32)).Bytes());
}

}  // namespace
}  // namespace inferd
