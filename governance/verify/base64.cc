#include "governance/verify/base64.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace inferd {
namespace {

constexpr std::string_view kDigits =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

constexpr std::array<int8_t, 256> Values() {
  std::array<int8_t, 256> values{};
  values.fill(-1);
  for (size_t i = 0; i < kDigits.size(); ++i) {
    values[static_cast<uint8_t>(kDigits[i])] = static_cast<int8_t>(i);
  }
  return values;
}

Status NotBase64() {
  return ErrorF(StatusCode::kInvalidArgument, "not base64 as RFC 4648 section 4 writes it");
}

}  // namespace

std::string EncodeBase64(std::string_view bytes) {
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  uint32_t bits = 0;
  int num_bits = 0;
  for (const char c : bytes) {
    bits = bits << 8 | static_cast<uint8_t>(c);
    for (num_bits += 8; num_bits >= 6;) {
      num_bits -= 6;
      text.push_back(kDigits[bits >> num_bits & 63]);
    }
  }
  if (num_bits > 0) {
    text.push_back(kDigits[bits << (6 - num_bits) & 63]);
  }
  text.append((4 - text.size() % 4) % 4, '=');
  return text;
}

StatusOr<std::string> DecodeBase64(std::string_view text) {
  static constexpr std::array<int8_t, 256> kValues = Values();
  if (text.size() % 4 != 0) {
    return NotBase64();
  }
  size_t length = text.size();
  for (int i = 0; i < 2 && length > 0 && text[length - 1] == '='; ++i) {
    --length;
  }
  std::string bytes;
  bytes.reserve(length * 3 / 4);
  uint32_t bits = 0;
  int num_bits = 0;
  for (const char c : text.substr(0, length)) {
    const int8_t value = kValues[static_cast<uint8_t>(c)];
    if (value < 0) {
      return NotBase64();
    }
    bits = bits << 6 | static_cast<uint32_t>(value);
    num_bits += 6;
    if (num_bits >= 8) {
      num_bits -= 8;
      bytes.push_back(static_cast<char>(bits >> num_bits & 0xff));
    }
  }
  if ((bits & ((1u << num_bits) - 1)) != 0 || num_bits == 6) {
    return NotBase64();
  }
  return bytes;
}

std::string EncodeHash(const Digest& digest) {
  return EncodeBase64({reinterpret_cast<const char*>(digest.bytes.data()), digest.bytes.size()});
}

StatusOr<Digest> DecodeHash(std::string_view text) {
  ASSIGN_OR_RETURN(const std::string bytes, DecodeBase64(text));
  Digest digest;
  if (bytes.size() != digest.bytes.size()) {
    return ErrorF(StatusCode::kInvalidArgument, "a hash of %d bytes, not 32", bytes.size());
  }
  std::copy(bytes.begin(), bytes.end(), digest.bytes.begin());
  return digest;
}

StatusOr<uint64_t> ParseDecimal(std::string_view text) {
  uint64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end || (text.size() > 1 && text.front() == '0')) {
    return ErrorF(StatusCode::kInvalidArgument, "not a decimal number below 2^64");
  }
  return value;
}

}  // namespace inferd
