#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/check.h"

namespace inferd {
namespace {

Status FileError(const std::string& path, const char* what, int error) {
  const StatusCode code = error == ENOENT                       ? StatusCode::kNotFound
                          : (error == EACCES || error == EPERM) ? StatusCode::kPermissionDenied
                                                                : StatusCode::kUnavailable;
  return ErrorF(code, "%s: cannot %s: %s", path, what, std::strerror(error));
}

// Closes on scope exit.
struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) {
      close(fd);
    }
  }
};

// Opens a regular file and gives its size.
StatusOr<uint64_t> OpenRegular(const std::string& path, Descriptor& file) {
  file.fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file.fd < 0) {
    return FileError(path, "open", errno);
  }
  struct stat info = {};
  if (fstat(file.fd, &info) != 0) {
    return FileError(path, "stat", errno);
  }
  if (!S_ISREG(info.st_mode)) {
    return ErrorF(StatusCode::kInvalidArgument, "%s: not a regular file", path);
  }
  return static_cast<uint64_t>(info.st_size);
}

}  // namespace

StatusOr<std::string> ReadFile(const std::string& path, uint64_t size_bytes_max) {
  Descriptor file{-1};
  ASSIGN_OR_RETURN(const uint64_t size, OpenRegular(path, file));
  if (size > size_bytes_max) {
    return ErrorF(StatusCode::kResourceExhausted,
                  "%s: %d bytes, at most %d are read here",
                  path,
                  size,
                  size_bytes_max);
  }
  std::string bytes(size, '\0');
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = read(file.fd, bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n < 0) {
      return FileError(path, "read", errno);
    }
    if (n == 0) {
      break;  // the file shrank meanwhile
    }
    done += static_cast<size_t>(n);
  }
  bytes.resize(done);
  return bytes;
}

StatusOr<MappedFile> MappedFile::Open(const std::string& path) {
  Descriptor file{-1};
  ASSIGN_OR_RETURN(const uint64_t size, OpenRegular(path, file));
  if (size == 0) {
    return ErrorF(StatusCode::kInvalidArgument, "%s: the file is empty", path);
  }
  void* data = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.fd, 0);
  if (data == MAP_FAILED) {
    return FileError(path, "map", errno);
  }
  return MappedFile(static_cast<const std::byte*>(data), size);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) {
    // munmap wants a pointer to mutable memory though it changes none.
    munmap(const_cast<std::byte*>(data_), size_);
  }
}

void MappedFile::Release(std::span<const std::byte> range) const {
  static const auto kPage = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  // Only whole pages inside the range: its first and last page may hold other data.
  const auto address = reinterpret_cast<uintptr_t>(range.data());
  const uintptr_t skip = (kPage - address % kPage) % kPage;
  if (range.size() < skip + kPage) {
    return;
  }
  const uintptr_t length = (range.size() - skip) / kPage * kPage;
  madvise(const_cast<std::byte*>(range.data()) + skip, length, MADV_DONTNEED);
}

}  // namespace inferd
