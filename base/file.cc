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

}  // namespace

StatusOr<std::string> ReadFile(const std::string& path, uint64_t size_bytes_max) {
  ASSIGN_OR_RETURN(const InputFile file, InputFile::Open(path));
  if (file.size_bytes() > size_bytes_max) {
    return ErrorF(StatusCode::kResourceExhausted,
                  "%s: %d bytes, at most %d are read here",
                  path,
                  file.size_bytes(),
                  size_bytes_max);
  }
  std::string bytes(file.size_bytes(), '\0');
  RETURN_IF_ERROR(file.Read(0, std::as_writable_bytes(std::span(bytes))));
  return bytes;
}

MemoryPages::MemoryPages(MemoryPages&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MemoryPages& MemoryPages::operator=(MemoryPages&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MemoryPages::~MemoryPages() {
  if (data_ != nullptr) {
    munmap(data_, size_);
  }
}

void MemoryPages::Release(std::span<const std::byte> range) const {
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

StatusOr<MappedFile> MappedFile::Open(const std::string& path) {
  ASSIGN_OR_RETURN(const InputFile file, InputFile::Open(path));
  if (file.size_bytes() == 0) {
    return ErrorF(StatusCode::kInvalidArgument, "%s: the file is empty", path);
  }
  void* data = mmap(nullptr, file.size_bytes(), PROT_READ, MAP_PRIVATE, file.fd(), 0);
  if (data == MAP_FAILED) {
    return FileError(path, "map", errno);
  }
  return MappedFile(static_cast<std::byte*>(data), file.size_bytes());
}

StatusOr<PrivateMemory> PrivateMemory::Allocate(size_t size) {
  if (size == 0) {
    return PrivateMemory(nullptr, 0);
  }
  void* data = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) {
    return ErrorF(
        StatusCode::kResourceExhausted, "no room for %d bytes: %s", size, std::strerror(errno));
  }
  return PrivateMemory(static_cast<std::byte*>(data), size);
}

StatusOr<InputFile> InputFile::Open(const std::string& path) {
  // Not blocking: a FIFO must not hold us up before we see that it is no file.
  InputFile file(path, open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK), 0);
  if (file.fd_ < 0) {
    return FileError(path, "open", errno);
  }
  struct stat info = {};
  if (fstat(file.fd_, &info) != 0) {
    return FileError(path, "stat", errno);
  }
  if (!S_ISREG(info.st_mode)) {
    return ErrorF(StatusCode::kInvalidArgument, "%s: not a regular file", path);
  }
  file.size_bytes_ = static_cast<uint64_t>(info.st_size);
  return file;
}

InputFile::~InputFile() {
  if (fd_ >= 0) {
    close(fd_);
  }
}

InputFile::InputFile(InputFile&& other) noexcept
    : path_(std::move(other.path_)),
      fd_(std::exchange(other.fd_, -1)),
      size_bytes_(other.size_bytes_) {}

InputFile& InputFile::operator=(InputFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  std::swap(size_bytes_, other.size_bytes_);
  return *this;
}

Status InputFile::Read(uint64_t offset, std::span<std::byte> out) const {
  while (!out.empty()) {
    const ssize_t n = pread(fd_, out.data(), out.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n < 0) {
      return FileError(path_, "read", errno);
    }
    if (n == 0) {
      return ErrorF(StatusCode::kUnavailable,
                    "%s: became shorter while it was read; try again when nobody writes it",
                    path_);
    }
    offset += static_cast<uint64_t>(n);
    out = out.subspan(static_cast<size_t>(n));
  }
  return OkStatus();
}

Status InputFile::CheckSize() const {
  struct stat info = {};
  if (fstat(fd_, &info) != 0) {
    return FileError(path_, "stat", errno);
  }
  if (static_cast<uint64_t>(info.st_size) != size_bytes_) {
    return ErrorF(StatusCode::kUnavailable,
                  "%s: changed its size while it was read; try again when nobody writes it",
                  path_);
  }
  return OkStatus();
}

}  // namespace inferd
