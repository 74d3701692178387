// Goal: the digest is the one that the specification's own implementation gives.
// Method: values computed with the PyPI package model-signing 1.1.1 (`use_shard_serialization`).
#include "governance/model_digest.h"

#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <vector>

namespace inferd {
namespace {

std::vector<std::byte> SmallFile() {
  std::vector<std::byte> bytes;
  for (uint32_t i = 0; i < 120; ++i) {
    bytes.push_back(static_cast<std::byte>(i * i * 31 + i * 7));
  }
  return bytes;
}

std::string DigestOf(uint64_t shard_bytes, int threads) {
  const std::vector<std::byte> file = SmallFile();
  return OneFileModelDigest(file, {.shard_bytes = shard_bytes, .threads = threads, .hashed = {}})
      .Hex();
}

TEST(ModelDigest, EqualsTheSpecificationsImplementation) {
  EXPECT_EQ(DigestOf(10, 2), "8f46c486db0eae50e4204675d25c7a4db63bf88be3f3fde968f47b431d2ac405");
  EXPECT_EQ(DigestOf(32, 2), "86cb1e278dea4794b06a4e695920d3226c14ce7c204642a9036e02e51c3707e3");
  EXPECT_EQ(DigestOf(1000, 2), "d205a0ca2182e205c19f5c72f6262296fa7775b420049678843f242602bba403");
}

TEST(ModelDigest, DoesNotDependOnThreads) {
  for (const int threads : {1, 2, 3, 64}) {
    EXPECT_EQ(DigestOf(10, threads), DigestOf(10, 2)) << threads;
  }
}

TEST(ModelDigest, ReportsEveryByteOnce) {
  const std::vector<std::byte> file = SmallFile();
  std::vector<std::atomic<int>> seen(file.size());
  OneFileModelDigest(file, {.shard_bytes = 7, .threads = 3, .hashed = [&](auto range) {
                              for (const std::byte& byte : range) {
                                ++seen[static_cast<size_t>(&byte - file.data())];
                              }
                            }});
  for (const auto& count : seen) {
    EXPECT_EQ(count, 1);
  }
}

}  // namespace
}  // namespace inferd
