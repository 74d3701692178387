#include "daemon/config_values.h"

#include <array>
#include <charconv>

namespace inferd {
namespace {

struct Unit {
  std::string_view name;
  int64_t factor;  // bytes, or nanoseconds
};

constexpr std::array<Unit, 5> kByteUnits = {Unit{"TiB", int64_t{1} << 40},
                                            {"GiB", int64_t{1} << 30},
                                            {"MiB", int64_t{1} << 20},
                                            {"KiB", int64_t{1} << 10},
                                            {"B", 1}};
constexpr std::array<Unit, 4> kTimeUnits = {
    Unit{"h", 3'600'000'000'000}, {"min", 60'000'000'000}, {"s", 1'000'000'000}, {"ms", 1'000'000}};

Status Malformed(std::string_view text, std::string_view wanted) {
  return ErrorF(StatusCode::kInvalidArgument, "\"%s\" is not %s", text, wanted);
}

// `text` as number and unit, multiplied. `bare`: factor of a number without a unit, 0: only "0".
template <size_t kNumUnits>
StatusOr<int64_t> ParseWithUnit(std::string_view text,
                                const std::array<Unit, kNumUnits>& units,
                                int64_t bare,
                                std::string_view wanted) {
  const size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  const auto number = ParseInteger(text.substr(0, digits));
  if (!number.ok()) {
    return Malformed(text, wanted);
  }
  const std::string_view name = text.substr(digits);
  int64_t factor = name.empty() ? (*number == 0 ? 1 : bare) : 0;
  for (const Unit& unit : units) {
    if (unit.name == name) {
      factor = unit.factor;
    }
  }
  int64_t product = 0;
  if (factor == 0 || __builtin_mul_overflow(*number, factor, &product)) {
    return Malformed(text, wanted);
  }
  return product;
}

template <size_t kNumUnits>
std::string FormatWithUnit(int64_t value, const std::array<Unit, kNumUnits>& units) {
  for (const Unit& unit : units) {
    if (value % unit.factor == 0) {
      return absl::StrFormat("%d%s", value / unit.factor, unit.name);
    }
  }
  return absl::StrFormat("%d%s", value / units.back().factor, units.back().name);
}

}  // namespace

StatusOr<int64_t> ParseInteger(std::string_view text) {
  const std::string_view digits = text.substr(!text.empty() && text.front() == '-' ? 1 : 0);
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (digits.empty() || error != std::errc() || end != text.data() + text.size() ||
      (digits.size() > 1 && digits.front() == '0')) {
    return Malformed(text, "an integer");
  }
  return value;
}

StatusOr<int64_t> ParseBytes(std::string_view text) {
  return ParseWithUnit(text, kByteUnits, 1, "a size such as 16MiB (B, KiB, MiB, GiB, TiB)");
}

std::string FormatBytes(int64_t bytes) {
  return bytes == 0 ? "0" : FormatWithUnit(bytes, kByteUnits);
}

StatusOr<Duration> ParseDuration(std::string_view text) {
  ASSIGN_OR_RETURN(const int64_t nanos,
                   ParseWithUnit(text, kTimeUnits, 0, "a time such as 30s (ms, s, min, h)"));
  return Duration(nanos);
}

std::string FormatDuration(Duration duration) {
  return duration.count() == 0 ? "0" : FormatWithUnit(duration.count(), kTimeUnits);
}

}  // namespace inferd
