// The digest that identifies a model: the root digest of the OpenSSF Model Signing specification,
// v1.0, over the `shards` serialisation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "base/digest.h"

namespace inferd {

// The specification's default size of a shard.
inline constexpr uint64_t kModelShardBytes = 1'000'000'000;

struct ModelDigestOptions {
  uint64_t shard_bytes = kModelShardBytes;
  int threads = 2;  // at least 1; a shard is hashed by one thread
  // Called with each range once it was hashed, from the hashing threads: for progress, and to let
  // mapped pages go. May be empty.
  std::function<void(std::span<const std::byte>)> hashed;
};

// SHA-256 over the raw SHA-256 digests of the file's shards in their order, which is the order of
// their resource names (path, start, end). The name of the file is not part of it.
Digest OneFileModelDigest(std::span<const std::byte> file, const ModelDigestOptions& options);

// The same of a model of several files, given in the order of their paths: each file's shards in
// order, one file after another.
Digest ModelDigest(std::span<const std::span<const std::byte>> files,
                   const ModelDigestOptions& options);

}  // namespace inferd
