// Goal: a model folder in int4 means the model that it was made from. Method: random folders of
// GPTQ and AWQ, whose writer also gives the same model as a GGUF file of F32, computed from the
// codes apart from the reader; `exact` must give the same logits from both, and every device must
// lie near them.
#include <cmath>
#include <vector>

#include "base/check.h"
#include "tests/conformance/model_run.h"
#include "tests/conformance/op_bench.h"
#include "tests/support/random_folder.h"
#include "tests/support/temp_folder.h"
#include "text/tokenizer.h"

namespace inferd {
namespace {

constexpr int32_t kTokens = 40;  // past the windows of 32

struct Case {
  const char* name;
  RandomFolderSpec spec;
};

const std::vector<Case>& Cases() {
  static const std::vector<Case> cases = {
      {"gptq symmetric", {.model_type = "qwen2", .seed = 1}},
      {"gptq with zeros", {.model_type = "qwen3", .symmetric = false, .group = 32, .seed = 2}},
      {"gptq in the order of activations",
       {.model_type = "llama", .symmetric = false, .act_order = true, .group = 64, .seed = 3}},
      {"gptq, one group", {.model_type = "llama", .group = -1, .llama3_rope = true, .seed = 4}},
      {"gptq v2 in two files",
       {.model_type = "qwen2",
        .layout = Int4Layout::kGptqV2,
        .symmetric = false,
        .act_order = true,
        .group = 32,
        .tied = true,
        .shards = 2,
        .seed = 5}},
      {"awq", {.model_type = "qwen2", .layout = Int4Layout::kAwq, .symmetric = false, .seed = 6}},
      {"awq symmetric, windows",
       {.model_type = "mistral", .layout = Int4Layout::kAwq, .group = 64, .seed = 7}},
      {"floats", {.model_type = "llama", .quantised = false, .seed = 8}}};
  return cases;
}

struct Models {
  TempFolder folder;
  std::unique_ptr<ModelFile> of_folder;
  std::unique_ptr<ModelFile> of_gguf;
};

std::unique_ptr<Models> Make(const RandomFolderSpec& spec) {
  auto models = std::make_unique<Models>();
  const auto writer = WriteRandomFolder(spec, models->folder.path());
  CHECK(writer.ok());
  const std::string path = models->folder / "model.gguf";
  CHECK(writer->WriteFile(path).ok());
  auto of_gguf = ModelFile::Open(path);
  EXPECT_TRUE(of_gguf.ok()) << of_gguf.status();
  auto of_folder = ModelFile::Open(models->folder.path());
  EXPECT_TRUE(of_folder.ok()) << of_folder.status();
  if (!of_folder.ok() || !of_gguf.ok()) {
    return nullptr;
  }
  models->of_gguf = *std::move(of_gguf);
  models->of_folder = *std::move(of_folder);
  return models;
}

double MeanKl(const Matrix& reference, const Matrix& logits) {
  const auto log_sum = [](const Matrix& matrix, int32_t row) {
    double sum = 0;
    for (int32_t c = 0; c < matrix.cols; ++c) {
      sum += std::exp(static_cast<double>(matrix.at(row, c)));
    }
    return std::log(sum);
  };
  double kl = 0;
  for (int32_t r = 0; r < reference.rows; ++r) {
    const double p_sum = log_sum(reference, r);
    const double q_sum = log_sum(logits, r);
    for (int32_t c = 0; c < reference.cols; ++c) {
      const double p = static_cast<double>(reference.at(r, c)) - p_sum;
      kl += std::exp(p) * (p - static_cast<double>(logits.at(r, c)) + q_sum);
    }
  }
  return kl / reference.rows;
}

Matrix LogitsOf(Device& device, const ModelFile& file) {
  const ModelRun::Options options{.rows_max = kTokens, .logit_rows_max = kTokens, .units = 12};
  const std::vector<TokenId> tokens = RandomTokens(file.config(), kTokens, 8);
  auto run = ModelRun::Load(device, file, options);
  EXPECT_TRUE(run.ok()) << run.status();
  if (!run.ok()) {
    return {};
  }
  const RunLogits logits = (*run)->LogitsOf(tokens, kTokens);
  Matrix matrix(kTokens, static_cast<int32_t>(logits[0].size()));
  for (int32_t r = 0; r < kTokens; ++r) {
    for (int32_t c = 0; c < matrix.cols; ++c) {
      matrix.at(r, c) = logits[static_cast<size_t>(r)][static_cast<size_t>(c)];
    }
  }
  return matrix;
}

class FolderConformance : public DeviceTest {};

TEST_P(FolderConformance, LogitsAreThoseOfTheSameModelInFloat) {
  const auto exact = OpenConformanceDevice("exact");
  for (const Case& test : Cases()) {
    SCOPED_TRACE(test.name);
    // What a format means does not know the device: others take those that reach them differently.
    if (GetParam() != "exact" && !test.spec.act_order && test.spec.layout != Int4Layout::kAwq) {
      continue;
    }
    const auto models = Make(test.spec);
    ASSERT_NE(models, nullptr);
    const Matrix reference = LogitsOf(*exact.device, *models->of_gguf);
    if (GetParam() == "exact") {
      // The same numbers, but for the order of sums over heads whose rows llama permutes.
      EXPECT_LE(RelativeError(reference, LogitsOf(device(), *models->of_folder)), 1e-6);
      continue;
    }
    EXPECT_LE(MeanKl(reference, LogitsOf(device(), *models->of_folder)),
              limits().model_kl_quantised);
  }
}

// Weights in an order of their own read activations in that order: the same bits as if both were.
TEST_P(FolderConformance, ColumnsInAnOrderOfTheirOwn) {
  constexpr int32_t kRows = 5;
  constexpr int32_t kIn = 96;
  std::vector<int32_t> order(kIn);
  for (int32_t i = 0; i < kIn; ++i) {
    order[static_cast<size_t>(i)] = i * 35 % kIn;
  }
  const OwnedTensor w(QuantFormat::kQ5_0, 20, kIn, 3);
  TensorView ordered = w.view;
  ordered.column_order = order;
  const Matrix x = RandomMatrix(kRows, kIn, 4);
  Matrix x_ordered(kRows, kIn);
  for (int32_t r = 0; r < kRows; ++r) {
    for (int32_t i = 0; i < kIn; ++i) {
      x_ordered.at(r, i) = x.at(r, order[static_cast<size_t>(i)]);
    }
  }
  const auto run = [&](const TensorView& view, const Matrix& input) {
    OpBench bench(device());
    bench.BeginStep(kRows);
    const auto linear = bench.Load({.parts = {view}, .biases = {}});
    const auto fed = bench.Feed(input);
    const auto out = bench.Empty(20);
    bench.device().Linear({.x = fed.get(), .weight = linear.get(), .out = out.get()});
    return bench.Read(*out, kRows);
  };
  const Matrix expected = run(w.view, x_ordered);
  const Matrix actual = run(ordered, x);
  if (GetParam() == "exact") {
    EXPECT_LE(RelativeError(expected, actual), 1e-6);  // its sums keep the order of the matrix
  } else {
    EXPECT_EQ(expected.values, actual.values);
  }
}

INSTANTIATE_TEST_SUITE_P(Devices,
                         FolderConformance,
                         ::testing::ValuesIn(ConformanceDeviceNames()),
                         DeviceTestName);

TEST(Folder, TokenizesAsTheGgufFileDoes) {
  for (const Case& test : Cases()) {
    SCOPED_TRACE(test.name);
    const auto models = Make(test.spec);
    ASSERT_NE(models, nullptr);
    const auto expected = Tokenizer::Create(models->of_gguf->vocabulary());
    const auto actual = Tokenizer::Create(models->of_folder->vocabulary());
    ASSERT_TRUE(expected.ok() && actual.ok()) << expected.status() << actual.status();
    for (const char* text : {"the sea, 2026 times; don't", " two  spaces\n", "\xc3\xa9t\xc3\xa9"}) {
      const auto a = (*expected)->Encode(text, SpecialTokens::kParse);
      const auto b = (*actual)->Encode(text, SpecialTokens::kParse);
      ASSERT_TRUE(a.ok() && b.ok()) << a.status() << b.status();
      EXPECT_EQ(*a, *b) << text;
    }
    EXPECT_EQ(models->of_gguf->vocabulary().add_bos, models->of_folder->vocabulary().add_bos);
    EXPECT_EQ(models->of_gguf->vocabulary().eos, models->of_folder->vocabulary().eos);
    EXPECT_EQ(models->of_gguf->vocabulary().chat_template,
              models->of_folder->vocabulary().chat_template);
  }
}

}  // namespace
}  // namespace inferd
