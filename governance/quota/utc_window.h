// Days and months of UTC, in which budgets are counted.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/status.h"

namespace inferd {

// Days since 1970-01-01, UTC, without leap seconds.
using UtcDay = int64_t;
// Months since 1970-01.
using UtcMonth = int64_t;

UtcDay DayOf(WallTime time);
UtcMonth MonthOf(UtcDay day);
WallTime StartOfDay(UtcDay day);
WallTime StartOfMonth(UtcMonth month);

// "2026-11-21"; years 0000 to 9999.
std::string UtcDayText(UtcDay day);
// kInvalidArgument for anything that UtcDayText does not write, and outside of the years 1678 to
// 2261, which a WallTime can name.
StatusOr<UtcDay> ParseUtcDay(std::string_view text);

}  // namespace inferd
