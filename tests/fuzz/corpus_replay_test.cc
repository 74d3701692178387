// A fuzz target's corpus as an ordinary test, and of each file every prefix and some bits turned.
#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace inferd {
namespace {

void Replay(const std::string& bytes) {
  // A copy of exactly this size, so that the address sanitizer sees a read past its end.
  const std::vector<uint8_t> exact(bytes.begin(), bytes.end());
  EXPECT_EQ(LLVMFuzzerTestOneInput(exact.data(), exact.size()), 0);
}

TEST(CorpusReplay, EveryFileAndItsNeighbours) {
  constexpr size_t kVariantsMax = 400;
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(INFERD_FUZZ_CORPUS)) {
    SCOPED_TRACE(entry.path().string());
    const auto bytes = ReadFile(entry.path().string(), 1 << 20);
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    Replay(*bytes);
    const size_t step = bytes->size() / kVariantsMax + 1;
    for (size_t at = 0; at < bytes->size(); at += step) {
      Replay(bytes->substr(0, at));
      std::string turned = *bytes;
      turned[at] = static_cast<char>(turned[at] ^ (1 << at % 8));
      Replay(turned);
    }
    ++files;
  }
  EXPECT_GE(files, 2);
}

}  // namespace
}  // namespace inferd
