#include "governance/identity/network.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>

namespace inferd {
namespace {

struct Address {
  std::array<uint8_t, 16> bits{};
  bool v4 = false;
};

std::optional<Address> ParseAddress(std::string_view text) {
  const std::string zero_ended(text);
  Address address;
  if (inet_pton(AF_INET6, zero_ended.c_str(), address.bits.data()) == 1) {
    return address;
  }
  in_addr v4 = {};
  if (inet_pton(AF_INET, zero_ended.c_str(), &v4) != 1) {
    return std::nullopt;
  }
  address.v4 = true;
  address.bits[10] = address.bits[11] = 0xff;
  std::memcpy(&address.bits[12], &v4, sizeof(v4));
  return address;
}

// Bit i, from the left.
bool Bit(const std::array<uint8_t, 16>& bits, int i) {
  return ((bits[static_cast<size_t>(i / 8)] >> (7 - i % 8)) & 1) != 0;
}

}  // namespace

StatusOr<Network> Network::Parse(std::string_view text) {
  const Status wrong = ErrorF(StatusCode::kInvalidArgument,
                              "\"%s\" is no network; write 10.0.0.0/8, 2001:db8::/32 or an address",
                              text);
  const size_t slash = text.find('/');
  const std::optional<Address> address = ParseAddress(text.substr(0, slash));
  if (!address) {
    return wrong;
  }
  Network network;
  network.text_ = text;
  network.bits_ = address->bits;
  if (slash != std::string_view::npos) {
    const char* const end = text.data() + text.size();
    int prefix = 0;
    const auto parsed = std::from_chars(text.data() + slash + 1, end, prefix);
    const int longest = address->v4 ? 32 : 128;
    if (parsed.ec != std::errc() || parsed.ptr != end || prefix < 0 || prefix > longest) {
      return wrong;
    }
    network.prefix_ = prefix + (128 - longest);
  }
  for (int i = network.prefix_; i < 128; ++i) {
    if (Bit(network.bits_, i)) {
      return wrong;
    }
  }
  return network;
}

bool Network::Contains(std::string_view address) const {
  const std::optional<Address> parsed = ParseAddress(address);
  if (!parsed) {
    return false;
  }
  for (int i = 0; i < prefix_; ++i) {
    if (Bit(bits_, i) != Bit(parsed->bits, i)) {
      return false;
    }
  }
  return true;
}

}  // namespace inferd
