// The fuzz target's corpus and the repository's scenarios as an ordinary test: whole, every prefix,
// and with every word left out.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace inferd {
namespace {

std::vector<std::string> Texts() {
  std::vector<std::string> texts;
  for (const char* folder : {"/tests/fuzz/corpus/scenario", "/tests/scenarios"}) {
    for (const auto& entry :
         std::filesystem::directory_iterator(std::string(INFERD_SOURCE_DIR) + folder)) {
      std::ifstream file(entry.path(), std::ios::binary);
      std::ostringstream text;
      text << file.rdbuf();
      texts.push_back(text.str());
    }
  }
  return texts;
}

void Replay(const std::string& text) {
  // A copy of exactly this size, so that the address sanitizer sees a read past its end.
  const std::vector<uint8_t> exact(text.begin(), text.end());
  ASSERT_EQ(LLVMFuzzerTestOneInput(exact.data(), exact.size()), 0);
}

TEST(ScenarioReplay, EveryText) {
  const std::vector<std::string> texts = Texts();
  EXPECT_GE(texts.size(), 8);
  for (const std::string& text : texts) {
    Replay(text);
  }
}

TEST(ScenarioReplay, EveryPrefixOfAText) {
  const std::string text = Texts()[0];
  for (size_t size = 0; size < text.size(); ++size) {
    Replay(text.substr(0, size));
  }
}

TEST(ScenarioReplay, EveryWordLeftOut) {
  const std::string text = Texts()[0];
  for (size_t start = 0; start < text.size();) {
    const size_t end = std::min(text.find_first_of(" \n=", start), text.size());
    Replay(text.substr(0, start) + text.substr(end));
    start = end + 1;
  }
}

}  // namespace
}  // namespace inferd
