// Files: bounded reading, and a read-only mapping.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/status.h"

namespace inferd {

// The whole file as bytes. kNotFound, kPermissionDenied, or kResourceExhausted above
// size_bytes_max.
StatusOr<std::string> ReadFile(const std::string& path, uint64_t size_bytes_max);

// A file mapped for reading. Movable; the mapping lives as long as the object, wherever it moved.
// A file truncated under the mapping raises SIGBUS on access: map only files of trusted owners.
class MappedFile {
 public:
  // kNotFound, kPermissionDenied, or kInvalidArgument for what is not a regular file or is empty.
  static StatusOr<MappedFile> Open(const std::string& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  std::span<const std::byte> bytes() const { return {data_, size_}; }

  // Tells the kernel that these bytes will not be read again, so that their pages can go.
  // Reading them later is allowed and costs a page fault.
  void Release(std::span<const std::byte> range) const;

 private:
  MappedFile(const std::byte* data, size_t size) : data_(data), size_(size) {}
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace inferd
