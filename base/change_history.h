// ChangeHistory: a folder of numbered files, one change each, that is only ever added to. What was
// changed, by whom, in which order, must outlive every crash and show every loss.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/file_system.h"
#include "base/status.h"

namespace inferd {

// One process at a time has the folder; one thread at a time the object.
class ChangeHistory {
 public:
  // Called with each change in its order; an error ends the reading and is kDataLoss.
  using Apply = std::function<Status(uint64_t number, std::string_view bytes)>;

  // Makes the folder if need be and reads what is there. kDataLoss names the file that is missing,
  // not expected or not taken; kFailedPrecondition if another process has the folder.
  static StatusOr<std::unique_ptr<ChangeHistory>> Open(FileSystem& files,
                                                       std::string folder,
                                                       const Apply& apply);

  // The number of the next change, from 1.
  uint64_t next() const { return size_ + 1; }
  // kUnavailable after a write failed (what is on disk is unknown: open it again),
  // kResourceExhausted if it is full.
  Status CheckUsable() const;
  // Durable once OK.
  Status Append(std::string_view bytes);

  static constexpr uint64_t kChangesMax = 100'000;
  static constexpr uint64_t kChangeBytesMax = 4096;

 private:
  ChangeHistory(FileSystem& files, std::string folder)
      : files_(files), folder_(std::move(folder)) {}
  Status Read(const Apply& apply);

  FileSystem& files_;
  const std::string folder_;
  std::unique_ptr<FileLock> lock_;
  uint64_t size_ = 0;
  bool unusable_ = false;
};

}  // namespace inferd
