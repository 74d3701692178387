#include "base/utf8.h"

#include <algorithm>
#include <cstdint>

namespace inferd {
namespace {

// What the lead byte promises: total length (0: no lead byte) and the range of the second byte.
// Table 3-7 of the Unicode standard.
struct Lead {
  size_t length;
  uint8_t second_min;
  uint8_t second_max;
};

Lead LeadOf(uint8_t byte) {
  if (byte < 0x80) {
    return {1, 0, 0};
  }
  if (byte >= 0xc2 && byte <= 0xdf) {
    return {2, 0x80, 0xbf};
  }
  if (byte >= 0xe0 && byte <= 0xef) {
    return {3,
            static_cast<uint8_t>(byte == 0xe0 ? 0xa0 : 0x80),
            static_cast<uint8_t>(byte == 0xed ? 0x9f : 0xbf)};
  }
  if (byte >= 0xf0 && byte <= 0xf4) {
    return {4,
            static_cast<uint8_t>(byte == 0xf0 ? 0x90 : 0x80),
            static_cast<uint8_t>(byte == 0xf4 ? 0x8f : 0xbf)};
  }
  return {0, 0, 0};
}

// The number of bytes at the start of `text` that fit its lead byte; `lead` is what it promises.
size_t FittingBytes(std::string_view text, Lead& lead) {
  lead = LeadOf(static_cast<uint8_t>(text[0]));
  if (lead.length == 0) {
    return 0;
  }
  size_t n = 1;
  while (n < lead.length && n < text.size()) {
    const auto byte = static_cast<uint8_t>(text[n]);
    const bool fits =
        n == 1 ? byte >= lead.second_min && byte <= lead.second_max : byte >= 0x80 && byte <= 0xbf;
    if (!fits) {
      break;
    }
    ++n;
  }
  return n;
}

}  // namespace

size_t Utf8CodePointLength(std::string_view text) {
  if (text.empty()) {
    return 0;
  }
  Lead lead{};
  const size_t n = FittingBytes(text, lead);
  return n == lead.length ? n : 0;
}

bool IsUtf8Prefix(std::string_view text) {
  if (text.empty()) {
    return true;
  }
  Lead lead{};
  const size_t n = FittingBytes(text, lead);
  return n == text.size() && n < lead.length;
}

bool IsValidUtf8(std::string_view text) {
  while (!text.empty()) {
    const size_t n = Utf8CodePointLength(text);
    if (n == 0) {
      return false;
    }
    text.remove_prefix(n);
  }
  return true;
}

std::string_view Utf8Prefix(std::string_view text, size_t bytes_max) {
  size_t end = std::min(text.size(), bytes_max);
  while (end > 0 && end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) {
    --end;
  }
  return text.substr(0, end);
}

std::string ReplaceInvalidUtf8(std::string_view text) {
  std::string valid;
  valid.reserve(text.size());
  while (!text.empty()) {
    Lead lead{};
    const size_t n = FittingBytes(text, lead);
    if (n != 0 && n == lead.length) {
      valid += text.substr(0, n);
    } else {
      valid += "\xef\xbf\xbd";
    }
    text.remove_prefix(std::max<size_t>(n, 1));
  }
  return valid;
}

}  // namespace inferd
