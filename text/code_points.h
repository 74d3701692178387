// Code points of well-formed UTF-8, one at a time.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/utf8.h"

namespace inferd::text_internal {

struct CodePoint {
  char32_t value = 0;
  size_t length = 0;  // in bytes; 0: the text is empty or ill-formed there
};

// The code point at the start of `text`.
inline CodePoint DecodeCodePoint(std::string_view text) {
  const size_t length = Utf8CodePointLength(text);
  if (length == 0) {
    return {};
  }
  constexpr std::array<uint8_t, 5> kLeadMask = {0, 0x7f, 0x1f, 0x0f, 0x07};
  char32_t value = static_cast<uint8_t>(text[0]) & kLeadMask[length];
  for (size_t i = 1; i < length; ++i) {
    value = value << 6 | (static_cast<uint8_t>(text[i]) & 0x3f);
  }
  return {value, length};
}

// Appends `value`, at most U+10FFFF and no surrogate.
inline void AppendUtf8(char32_t value, std::string& text) {
  const auto byte = [&](char32_t bits) { text += static_cast<char>(bits); };
  const auto tail = [&](int shift) { byte(0x80 | (value >> shift & 0x3f)); };
  if (value < 0x80) {
    byte(value);
  } else if (value < 0x800) {
    byte(0xc0 | value >> 6);
    tail(0);
  } else if (value < 0x10000) {
    byte(0xe0 | value >> 12);
    tail(6);
    tail(0);
  } else {
    byte(0xf0 | value >> 18);
    tail(12);
    tail(6);
    tail(0);
  }
}

}  // namespace inferd::text_internal
