// A file system in memory that loses power and fails on demand.
//
// What was not synced is lost at a power cut, any subset of it: of each write the 512-byte sectors
// one by one, of a file's size, of a folder's entries made, renamed or removed since its last sync.
// A rename is one step: it is there or not. A sync that fails may have dropped what it was to
// write.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/file_system.h"
#include "base/random.h"
#include "base/thread_annotations.h"

namespace inferd {

// Thread-safe; deterministic if one thread uses it.
class FakeFileSystem final : public FileSystem {
 public:
  explicit FakeFileSystem(uint64_t seed);
  ~FakeFileSystem() override;

  // Call number `call` from now (1 is the next) fails, that one alone.
  void FailCall(uint64_t call);
  // Call number `call` from now and all after it fail and change nothing: the process is dead.
  void KillAtCall(uint64_t call);
  // Calls so far.
  uint64_t num_calls() const;
  // A new process: the page cache is as it was; no fault is pending.
  void Restart();
  // A new process after the power was cut.
  void CutPower();
  // fdatasync that does nothing and says OK: a disk, or a line of code, that lies.
  void IgnoreSyncData(bool ignore) { ignore_sync_data_ = ignore; }
  void SetSpace(DiskSpace space) { space_ = space; }
  // The bytes of all files that have a name. Beyond, writes fail with kResourceExhausted, and some
  // of their bytes are there; Space() tells what is left.
  void SetCapacity(uint64_t size_bytes);
  uint64_t UsedBytes() const;

  StatusOr<std::string> Read(const std::string& path, uint64_t size_bytes_max) override;
  StatusOr<std::unique_ptr<WritableFile>> Create(const std::string& path) override;
  Status Rename(const std::string& from, const std::string& to) override;
  Status Remove(const std::string& path) override;
  Status CreateFolder(const std::string& path) override;
  Status SyncFolder(const std::string& path) override;
  StatusOr<std::vector<std::string>> List(const std::string& path) override;
  StatusOr<DiskSpace> Space(const std::string& path) override;
  StatusOr<std::unique_ptr<FileLock>> Lock(const std::string& path) override;

 private:
  struct Node;
  struct Handle;
  using NodePtr = std::shared_ptr<Node>;  // open files live on when their name is gone
  // Names that one call changes together: to a node, or to nothing.
  using Change = std::vector<std::pair<std::string, NodePtr>>;

  static uint64_t UsedBytes(const Node& node);
  Status CountCall(const std::string& path) REQUIRES(mutex_);
  NodePtr Find(const std::string& path) const REQUIRES(mutex_);
  StatusOr<NodePtr> FolderOf(const std::string& path) const REQUIRES(mutex_);
  void CutPower(Node& node) REQUIRES(mutex_);
  Status WriteAt(Node& node, uint64_t offset, std::string_view bytes);
  Status Sync(Node& node, bool ignored);

  mutable Mutex mutex_;
  NodePtr root_ GUARDED_BY(mutex_);
  SplitMix64 random_ GUARDED_BY(mutex_);
  uint64_t calls_ GUARDED_BY(mutex_) = 0;
  std::optional<uint64_t> fail_at_ GUARDED_BY(mutex_);
  std::optional<uint64_t> dead_at_ GUARDED_BY(mutex_);
  std::optional<uint64_t> capacity_ GUARDED_BY(mutex_);
  bool ignore_sync_data_ = false;
  DiskSpace space_{.total_bytes = uint64_t{1} << 40, .free_bytes = uint64_t{1} << 39};
};

}  // namespace inferd
