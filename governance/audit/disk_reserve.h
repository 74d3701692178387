// DiskReserve: the files of a log, with blocks held back for the day the disk is full, so that the
// log's own and administrators' records can still be written then.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file_system.h"
#include "base/status.h"
#include "base/thread_annotations.h"

namespace inferd {

// Free space, as operators are told of it.
enum class SpaceLevel : uint8_t {
  kPlenty,
  kWarn,    // somebody should look
  kPage,    // now
  kRefuse,  // requests are refused; log.* and administrative leaves are taken
};
// "plenty", "warn", "page", "refuse".
std::string_view Name(SpaceLevel level);

// Fractions of the disk that are free below which a level begins.
struct SpaceThresholds {
  double warn = 0.20;
  double page = 0.10;
  double refuse = 0.05;
};
// A better level than `last` comes only one percent above its threshold, so that it does not
// flutter.
SpaceLevel LevelOf(const DiskSpace& space, const SpaceThresholds& thresholds, SpaceLevel last);

// Forwards to another FileSystem. A call that finds no space gives the reserve back and is tried
// once more; syncs are never tried again but with files that are written anew. Thread-safe.
class DiskReserve final : public FileSystem {
 public:
  // The reserve is `<folder>/reserve.<bytes>`, of zeros that were written. 0 bytes: there is none.
  DiskReserve(FileSystem& files, std::string folder, uint64_t reserve_bytes);

  // Makes the reserve unless it is there; removes one of another size. kResourceExhausted if there
  // is no space for it. Blocks for as long as the disk takes.
  Status Fill() EXCLUDES(fill_mutex_);
  // Is the reserve wanted and not there?
  bool released() const { return reserve_bytes_ > 0 && !there_.load(); }
  uint64_t reserve_bytes() const { return reserve_bytes_; }

  StatusOr<std::string> Read(const std::string& path, uint64_t size_bytes_max) override;
  StatusOr<std::unique_ptr<WritableFile>> Create(const std::string& path) override;
  Status WriteFiles(std::span<const NewFile> files) override;
  Status Rename(const std::string& from, const std::string& to) override;
  Status Remove(const std::string& path) override;
  Status CreateFolder(const std::string& path) override;
  Status SyncFolder(const std::string& path) override;
  StatusOr<std::vector<std::string>> List(const std::string& path) override;
  StatusOr<DiskSpace> Space(const std::string& path) override;
  StatusOr<std::unique_ptr<FileLock>> Lock(const std::string& path) override;

 private:
  class File;
  std::string Path() const;
  Status Write(const std::string& path);
  // True if it gave space back.
  bool Release();
  template <typename Call>
  auto WithReserve(const Call& call);

  FileSystem& files_;
  const std::string folder_;
  const uint64_t reserve_bytes_;
  Mutex fill_mutex_;
  std::atomic<bool> there_{false};
};

}  // namespace inferd
