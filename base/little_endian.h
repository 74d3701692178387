// Unsigned numbers as bytes, the lowest first: how all formats of ours write them.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace inferd {

template <std::unsigned_integral T>
void AppendLittleEndian(T value, std::string& out) {
  for (size_t i = 0; i < sizeof(T); ++i) {
    out.push_back(static_cast<char>(value >> (8 * i) & 0xff));
  }
}

// The number at `offset`; the caller has checked that all of its bytes are there.
template <std::unsigned_integral T>
T ReadLittleEndian(std::string_view bytes, size_t offset = 0) {
  T value = 0;
  for (size_t i = sizeof(T); i-- > 0;) {
    value = static_cast<T>(value << 8 | static_cast<uint8_t>(bytes[offset + i]));
  }
  return value;
}

}  // namespace inferd
