// Goal: the Transformer computes every family as llama.cpp does. Method: tiny random F32 models
// with every feature of their family on, made again from their seeds, and the committed logits that
// llama.cpp has for 96 positions of each with an F32 KV cache; its F32 path is exact too but for a
// GELU from an f16 table.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "base/check.h"
#include "base/sha256.h"
#include "cpu/exact_device.h"
#include "tests/conformance/model_run.h"
#include "tests/golden/cells.h"
#include "tests/support/random_model.h"

namespace inferd {
namespace {

constexpr double kMaxDiff = 0.001;
constexpr double kGegluMaxDiff = 0.02;

std::string DataFile(const std::string& name) {
  return INFERD_SOURCE_DIR "/tests/golden/data/families/" + name;
}

// The model of an entry of index.json, made again from its seed. kDataLoss if it is not the one
// that llama.cpp was given.
StatusOr<std::unique_ptr<ModelFile>> OpenModel(const nlohmann::json& entry) {
  RandomModelSpec spec = TinyModel(
      entry.at("family").get<std::string>(), entry.at("seed").get<uint64_t>(), QuantFormat::kF32);
  if (!entry.at("window").is_null()) {
    spec.window = entry.at("window").get<int32_t>();
  }
  const std::string bytes = RandomModel(spec).Bytes();
  if (Sha256Of(bytes).Hex() != entry.at("sha256").get<std::string>()) {
    return ErrorF(StatusCode::kDataLoss,
                  "%s: the generator makes another model now; make the goldens again",
                  spec.family);
  }
  const std::string path =
      ::testing::TempDir() + "inferd_family_" + std::to_string(getpid()) + ".gguf";
  std::ofstream(path, std::ios::binary) << bytes;
  auto file = ModelFile::Open(path);
  CHECK(std::remove(path.c_str()) == 0);
  return file;
}

// The largest difference of a logit.
StatusOr<double> MaxDiff(const nlohmann::json& entry) {
  const auto name = entry.at("name").get<std::string>();
  ASSIGN_OR_RETURN(const GoldenLogits golden, ReadLogits(DataFile(name + ".logits.gz")));
  ASSIGN_OR_RETURN(const auto file, OpenModel(entry));
  const auto device = MakeExactDevice();
  ASSIGN_OR_RETURN(const auto run, ModelRun::Load(*device, *file, ModelRun::Options{}));
  if (run->config().vocab_size != golden.vocab_size) {
    return ErrorF(StatusCode::kDataLoss, "%s: vocabularies differ", name);
  }
  double worst = 0;
  size_t at = 0;
  run->ForEachRow(golden.tokens, 64, [&](int64_t, const std::vector<float>& logits) {
    for (const float logit : logits) {
      const auto theirs = static_cast<double>(golden.values[at++]);
      worst = std::max(worst, std::abs(static_cast<double>(logit) - theirs));
    }
  });
  CHECK(at == golden.values.size());
  return worst;
}

TEST(FamiliesGolden, LogitsAreLlamaCpps) {
  const StatusOr<std::string> index = ReadFile(DataFile("index.json"), 1 << 20);
  if (!index.ok()) {
    GTEST_SKIP() << Message(index.status());
  }
  double worst = 0;
  double geglu_worst = 0;
  std::set<std::string> families;
  for (const nlohmann::json& entry : nlohmann::json::parse(*index)) {
    const auto family = entry.at("family").get<std::string>();
    SCOPED_TRACE(family);
    const StatusOr<double> diff = MaxDiff(entry);
    ASSERT_TRUE(diff.ok()) << Message(diff.status());
    const bool geglu = family.starts_with("gemma");
    EXPECT_LE(*diff, geglu ? kGegluMaxDiff : kMaxDiff);
    std::printf("%s: %.3g\n", family.c_str(), *diff);
    double& kind = geglu ? geglu_worst : worst;
    kind = std::max(kind, *diff);
    families.insert(family);
  }
  EXPECT_EQ(families.size(), RandomModelFamilies().size());
  std::printf("WORKLOAD 96 positions of tiny random models of every family\n");
  std::printf("RESULT golden.families.max_diff %.6g logit\n", worst);
  std::printf("RESULT golden.families.geglu_max_diff %.6g logit\n", geglu_worst);
}

}  // namespace
}  // namespace inferd
