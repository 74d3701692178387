// FileBatch: several small files, each there whole or not at all, and all of them durable at once.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file_system.h"
#include "base/status.h"

namespace inferd {

// Files are written as `<path>.tmp`, synced, and renamed to `path`, many at once; Commit syncs
// every folder touched, so that after it all files survive a power cut. Without Commit any of them
// may be lost, but a file that is there is whole. Folders are made as needed below `root`, which
// must exist. Holds up to 32 MiB of bytes, and one file more. One thread.
class FileBatch {
 public:
  FileBatch(FileSystem& files, std::string root) : files_(files), root_(std::move(root)) {}

  // `path` is relative to root. An error may be of a file that was put before.
  Status Put(const std::string& path, std::string bytes);
  Status Commit();

 private:
  Status MakeFolder(const std::string& path);
  Status Write();

  FileSystem& files_;
  std::string root_;
  std::vector<NewFile> waiting_;  // temporary names
  uint64_t waiting_bytes_ = 0;
  std::set<std::string> made_;   // folders known to be there
  std::set<std::string> dirty_;  // folders with entries not synced
};

// One file of a batch.
Status WriteFileDurably(FileSystem& files,
                        const std::string& folder,
                        const std::string& name,
                        std::string_view bytes);

// The folder and its parents, durable. `path` may be absolute or relative.
Status CreateFoldersDurably(FileSystem& files, const std::string& path);

}  // namespace inferd
