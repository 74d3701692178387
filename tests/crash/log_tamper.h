// A published shard, changed in every way we can think of: the verifier must see each, and name the
// leaf or the file.
#pragma once

#include <cstdint>
#include <string>

namespace inferd {

struct TamperCounts {
  uint64_t tried = 0;
  uint64_t missed = 0;    // not seen
  uint64_t misnamed = 0;  // seen, and blamed on something else
  std::string first;      // what was missed first
};

struct TamperOptions {
  uint64_t num_leaves = 600;
  // Each so many bytes of bundles and tiles are changed, one by one; 1: all. Notes always all.
  uint64_t stride = 97;
  // Of these changes each so many-th is put to the whole verification; the others to the part of it
  // that reads the changed file.
  uint64_t whole_every = 40;
};

// Bytes of entry bundles, hash tiles, note; then leaves and files swapped, removed, truncated.
TamperCounts TamperWithEverything(const TamperOptions& options);

}  // namespace inferd
