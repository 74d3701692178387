// The two value types of the config that YAML lacks: sizes and times.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/status.h"

namespace inferd {

// Digits alone, base 10, no leading zero but "0" itself, '-' allowed. kInvalidArgument.
StatusOr<int64_t> ParseInteger(std::string_view text);

// "16MiB": an integer and B, KiB, MiB, GiB or TiB; without a unit: bytes. kInvalidArgument.
StatusOr<int64_t> ParseBytes(std::string_view text);
// In the largest unit that divides it.
std::string FormatBytes(int64_t bytes);

// "20ms": an integer and ms, s, min or h; "0" needs no unit. kInvalidArgument.
StatusOr<Duration> ParseDuration(std::string_view text);
std::string FormatDuration(Duration duration);

}  // namespace inferd
