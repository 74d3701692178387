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

Digest OneFileModelDigest(std::span<const std::byte> file, const ModelDigestOptions& options) {
  CHECK(options.shard_bytes > 0 && options.threads > 0);
  const size_t num_shards = (file.size() + options.shard_bytes - 1) / options.shard_bytes;
  std::vector<Digest> shards(num_shards);
  std::atomic<size_t> next{0};
  const auto work = [&] {
    for (size_t i = next++; i < num_shards; i = next++) {
      const size_t start = i * options.shard_bytes;
      const size_t size = std::min<size_t>(options.shard_bytes, file.size() - start);
      shards[i] = HashShard(file.subspan(start, size), options);
    }
  };
  const size_t num_threads = std::min(num_shards, static_cast<size_t>(options.threads));
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

}  // namespace inferd
