// Files: bounded reading, in parts or whole, a read-only mapping, and memory to read into.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "base/status.h"

namespace inferd {

// The whole file as bytes. kNotFound, kPermissionDenied, or kResourceExhausted above
// size_bytes_max.
StatusOr<std::string> ReadFile(const std::string& path, uint64_t size_bytes_max);

// A run of whole memory pages that goes with the object, wherever that moved. Empty by default.
class MemoryPages {
 public:
  MemoryPages() = default;
  ~MemoryPages();
  MemoryPages(MemoryPages&& other) noexcept;
  MemoryPages& operator=(MemoryPages&& other) noexcept;

  std::span<const std::byte> bytes() const { return {data_, size_}; }

  // Tells the kernel that these bytes will not be read again, so that their pages can go. Reading a
  // MappedFile's later costs a page fault; those of PrivateMemory are zeros from now on.
  void Release(std::span<const std::byte> range) const;

 protected:
  MemoryPages(std::byte* data, size_t size) : data_(data), size_(size) {}
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// A file mapped for reading. A file truncated under the mapping raises SIGBUS on access, and one
// that is written changes it: for tools that look at files of trusted owners.
class MappedFile : public MemoryPages {
 public:
  // kNotFound, kPermissionDenied, or kInvalidArgument for what is not a regular file or is empty.
  static StatusOr<MappedFile> Open(const std::string& path);

 private:
  using MemoryPages::MemoryPages;
};

// Memory that nobody else can change, for bytes that are checked and then used.
class PrivateMemory : public MemoryPages {
 public:
  // Zeros; `size` may be 0. kResourceExhausted if there is not so much address space.
  static StatusOr<PrivateMemory> Allocate(size_t size);
  std::span<std::byte> writable() { return {data_, size_}; }

 private:
  using MemoryPages::MemoryPages;
};

// A regular file opened once, to be read in parts, each once. Movable. Thread-safe, for reading.
class InputFile {
 public:
  // kNotFound, kPermissionDenied, or kInvalidArgument for what is not a regular file.
  static StatusOr<InputFile> Open(const std::string& path);
  ~InputFile();
  InputFile(InputFile&& other) noexcept;
  InputFile& operator=(InputFile&& other) noexcept;

  uint64_t size_bytes() const { return size_bytes_; }  // when it was opened
  int fd() const { return fd_; }
  // Fills `out` with the bytes from `offset` on. kUnavailable if the file ends before.
  Status Read(uint64_t offset, std::span<std::byte> out) const;
  // kUnavailable if it has another size by now.
  Status CheckSize() const;

 private:
  InputFile(std::string path, int fd, uint64_t size_bytes)
      : path_(std::move(path)), fd_(fd), size_bytes_(size_bytes) {}
  std::string path_;
  int fd_ = -1;
  uint64_t size_bytes_ = 0;
};

}  // namespace inferd
