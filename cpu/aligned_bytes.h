// AlignedBytes: memory for kernels.
#pragma once

#include <cstdint>
#include <memory>

namespace inferd::cpu_internal {

// Bytes aligned to cache lines; large ones ask for huge pages. Contents are not set. Movable.
class AlignedBytes {
 public:
  AlignedBytes() = default;
  explicit AlignedBytes(int64_t size);

  uint8_t* data() const { return bytes_.get(); }
  int64_t size() const { return size_; }
  // At least `size` bytes; contents are lost if it grows.
  void Reserve(int64_t size);

 private:
  struct Free {
    void operator()(uint8_t* bytes) const;
  };
  std::unique_ptr<uint8_t, Free> bytes_;
  int64_t size_ = 0;
};

}  // namespace inferd::cpu_internal
