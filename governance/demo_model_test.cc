// Goal: the digest of the demo model is the one that the specification's own implementation gives.
// Method: the value was computed with the PyPI package model-signing 1.1.1.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "base/file.h"
#include "governance/model_digest.h"

namespace inferd {
namespace {

TEST(ModelDigest, OfTheDemoModel) {
  const char* cache = std::getenv("INFERD_CACHE_DIR");
  const char* home = std::getenv("HOME");
  const std::string root =
      cache != nullptr ? cache : std::string(home != nullptr ? home : "") + "/.cache/inferd";
  const std::string path = root + "/models/SmolLM2-135M-Instruct.Q4_1.gguf";
  if (!std::filesystem::exists(path)) {
    GTEST_SKIP() << "no " << path << "; tools/get_model.py smollm2 fetches it";
  }
  auto file = MappedFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(OneFileModelDigest(file->bytes(), {}).Hex(),
            "16399c58348341f1727030d1fc312a7fb25819f69fcbb6d15fd0687f698a49c4");
}

}  // namespace
}  // namespace inferd
