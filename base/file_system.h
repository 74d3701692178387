// FileSystem: files as a seam, for what must survive crashes: production calls the system, tests
// lose power and inject faults (tests/support/fake_file_system.h).
//
// What survives a power cut, here as on Linux: the bytes and the size of a file as of its last Sync
// or SyncData; the entries of a folder (files made, renamed, removed) as of its last SyncFolder.
// After a failed sync nothing is known of what lies on the device: never retry it, never go on
// writing to that file.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace inferd {

// A file open for writing; closed with the object. One thread at a time.
class WritableFile {
 public:
  virtual ~WritableFile() = default;
  // Writes all bytes at `offset`, growing the file as needed. On an error some may be written.
  virtual Status WriteAt(uint64_t offset, std::string_view bytes) = 0;
  // fdatasync: bytes and size.
  virtual Status SyncData() = 0;
  // fsync: also what else describes the file.
  virtual Status Sync() = 0;
};

// Held by one process at a time; given back with the object.
class FileLock {
 public:
  virtual ~FileLock() = default;
};

struct DiskSpace {
  uint64_t total_bytes = 0;
  uint64_t free_bytes = 0;  // for users that are not root
};

// A file to be made, whole.
struct NewFile {
  std::string path;
  std::string bytes;
};

// Thread-safe. Errors: kNotFound, kPermissionDenied, kResourceExhausted (no space, no inodes),
// kUnavailable for all else that a device or kernel refuses.
class FileSystem {
 public:
  virtual ~FileSystem() = default;

  // The whole file. kResourceExhausted above size_bytes_max.
  virtual StatusOr<std::string> Read(const std::string& path, uint64_t size_bytes_max) = 0;
  // A new file, or an old one emptied; readable by user and group.
  virtual StatusOr<std::unique_ptr<WritableFile>> Create(const std::string& path) = 0;
  // Creates, writes and syncs each; their folders' entries are the caller's to sync. After an error
  // any of them may be there, whole or not. Here one after another; a file system that can sync
  // several at once, which a device does in about the time of one, does so.
  virtual Status WriteFiles(std::span<const NewFile> files);
  // Replaces `to`, atomically.
  virtual Status Rename(const std::string& from, const std::string& to) = 0;
  virtual Status Remove(const std::string& path) = 0;
  // OK if it is there already; its parent must be.
  virtual Status CreateFolder(const std::string& path) = 0;
  virtual Status SyncFolder(const std::string& path) = 0;
  // Names of files and folders in it, sorted.
  virtual StatusOr<std::vector<std::string>> List(const std::string& path) = 0;
  virtual StatusOr<DiskSpace> Space(const std::string& path) = 0;
  // kFailedPrecondition if another process holds it.
  virtual StatusOr<std::unique_ptr<FileLock>> Lock(const std::string& path) = 0;
};

// The process's file system.
FileSystem& SystemFiles();

// The part before the last slash; "." without one.
std::string ParentOf(const std::string& path);

}  // namespace inferd
