// Network: a range of IP addresses in CIDR notation.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace inferd {

// A plain value. IPv4 addresses are the IPv6 addresses ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2).
class Network {
 public:
  // "10.0.0.0/8", "2001:db8::/32", or one address. kInvalidArgument for anything else, bits behind
  // the prefix too.
  static StatusOr<Network> Parse(std::string_view text);

  // False for what is no address.
  bool Contains(std::string_view address) const;
  const std::string& text() const { return text_; }

 private:
  using Bits = std::array<uint8_t, 16>;
  Bits bits_{};
  int prefix_ = 128;  // of bits_
  std::string text_;
};

}  // namespace inferd
