// Digest: a SHA-256 value, and its lower-case hex form.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace inferd {

struct Digest {
  std::array<uint8_t, 32> bytes{};

  // 64 lower-case hex digits.
  std::string Hex() const;
  // Accepts exactly 64 hex digits of either case; anything else is kInvalidArgument.
  static StatusOr<Digest> FromHex(std::string_view hex);

  friend auto operator<=>(const Digest&, const Digest&) = default;
};

}  // namespace inferd
