#include "governance/vault_text.h"

#include <ctime>

namespace inferd {
namespace {

constexpr char kHexDigits[] = "0123456789abcdef";
int HexValue(char c) {
  return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

std::tm CivilTime(int64_t seconds) {
  const auto time = static_cast<std::time_t>(seconds);
  std::tm civil = {};
  gmtime_r(&time, &civil);
  return civil;
}

// Reads exactly `count` digits off the front.
bool TakeDigits(std::string_view& text, size_t count, int& value) {
  if (text.size() < count) {
    return false;
  }
  value = 0;
  for (size_t i = 0; i < count; ++i) {
    if (text[i] < '0' || text[i] > '9') {
      return false;
    }
    value = value * 10 + (text[i] - '0');
  }
  text.remove_prefix(count);
  return true;
}

bool Take(std::string_view& text, char c) {
  if (text.empty() || text.front() != c) {
    return false;
  }
  text.remove_prefix(1);
  return true;
}

}  // namespace

std::string HexOf(std::string_view bytes) {
  std::string hex;
  hex.reserve(2 * bytes.size());
  for (const char byte : bytes) {
    hex.push_back(kHexDigits[static_cast<unsigned char>(byte) >> 4]);
    hex.push_back(kHexDigits[static_cast<unsigned char>(byte) & 15]);
  }
  return hex;
}

StatusOr<std::string> BytesOfHex(std::string_view hex) {
  std::string bytes;
  bool valid = hex.size() % 2 == 0;
  for (size_t i = 0; valid && i < hex.size(); i += 2) {
    const int high = HexValue(hex[i]);
    const int low = HexValue(hex[i + 1]);
    valid = high >= 0 && low >= 0;
    bytes.push_back(static_cast<char>(high * 16 + low));
  }
  if (!valid) {
    return ErrorF(StatusCode::kInvalidArgument, "not lower-case hex digits");
  }
  return bytes;
}

int64_t MicrosOf(WallTime time) {
  return std::chrono::duration_cast<std::chrono::microseconds>(time.time_since_epoch()).count();
}

std::string DayText(WallTime time) {
  const std::tm civil = CivilTime(MicrosOf(time) / 1'000'000);
  return absl::StrFormat("%04d%02d%02d", civil.tm_year + 1900, civil.tm_mon + 1, civil.tm_mday);
}

StatusOr<WallTime> ParseTime(std::string_view text) {
  const std::string_view whole = text;
  std::tm civil = {};
  int micros = 0;
  bool valid = TakeDigits(text, 4, civil.tm_year) && Take(text, '-') &&
               TakeDigits(text, 2, civil.tm_mon) && Take(text, '-') &&
               TakeDigits(text, 2, civil.tm_mday);
  if (valid && !text.empty()) {
    valid = Take(text, 'T') && TakeDigits(text, 2, civil.tm_hour) && Take(text, ':') &&
            TakeDigits(text, 2, civil.tm_min) && Take(text, ':') &&
            TakeDigits(text, 2, civil.tm_sec);
    if (valid && Take(text, '.')) {
      valid = TakeDigits(text, 6, micros);
    }
    valid = valid && Take(text, 'Z') && text.empty();
  }
  civil.tm_year -= 1900;
  civil.tm_mon -= 1;
  const std::tm asked = civil;
  const std::time_t seconds = valid ? timegm(&civil) : 0;
  // timegm carries what is out of range over: 30 February would be in March.
  if (!valid || civil.tm_mon != asked.tm_mon || civil.tm_mday != asked.tm_mday ||
      civil.tm_hour != asked.tm_hour || civil.tm_min != asked.tm_min) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "\"%s\" is no time: write 2026-11-21 or 2026-11-21T13:35:22Z",
                  whole.substr(0, 40));
  }
  return WallTime(std::chrono::seconds(seconds) + std::chrono::microseconds(micros));
}

std::string FolderName(std::string_view tenant) {
  std::string name;
  for (const char c : tenant) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '_';
    if (plain) {
      name.push_back(c);
    } else {
      name += absl::StrFormat("%%%02X", static_cast<unsigned char>(c));
    }
  }
  return name.empty() ? "%" : name;
}

std::optional<std::string> TenantOfFolder(std::string_view folder) {
  std::string tenant;
  for (size_t i = 0; i < folder.size() && folder != "%"; ++i) {
    if (folder[i] != '%') {
      tenant.push_back(folder[i]);
      continue;
    }
    std::string digits(folder.substr(i + 1, 2));
    for (char& digit : digits) {
      // To lower case, as BytesOfHex takes it; the comparison below takes upper case alone.
      digit = digit >= 'A' && digit <= 'F' ? static_cast<char>(digit + ('a' - 'A')) : digit;
    }
    const auto byte = BytesOfHex(digits);
    if (!byte.ok() || byte->size() != 1) {
      return std::nullopt;
    }
    tenant += *byte;
    i += 2;
  }
  return FolderName(tenant) == folder ? std::optional(std::move(tenant)) : std::nullopt;
}

}  // namespace inferd
