#include "base/ulid.h"

#include <chrono>

#include "base/random.h"

namespace inferd {
namespace {

constexpr std::string_view kDigits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
constexpr size_t kLength = 26;

}  // namespace

std::string MakeUlid(WallTime now, const std::array<uint8_t, 10>& random) {
  const auto millis = static_cast<uint64_t>(
      std::chrono::floor<std::chrono::milliseconds>(now).time_since_epoch().count());
  unsigned __int128 value = millis & ((uint64_t{1} << 48) - 1);
  for (const uint8_t byte : random) {
    value = value << 8 | byte;
  }
  std::string text(kLength, '0');
  for (size_t i = kLength; i-- > 0; value >>= 5) {
    text[i] = kDigits[static_cast<size_t>(value & 31)];
  }
  return text;
}

std::string NewUlid(WallTime now) {
  std::array<uint8_t, 10> random;
  const uint64_t words[] = {RandomSeed(), RandomSeed()};
  for (size_t i = 0; i < random.size(); ++i) {
    random[i] = static_cast<uint8_t>(words[i / 8] >> (i % 8 * 8));
  }
  return MakeUlid(now, random);
}

WallTime TimeOfUlid(std::string_view ulid) {
  constexpr size_t kTimeDigits = 10;
  int64_t millis = 0;
  if (IsUlid(ulid)) {
    for (const char digit : ulid.substr(0, kTimeDigits)) {
      millis = millis << 5 | static_cast<int64_t>(kDigits.find(digit));
    }
  }
  return WallTime(std::chrono::milliseconds(millis));
}

bool IsUlid(std::string_view text) {
  return text.size() == kLength && text.front() <= '7' &&
         text.find_first_not_of(kDigits) == std::string_view::npos;
}

}  // namespace inferd
