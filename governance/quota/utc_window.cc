#include "governance/quota/utc_window.h"

#include <chrono>

namespace inferd {
namespace {

using std::chrono::days;
using std::chrono::year_month_day;

constexpr int kEpochYear = 1970;
// Whole years that a WallTime can name.
constexpr int kFirstYear = 1678;
constexpr int kLastYear = 2261;

year_month_day DateOf(UtcDay day) { return year_month_day(std::chrono::sys_days(days(day))); }

WallTime TimeOf(year_month_day date) { return WallTime(std::chrono::sys_days(date)); }

// The digits of `text` as a number, or -1.
int Digits(std::string_view text) {
  int value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') {
      return -1;
    }
    value = value * 10 + (c - '0');
  }
  return value;
}

}  // namespace

UtcDay DayOf(WallTime time) { return std::chrono::floor<days>(time).time_since_epoch().count(); }

UtcMonth MonthOf(UtcDay day) {
  const year_month_day date = DateOf(day);
  return (static_cast<int>(date.year()) - kEpochYear) * 12 +
         static_cast<int>(static_cast<unsigned>(date.month())) - 1;
}

WallTime StartOfDay(UtcDay day) { return TimeOf(DateOf(day)); }

WallTime StartOfMonth(UtcMonth month) {
  return TimeOf(std::chrono::year(kEpochYear) / std::chrono::January / 1 +
                std::chrono::months(month));
}

std::string UtcDayText(UtcDay day) {
  const year_month_day date = DateOf(day);
  return absl::StrFormat("%04d-%02d-%02d",
                         static_cast<int>(date.year()),
                         static_cast<unsigned>(date.month()),
                         static_cast<unsigned>(date.day()));
}

StatusOr<UtcDay> ParseUtcDay(std::string_view text) {
  if (text.size() == 10 && text[4] == '-' && text[7] == '-') {
    const int year = Digits(text.substr(0, 4));
    const int month = Digits(text.substr(5, 2));
    const int day = Digits(text.substr(8, 2));
    const year_month_day date(std::chrono::year(year),
                              std::chrono::month(static_cast<unsigned>(month)),
                              std::chrono::day(static_cast<unsigned>(day)));
    if (year >= kFirstYear && year <= kLastYear && month >= 0 && day >= 0 && date.ok()) {
      return std::chrono::sys_days(date).time_since_epoch().count();
    }
  }
  return ErrorF(StatusCode::kInvalidArgument, "not a day: write it as 2026-11-21");
}

}  // namespace inferd
