// What a model's bytes are: every file of its folder, cut and hashed as the OpenSSF Model Signing
// specification v1.0 asks, and the root digest that names the model.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/digest.h"
#include "base/status.h"

namespace inferd {

// How a folder becomes a list of resources (the specification, "serialization").
struct ModelSerialization {
  enum class Method : uint8_t { kFiles, kShards };
  Method method = Method::kShards;
  uint64_t shard_bytes = 1'000'000'000;  // of kShards
  // Relative to the folder; of a folder, all below it. The signed file list says these are ignored.
  std::vector<std::string> ignore_paths{};
  friend bool operator==(const ModelSerialization&, const ModelSerialization&) = default;
};

// A file, or a part of one. kFiles: name "a/b"; kShards: "a/b:start:end", the end excluded.
struct ModelResource {
  std::string name;
  Digest digest;
  friend bool operator==(const ModelResource&, const ModelResource&) = default;
};

struct ModelFileSize {
  std::string path;  // relative to the folder, parts joined by '/'
  uint64_t bytes = 0;
  friend bool operator==(const ModelFileSize&, const ModelFileSize&) = default;
};

// The root binds contents alone, neither names nor sizes: whoever compares models compares
// everything here. With the default serialisation `root` is the model's digest.
struct ModelContents {
  std::vector<ModelFileSize> files{};      // ordered by the parts of their paths
  std::vector<ModelResource> resources{};  // in the same order; an empty file has no shard
  Digest root{};                           // SHA-256 over the resources' raw digests in their order
  // The same bytes cut as ModelHashOptions::also said, if it did; those that it ignores are not in.
  std::optional<ModelSerialization> also_by{};
  std::vector<ModelResource> also{};
  friend bool operator==(const ModelContents&, const ModelContents&) = default;
};

struct ModelHashOptions {
  ModelSerialization serialization{};
  // Fills `also`, from the same bytes: what signed the model may have cut it otherwise.
  std::optional<ModelSerialization> also{};
  int threads = 2;  // at least 1; each hashes one resource, with `also` one file, at a time
  // Called from the hashing threads with bytes hashed so far, and bytes in all. May be empty.
  std::function<void(uint64_t done, uint64_t total)> progress{};

  static constexpr size_t kFilesMax = 65'536;
  static constexpr size_t kResourcesMax = 16 * kFilesMax;  // a signature says how small they are
  static constexpr size_t kDepthMax = 16;
};

// The files of `folder`, or `folder` itself if it is a file: then a model of one file with that
// name, below its parent. `.git`, `.gitattributes`, `.github` and `.gitignore` at the top are
// ignored, as the specification's own tool does.
struct ModelFileList {
  std::string root;  // of the paths
  std::vector<ModelFileSize> files;
};
// kInvalidArgument for a symbolic link, a device, a path that is not UTF-8 or has a ':' with
// kShards; kResourceExhausted beyond the limits.
StatusOr<ModelFileList> ListModelFiles(const std::string& folder,
                                       const ModelSerialization& serialization);

// Gives bytes [at, at + size) of a file; they stay as they are until the same thread asks again.
// Each byte of each file is asked for exactly once, from several threads at a time.
using ModelRead =
    std::function<StatusOr<std::span<const std::byte>>(size_t file, uint64_t at, size_t size)>;

// Hashes files, ordered by the parts of their paths, as `read` gives them. Fails as `read` does;
// kResourceExhausted if they are cut into more resources than a signature may have.
StatusOr<ModelContents> HashModel(std::vector<ModelFileSize> files,
                                  const ModelRead& read,
                                  const ModelHashOptions& options);

// Hashes what ListModelFiles names, reading each byte once. kUnavailable if a file changed its size
// meanwhile.
StatusOr<ModelContents> HashModelFiles(const std::string& folder, const ModelHashOptions& options);

// SHA-256 over the digests in their order.
Digest RootDigest(const std::vector<ModelResource>& resources);

// The first difference between what a model was approved as and what it is, for people: "x.gguf is
// another file", "extra file y". "" if there is none.
std::string DescribeDifference(const ModelContents& expected, const ModelContents& actual);
// The same of what was signed and what is there, which know no sizes. Their order does not matter.
std::string DescribeDifference(const std::vector<ModelResource>& expected,
                               const std::vector<ModelResource>& actual);

}  // namespace inferd
