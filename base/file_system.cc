#include "base/file_system.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <functional>
#include <system_error>
#include <thread>

#include "base/file.h"

namespace inferd {
namespace {

constexpr mode_t kFileMode = 0640;
constexpr mode_t kFolderMode = 0750;
// Files synced at once: most of a sync is waiting for the device, which answers several together.
constexpr size_t kWriteThreadsMax = 8;

StatusCode CodeOf(int error) {
  switch (error) {
    case ENOENT:
      return StatusCode::kNotFound;
    case EACCES:
    case EPERM:
    case EROFS:
      return StatusCode::kPermissionDenied;
    case ENOSPC:
    case EDQUOT:
    case EMFILE:
    case ENFILE:
      return StatusCode::kResourceExhausted;
    default:
      return StatusCode::kUnavailable;
  }
}

Status SystemError(const std::string& path, const char* what, int error) {
  return ErrorF(CodeOf(error), "%s: cannot %s: %s", path, what, std::strerror(error));
}

// Calls again what a signal interrupted.
template <typename Call>
auto Retry(Call&& call) {
  decltype(call()) result;
  do {
    result = call();
  } while (result == -1 && errno == EINTR);
  return result;
}

class PosixFile final : public WritableFile {
 public:
  PosixFile(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}
  ~PosixFile() override { close(fd_); }
  PosixFile(const PosixFile&) = delete;
  PosixFile& operator=(const PosixFile&) = delete;

  Status WriteAt(uint64_t offset, std::string_view bytes) override {
    while (!bytes.empty()) {
      const ssize_t n = Retry(
          [&] { return pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset)); });
      if (n < 0) {
        return SystemError(path_, "write", errno);
      }
      bytes.remove_prefix(static_cast<size_t>(n));
      offset += static_cast<uint64_t>(n);
    }
    return OkStatus();
  }
  // Not retried: the kernel may have dropped the pages that it could not write.
  Status SyncData() override {
    return fdatasync(fd_) == 0 ? OkStatus() : SystemError(path_, "sync", errno);
  }
  Status Sync() override {
    return fsync(fd_) == 0 ? OkStatus() : SystemError(path_, "sync", errno);
  }

 private:
  std::string path_;
  int fd_;
};

class PosixLock final : public FileLock {
 public:
  explicit PosixLock(int fd) : fd_(fd) {}
  ~PosixLock() override { close(fd_); }
  PosixLock(const PosixLock&) = delete;
  PosixLock& operator=(const PosixLock&) = delete;

 private:
  int fd_;
};

class PosixFileSystem final : public FileSystem {
 public:
  StatusOr<std::string> Read(const std::string& path, uint64_t size_bytes_max) override {
    return ReadFile(path, size_bytes_max);
  }

  StatusOr<std::unique_ptr<WritableFile>> Create(const std::string& path) override {
    const int fd = Retry(
        [&] { return open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, kFileMode); });
    if (fd < 0) {
      return SystemError(path, "create", errno);
    }
    return std::make_unique<PosixFile>(path, fd);
  }

  Status WriteFiles(std::span<const NewFile> files) override {
    const size_t num_threads = std::min(files.size(), kWriteThreadsMax);
    std::atomic<size_t> next{0};
    std::vector<Status> statuses(num_threads);
    const auto write = [&](Status& status) {
      for (size_t i = next++; i < files.size() && status.ok(); i = next++) {
        status = FileSystem::WriteFiles(files.subspan(i, 1));
      }
    };
    std::vector<std::thread> threads;
    try {
      for (size_t i = 1; i < num_threads; ++i) {
        threads.emplace_back(write, std::ref(statuses[i]));
      }
    } catch (const std::system_error&) {
      // No more threads are to be had: those that are there write all.
    }
    if (num_threads > 0) {
      write(statuses[0]);
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
    const auto failed = std::find_if(
        statuses.begin(), statuses.end(), [](const Status& status) { return !status.ok(); });
    return failed == statuses.end() ? OkStatus() : *failed;
  }

  Status Rename(const std::string& from, const std::string& to) override {
    return rename(from.c_str(), to.c_str()) == 0 ? OkStatus() : SystemError(from, "rename", errno);
  }

  Status Remove(const std::string& path) override {
    return remove(path.c_str()) == 0 ? OkStatus() : SystemError(path, "remove", errno);
  }

  Status CreateFolder(const std::string& path) override {
    if (mkdir(path.c_str(), kFolderMode) == 0 || errno == EEXIST) {
      return OkStatus();
    }
    return SystemError(path, "create the folder", errno);
  }

  Status SyncFolder(const std::string& path) override {
    const int fd = Retry([&] { return open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
    if (fd < 0) {
      return SystemError(path, "open the folder", errno);
    }
    const int error = fsync(fd) == 0 ? 0 : errno;
    close(fd);
    return error == 0 ? OkStatus() : SystemError(path, "sync the folder", error);
  }

  StatusOr<std::vector<std::string>> List(const std::string& path) override {
    DIR* folder = opendir(path.c_str());
    if (folder == nullptr) {
      return SystemError(path, "list", errno);
    }
    std::vector<std::string> names;
    // readdir is safe on a stream that one thread has.
    while (const dirent* entry = readdir(folder)) {  // NOLINT(concurrency-mt-unsafe)
      const std::string_view name = entry->d_name;
      if (name != "." && name != "..") {
        names.emplace_back(name);
      }
    }
    closedir(folder);
    std::sort(names.begin(), names.end());
    return names;
  }

  StatusOr<DiskSpace> Space(const std::string& path) override {
    struct statvfs info = {};
    if (statvfs(path.c_str(), &info) != 0) {
      return SystemError(path, "ask for free space", errno);
    }
    return DiskSpace{.total_bytes = uint64_t{info.f_blocks} * info.f_frsize,
                     .free_bytes = uint64_t{info.f_bavail} * info.f_frsize};
  }

  StatusOr<std::unique_ptr<FileLock>> Lock(const std::string& path) override {
    const int fd =
        Retry([&] { return open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, kFileMode); });
    if (fd < 0) {
      return SystemError(path, "open the lock", errno);
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
      const int error = errno;
      close(fd);
      return error == EWOULDBLOCK ? ErrorF(StatusCode::kFailedPrecondition,
                                           "%s: another process holds this lock; stop it first",
                                           path)
                                  : SystemError(path, "lock", error);
    }
    return std::make_unique<PosixLock>(fd);
  }
};

}  // namespace

Status FileSystem::WriteFiles(std::span<const NewFile> files) {
  for (const NewFile& file : files) {
    ASSIGN_OR_RETURN(const std::unique_ptr<WritableFile> writable, Create(file.path));
    RETURN_IF_ERROR(writable->WriteAt(0, file.bytes));
    RETURN_IF_ERROR(writable->Sync());
  }
  return OkStatus();
}

FileSystem& SystemFiles() {
  static PosixFileSystem files;
  return files;
}

std::string ParentOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace inferd
