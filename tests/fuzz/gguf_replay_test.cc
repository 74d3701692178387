// The fuzz target's corpus as an ordinary test; and, of a small model, every prefix and every bit
// of its header turned: an error or a valid parse, never a crash.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/file.h"
#include "model/gguf.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace inferd {
namespace {

constexpr char kCorpus[] = INFERD_SOURCE_DIR "/tests/fuzz/corpus/gguf";

void Replay(const std::string& bytes) {
  // A copy of exactly this size, so that the address sanitizer sees a read past its end.
  const std::vector<uint8_t> exact(bytes.begin(), bytes.end());
  EXPECT_EQ(LLVMFuzzerTestOneInput(exact.data(), exact.size()), 0);
}

std::string ReadCorpusFile(const std::string& path) {
  const auto bytes = ReadFile(path, 1 << 20);
  EXPECT_TRUE(bytes.ok()) << bytes.status();
  return bytes.ok() ? *bytes : "";
}

TEST(GgufReplay, EveryFileOfTheCorpus) {
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kCorpus)) {
    SCOPED_TRACE(entry.path().string());
    Replay(ReadCorpusFile(entry.path().string()));
    ++files;
  }
  EXPECT_GE(files, 20);
}

// Where the data of the first tensor starts.
size_t HeaderBytes(const std::string& bytes) {
  const auto gguf = Gguf::Parse(std::as_bytes(std::span(bytes)));
  EXPECT_TRUE(gguf.ok()) << gguf.status();
  const auto* start = reinterpret_cast<const char*>(gguf->tensors().front().data.data());
  return static_cast<size_t>(start - bytes.data());
}

TEST(GgufReplay, EveryPrefixOfAModel) {
  const std::string bytes = ReadCorpusFile(std::string(kCorpus) + "/model-gemma3.gguf");
  const size_t header = HeaderBytes(bytes);
  for (size_t size = 0; size < bytes.size(); size += size < header ? 1 : 61) {
    const std::string prefix = bytes.substr(0, size);
    Replay(prefix);
    EXPECT_FALSE(Gguf::Parse(std::as_bytes(std::span(prefix))).ok()) << size;
  }
}

// In slices, so that they run side by side.
constexpr size_t kSlices = 8;
class EveryBitOfAHeader : public testing::TestWithParam<size_t> {};

TEST_P(EveryBitOfAHeader, TurnedIsAnErrorOrAModel) {
  const std::string bytes = ReadCorpusFile(std::string(kCorpus) + "/model-phi3.gguf");
  const size_t header = HeaderBytes(bytes);
  for (size_t bit = GetParam(); bit < 8 * header; bit += kSlices) {
    std::string flipped = bytes;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    Replay(flipped);
  }
}

INSTANTIATE_TEST_SUITE_P(GgufReplay, EveryBitOfAHeader, testing::Range(size_t{0}, kSlices));

}  // namespace
}  // namespace inferd
