// ULIDs: 128-bit ids that sort by the time they were made, as 26 characters of Crockford's base 32.
// Specification: github.com/ulid/spec.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/clock.h"

namespace inferd {

// 48 bits of milliseconds since 1970, then 80 random bits.
std::string MakeUlid(WallTime now, const std::array<uint8_t, 10>& random);

// A ULID with random bits of the operating system's.
std::string NewUlid(WallTime now);

// When a ULID was made, to the millisecond; 0 for what is none.
WallTime TimeOfUlid(std::string_view ulid);

// 26 characters of the alphabet in upper case, the first at most '7'.
bool IsUlid(std::string_view text);

}  // namespace inferd
