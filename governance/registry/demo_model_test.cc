// Goal: the digest of the demo model is the one that the specification's own implementation gives.
// Method: the value was computed with the PyPI package model-signing 1.1.1.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "governance/registry/model_files.h"

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
  const auto contents = HashModelFiles(path, {});
  ASSERT_TRUE(contents.ok()) << contents.status();
  EXPECT_EQ(contents->root.Hex(),
            "16399c58348341f1727030d1fc312a7fb25819f69fcbb6d15fd0687f698a49c4");
}

}  // namespace
}  // namespace inferd
