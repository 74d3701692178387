#include "governance/registry/model_files.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>

#include "base/sha256.h"
#include "tests/support/temp_folder.h"

namespace inferd {
namespace {

class ModelFilesTest : public ::testing::Test {
 protected:
  void Write(const std::string& path, std::string_view text) {
    const std::filesystem::path file = folder_.path() / path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file, std::ios::binary) << text;
  }
  ModelContents Hash(const ModelSerialization& serialization = {}) {
    auto contents = HashModelFiles(folder_.path().string(), {.serialization = serialization});
    EXPECT_TRUE(contents.ok()) << contents.status();
    return contents.ok() ? *contents : ModelContents();
  }

  TempFolder folder_;
};

TEST_F(ModelFilesTest, ShardsAreNamedAndOrderedAsTheSpecificationSays) {
  Write("a/b", "12345");
  Write("a-b", "x");
  Write("empty", "");
  Write(".git/config", "ignored");
  Write(".gitattributes", "ignored");
  const ModelContents contents = Hash({.shard_bytes = 2});
  const std::vector<ModelResource> expected = {{"a/b:0:2", Sha256Of("12")},
                                               {"a/b:2:4", Sha256Of("34")},
                                               {"a/b:4:5", Sha256Of("5")},
                                               {"a-b:0:1", Sha256Of("x")}};
  EXPECT_EQ(contents.resources, expected);
  EXPECT_EQ(contents.root, RootDigest(expected));
  const std::vector<ModelFileSize> files = {{"a/b", 5}, {"a-b", 1}, {"empty", 0}};
  EXPECT_EQ(contents.files, files);
}

TEST_F(ModelFilesTest, TwoSerializationsOfTheSameBytesAreThoseOfEachAlone) {
  Write("a/b", "12345");
  Write("a-b", "x");
  Write("empty", "");
  Write("model.sig", "ignored by the second");
  const ModelSerialization shards{.shard_bytes = 2};
  for (const ModelSerialization& also :
       {ModelSerialization{.method = ModelSerialization::Method::kFiles,
                           .ignore_paths = {"model.sig"}},
        ModelSerialization{.shard_bytes = 3, .ignore_paths = {"a"}}}) {
    const auto both =
        HashModelFiles(folder_.path().string(), {.serialization = shards, .also = also});
    ASSERT_TRUE(both.ok()) << both.status();
    EXPECT_EQ(both->resources, Hash(shards).resources);
    EXPECT_EQ(both->root, Hash(shards).root);
    EXPECT_EQ(both->also, Hash(also).resources);
    EXPECT_EQ(both->also_by, also);
  }
}

// Values of the PyPI package model-signing 1.1.1 (`use_shard_serialization`).
TEST(HashModel, EqualsTheSpecificationsImplementation) {
  std::vector<std::byte> file;
  for (uint32_t i = 0; i < 120; ++i) {
    file.push_back(static_cast<std::byte>(i * i * 31 + i * 7));
  }
  std::vector<std::atomic<int>> asked(file.size());
  const ModelRead read = [&](size_t, uint64_t at, size_t size) {
    for (uint64_t i = at; i < at + size; ++i) {
      ++asked[i];
    }
    return StatusOr<std::span<const std::byte>>(std::span<const std::byte>(file).subspan(at, size));
  };
  const auto root = [&](uint64_t shard_bytes, int threads) {
    const ModelHashOptions options{.serialization = {.shard_bytes = shard_bytes},
                                   .threads = threads};
    return HashModel({{"f", file.size()}}, read, options).value().root.Hex();
  };
  EXPECT_EQ(root(10, 2), "8f46c486db0eae50e4204675d25c7a4db63bf88be3f3fde968f47b431d2ac405");
  EXPECT_EQ(root(32, 2), "86cb1e278dea4794b06a4e695920d3226c14ce7c204642a9036e02e51c3707e3");
  EXPECT_EQ(root(1000, 64), "d205a0ca2182e205c19f5c72f6262296fa7775b420049678843f242602bba403");
  EXPECT_TRUE(std::all_of(asked.begin(), asked.end(), [](const auto& n) { return n == 3; }));
}

// A bundle says how small the shards are before anybody has verified it.
TEST(HashModel, ShardsTooSmallAreRefusedBeforeMemoryIsTakenForThem) {
  const ModelRead read = [](size_t, uint64_t, size_t) -> StatusOr<std::span<const std::byte>> {
    return ErrorF(StatusCode::kUnavailable, "read");
  };
  const std::vector<ModelFileSize> files = {{"a", uint64_t{1} << 40}, {"b", 5}};
  ModelHashOptions options{.also = ModelSerialization{.shard_bytes = 1}};
  EXPECT_EQ(HashModel(files, read, options).status().code(), StatusCode::kResourceExhausted);
  options.also->shard_bytes = uint64_t{1} << 20;  // one part too many, that of the second file
  EXPECT_EQ(HashModel(files, read, options).status().code(), StatusCode::kResourceExhausted);
  options.also->shard_bytes = uint64_t{1} << 63;
  EXPECT_EQ(HashModel(files, read, options).status().code(), StatusCode::kUnavailable);
}

TEST_F(ModelFilesTest, WholeFilesIncludeEmptyOnes) {
  Write("b", "2");
  Write("a", "");
  const ModelContents contents = Hash({.method = ModelSerialization::Method::kFiles});
  const std::vector<ModelResource> expected = {{"a", Sha256Of("")}, {"b", Sha256Of("2")}};
  EXPECT_EQ(contents.resources, expected);
}

TEST_F(ModelFilesTest, WhatASignatureIgnoresIsLeftOut) {
  Write("weights", "w");
  Write("model.sig", "s");
  Write("notes/a", "n");
  Write("notesmore", "m");
  const ModelContents contents = Hash({.ignore_paths = {"model.sig", "notes/"}});
  ASSERT_EQ(contents.files.size(), 2U);
  EXPECT_EQ(contents.files[0].path, "notesmore");
  EXPECT_EQ(contents.files[1].path, "weights");
}

TEST_F(ModelFilesTest, OneFileIsAModelOfItsName) {
  Write("model.gguf", "bytes");
  const auto contents = HashModelFiles(folder_ / "model.gguf", {});
  ASSERT_TRUE(contents.ok()) << contents.status();
  ASSERT_EQ(contents->resources.size(), 1U);
  EXPECT_EQ(contents->resources[0].name, "model.gguf:0:5");
  EXPECT_EQ(contents->root, RootDigest({{"", Sha256Of("bytes")}}));
}

TEST_F(ModelFilesTest, LinksAndOddNamesAreRefused) {
  Write("file", "x");
  std::filesystem::create_symlink("file", folder_.path() / "link");
  EXPECT_EQ(HashModelFiles(folder_.path().string(), {}).status().code(),
            StatusCode::kInvalidArgument);
  std::filesystem::remove(folder_.path() / "link");
  Write("a:b", "x");
  EXPECT_EQ(HashModelFiles(folder_.path().string(), {}).status().code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(HashModelFiles(folder_ / "none", {}).status().code(), StatusCode::kNotFound);
}

TEST_F(ModelFilesTest, ThreadsChangeNothingAndProgressEndsAtAll) {
  for (int i = 0; i < 40; ++i) {
    Write("f" + std::to_string(i), std::string(static_cast<size_t>(i * 37), 'a'));
  }
  const ModelContents one = Hash({.shard_bytes = 100});
  std::atomic<uint64_t> most{0};
  uint64_t all = 0;
  for (const ModelFileSize& file : one.files) {
    all += file.bytes;
  }
  ModelHashOptions options{.serialization = {.shard_bytes = 100}, .threads = 8};
  options.progress = [&](uint64_t done, uint64_t total) {
    EXPECT_EQ(total, all);
    uint64_t before = most;
    while (before < done && !most.compare_exchange_weak(before, done)) {
    }
  };
  const auto eight = HashModelFiles(folder_.path().string(), options);
  ASSERT_TRUE(eight.ok());
  EXPECT_EQ(*eight, one);
  EXPECT_EQ(most, all);
}

TEST_F(ModelFilesTest, DifferencesAreNamed) {
  Write("a", "1");
  Write("b", "22");
  const ModelContents before = Hash();
  EXPECT_EQ(DescribeDifference(before, before), "");
  Write("b", "23");
  EXPECT_EQ(DescribeDifference(before, Hash()), "b:0:2 has other bytes");
  Write("b", "222");
  EXPECT_EQ(DescribeDifference(before, Hash()), "b has 3 bytes, not 2");
  Write("b", "22");
  Write("c", "");
  EXPECT_EQ(DescribeDifference(before, Hash()), "extra file c");
  // The root does not see it, since it binds no names.
  EXPECT_EQ(before.root, Hash().root);
  std::filesystem::remove(folder_.path() / "c");
  std::filesystem::remove(folder_.path() / "a");
  EXPECT_EQ(DescribeDifference(before, Hash()), "a is missing");
  Write("z", "1");
  EXPECT_EQ(DescribeDifference(before, Hash()), "extra file z");
  EXPECT_EQ(DescribeDifference(before.resources, Hash().resources), "extra z:0:1");
  std::filesystem::remove(folder_.path() / "z");
  EXPECT_EQ(DescribeDifference(before.resources, Hash().resources), "a:0:1 is missing");
}

}  // namespace
}  // namespace inferd
