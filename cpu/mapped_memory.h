// MappedMemory: zeroed memory that takes room only where it has been written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "base/status.h"

namespace inferd {

// Owns one anonymous mapping, aligned to pages. Moved from: empty.
class MappedMemory {
 public:
  MappedMemory() = default;
  // kResourceExhausted if the address space or the limits of the process do not hold it. Mappings
  // of kHugeFrom bytes on ask for huge pages.
  static StatusOr<MappedMemory> Allocate(int64_t size_bytes);
  ~MappedMemory();
  MappedMemory(MappedMemory&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        size_bytes_(std::exchange(other.size_bytes_, 0)) {}
  MappedMemory& operator=(MappedMemory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_bytes_, other.size_bytes_);
    return *this;
  }

  uint8_t* data() const { return data_; }
  float* floats() const { return reinterpret_cast<float*>(data_); }
  int64_t size_bytes() const { return size_bytes_; }

  static constexpr int64_t kHugeFrom = int64_t{4} << 20;

 private:
  uint8_t* data_ = nullptr;
  int64_t size_bytes_ = 0;
};

}  // namespace inferd
