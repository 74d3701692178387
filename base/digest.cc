#include "base/digest.h"

namespace inferd {
namespace {

// Of each byte that is a hex digit its value, else -1.
constexpr std::array<int8_t, 256> HexValues() {
  std::array<int8_t, 256> values{};
  values.fill(-1);
  for (int digit = 0; digit < 10; ++digit) {
    values[static_cast<size_t>('0' + digit)] = static_cast<int8_t>(digit);
  }
  for (int digit = 0; digit < 6; ++digit) {
    values[static_cast<size_t>('a' + digit)] = static_cast<int8_t>(10 + digit);
    values[static_cast<size_t>('A' + digit)] = static_cast<int8_t>(10 + digit);
  }
  return values;
}
constexpr std::array<int8_t, 256> kHexValues = HexValues();

int HexValue(char c) { return kHexValues[static_cast<uint8_t>(c)]; }

}  // namespace

std::string Digest::Hex() const {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  hex.reserve(2 * bytes.size());
  for (const uint8_t byte : bytes) {
    hex.push_back(kDigits[byte >> 4]);
    hex.push_back(kDigits[byte & 15]);
  }
  return hex;
}

StatusOr<Digest> Digest::FromHex(std::string_view hex) {
  Digest digest;
  if (hex.size() != 2 * digest.bytes.size()) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "a SHA-256 digest has 64 hex digits, this one has %d characters",
                  hex.size());
  }
  for (size_t i = 0; i < digest.bytes.size(); ++i) {
    const int high = HexValue(hex[2 * i]);
    const int low = HexValue(hex[2 * i + 1]);
    if (high < 0 || low < 0) {
      return ErrorF(StatusCode::kInvalidArgument,
                    "a SHA-256 digest has hex digits only; look at character %d",
                    2 * i);
    }
    digest.bytes[i] = static_cast<uint8_t>(high * 16 + low);
  }
  return digest;
}

}  // namespace inferd
