#include "governance/model_digest.h"

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "base/check.h"
#include "base/sha256.h"

namespace inferd {
namespace {

// Bytes between two calls of `hashed`.
constexpr size_t kChunkBytes = 8 << 20;

Digest HashShard(std::span<const std::byte> shard, const ModelDigestOptions& options) {
  Sha256 hash;
  while (!shard.empty()) {
    const auto chunk = shard.first(std::min(kChunkBytes, shard.size()));
    hash.Update(chunk);
    if (options.hashed) {
      options.hashed(chunk);
    }
    shard = shard.subspan(chunk.size());
  }
  return hash.Finish();
}

}  // namespace

Digest ModelDigest(std::span<const std::span<const std::byte>> files,
                   const ModelDigestOptions& options) {
  CHECK(options.shard_bytes > 0 && options.threads > 0);
  std::vector<std::span<const std::byte>> ranges;
  for (const auto file : files) {
    for (size_t start = 0; start < file.size(); start += options.shard_bytes) {
      ranges.push_back(
          file.subspan(start, std::min<size_t>(options.shard_bytes, file.size() - start)));
    }
  }
  std::vector<Digest> shards(ranges.size());
  std::atomic<size_t> next{0};
  const auto work = [&] {
    for (size_t i = next++; i < ranges.size(); i = next++) {
      shards[i] = HashShard(ranges[i], options);
    }
  };
  const size_t num_threads = std::min(ranges.size(), static_cast<size_t>(options.threads));
  std::vector<std::thread> others;
  for (size_t i = 1; i < num_threads; ++i) {
    others.emplace_back(work);
  }
  work();
  for (std::thread& thread : others) {
    thread.join();
  }
  Sha256 root;
  for (const Digest& shard : shards) {
    root.Update(std::as_bytes(std::span(shard.bytes)));
  }
  return root.Finish();
}

Digest OneFileModelDigest(std::span<const std::byte> file, const ModelDigestOptions& options) {
  return ModelDigest(std::span(&file, 1), options);
}

}  // namespace inferd
