// WalWriter: leaves on the device before anyone is told of them. Segments are made ahead, full of
// zeros, so that a commit changes no metadata.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>

#include "base/file_system.h"
#include "base/status.h"
#include "base/thread_annotations.h"

namespace inferd {

// Commit by the log's writer thread; Retire and PrepareSpare by its publisher.
class WalWriter {
 public:
  struct Options {
    FileSystem* files = nullptr;
    std::string folder;          // state/<shard>
    uint64_t segment_bytes = 0;  // at least kWalFrameHeaderBytes + kLeafBytesMax + header
    uint64_t first_number = 0;   // of the first segment
    uint64_t first_group = 1;
  };
  explicit WalWriter(Options options);

  // Writes one group and syncs it: on return all its leaves are durable. `first_index` is the index
  // of the first. After an error the writer must not be used again.
  Status Commit(uint64_t first_index, std::span<const std::string> leaves);

  // Removes segments that hold only leaves before `index`.
  Status Retire(uint64_t index);
  // Makes the next segment, unless it is there.
  Status PrepareSpare();

 private:
  struct Segment {
    uint64_t number = 0;
    uint64_t epoch = 0;
    std::unique_ptr<WritableFile> file;
    uint64_t end_index = 0;  // of the leaves in it, once it is full
  };
  StatusOr<Segment> Make(uint64_t number);
  Status Advance(uint64_t next_index);

  const Options options_;
  // Writer thread.
  Segment current_;
  uint64_t offset_ = 0;
  uint64_t group_;
  std::string buffer_;
  // Both.
  Mutex mutex_;
  std::unique_ptr<Segment> spare_ GUARDED_BY(mutex_);
  std::deque<Segment> full_ GUARDED_BY(mutex_);
  uint64_t next_number_ GUARDED_BY(mutex_);
};

}  // namespace inferd
