// How GGUF's values lie in the file. Internal to the room: gguf.cc alone includes it.
#pragma once

#include <bit>
#include <cstring>
#include <span>
#include <string_view>

#include "base/status.h"
#include "model/gguf.h"

namespace inferd::gguf_internal {

template <typename... Args>
Status Broken(const absl::FormatSpec<Args...>& format, const Args&... args) {
  return ErrorF(StatusCode::kInvalidArgument, format, args...);
}

// Reads forward through bytes and never past their end.
class Cursor {
 public:
  explicit Cursor(std::span<const std::byte> bytes) : bytes_(bytes) {}
  uint64_t offset() const { return offset_; }
  uint64_t remaining() const { return bytes_.size() - offset_; }

  template <typename T>
  StatusOr<T> Read() {
    static_assert(std::endian::native == std::endian::little);
    if (remaining() < sizeof(T)) {
      return Broken("byte %d: the file ends inside a value of %d bytes", offset_, sizeof(T));
    }
    T value;
    std::memcpy(&value, bytes_.data() + offset_, sizeof(T));
    offset_ += sizeof(T);
    return value;
  }

  // Bounded by kStringBytesMax and by what remains.
  StatusOr<std::string_view> ReadString();
  StatusOr<GgufType> ReadType();

 private:
  std::span<const std::byte> bytes_;
  uint64_t offset_ = 0;
};

// A type and its value; arrays are bounded by kArrayElementsMax and by what remains.
StatusOr<GgufValue> ReadValue(Cursor& cursor);

}  // namespace inferd::gguf_internal
