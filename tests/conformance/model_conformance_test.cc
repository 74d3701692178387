// Goal: whole models mean the same on every device: logits of tiny random models of every family
// and of the main storage formats lie near those of `exact`, and no cut of the prompt changes one
// bit of them.
#include <unistd.h>

#include <array>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "base/check.h"
#include "tests/conformance/model_run.h"
#include "tests/conformance/op_bench.h"
#include "tests/support/random_model.h"

namespace inferd {
namespace {

constexpr std::array<int32_t, 4> kCuts = {1, 63, 64, 65};
constexpr int32_t kTokens = 150;  // over two block borders, and far behind windows of 32

// The file is mapped when it is opened, so its name can go at once.
std::unique_ptr<ModelFile> OpenTiny(std::string_view family, QuantFormat format) {
  const std::string path =
      ::testing::TempDir() + "inferd_conformance_" + std::to_string(getpid()) + ".gguf";
  CHECK(WriteRandomModel(TinyModel(family, 7, format), path).ok());
  auto file = ModelFile::Open(path);
  CHECK(file.ok());
  CHECK(std::remove(path.c_str()) == 0);
  return *std::move(file);
}

double MeanKl(const RunLogits& reference, const RunLogits& logits) {
  const auto log_softmax = [](const std::vector<float>& row) {
    double sum = 0;
    for (const float logit : row) {
      sum += std::exp(static_cast<double>(logit));
    }
    std::vector<double> logprobs;
    for (const float logit : row) {
      logprobs.push_back(static_cast<double>(logit) - std::log(sum));
    }
    return logprobs;
  };
  double kl = 0;
  for (size_t r = 0; r < reference.size(); ++r) {
    const std::vector<double> p = log_softmax(reference[r]);
    const std::vector<double> q = log_softmax(logits[r]);
    for (size_t i = 0; i < p.size(); ++i) {
      kl += std::exp(p[i]) * (p[i] - q[i]);
    }
  }
  return kl / static_cast<double>(reference.size());
}

bool SameBits(const RunLogits& a, const RunLogits& b) {
  CHECK(a.size() == b.size());
  for (size_t r = 0; r < a.size(); ++r) {
    if (std::memcmp(a[r].data(), b[r].data(), a[r].size() * sizeof(float)) != 0) {
      return false;
    }
  }
  return true;
}

class ModelConformance : public DeviceTest {
 protected:
  // Checks one model; `kl_max` bounds the mean KL from exact.
  void Check(const ModelFile& file, double kl_max, std::span<const int32_t> cuts) {
    const ModelRun::Options options{.rows_max = kTokens, .logit_rows_max = kTokens, .units = 12};
    const std::vector<TokenId> tokens = RandomTokens(file.config(), kTokens, 8);
    const auto exact = OpenConformanceDevice("exact");
    auto oracle = ModelRun::Load(*exact.device, file, options);
    ASSERT_TRUE(oracle.ok()) << Message(oracle.status());
    const RunLogits reference = (*oracle)->LogitsOf(tokens, kTokens);
    auto run = ModelRun::Load(device(), file, options);
    ASSERT_TRUE(run.ok()) << Message(run.status());
    const RunLogits whole = (*run)->LogitsOf(tokens, kTokens);
    EXPECT_LE(MeanKl(reference, whole), kl_max);
    for (const int32_t cut : cuts) {
      EXPECT_TRUE(SameBits(whole, (*run)->LogitsOf(tokens, cut))) << "cut at " << cut;
    }
  }
};

TEST_P(ModelConformance, EveryFamilyInFloat) {
  for (const std::string_view family : RandomModelFamilies()) {
    SCOPED_TRACE(family);
    Check(*OpenTiny(family, QuantFormat::kF32), limits().model_kl_float, kCuts);
  }
}

TEST_P(ModelConformance, EveryFamilyQuantised) {
  for (const std::string_view family : RandomModelFamilies()) {
    SCOPED_TRACE(family);
    Check(*OpenTiny(family, QuantFormat::kQ8_0), limits().model_kl_quantised, kCuts);
  }
}

TEST_P(ModelConformance, EveryFormat) {
  for (int i = 0; i < kNumQuantFormats; ++i) {
    const auto format = static_cast<QuantFormat>(i);
    SCOPED_TRACE(Info(format).name);
    const bool is_float = Info(format).block_values == 1;
    Check(*OpenTiny("qwen2", format),
          is_float ? limits().model_kl_float : limits().model_kl_quantised,
          std::span(kCuts).subspan(1, 1));
  }
}

INSTANTIATE_TEST_SUITE_P(Devices,
                         ModelConformance,
                         ::testing::ValuesIn(ConformanceDeviceNames()),
                         DeviceTestName);

}  // namespace
}  // namespace inferd
