#include "base/log.h"

#include <unistd.h>

#include <atomic>
#include <chrono>

#include "absl/strings/str_format.h"
#include "base/clock.h"
#include "base/utf8.h"

namespace inferd {
namespace {

std::atomic<LogLevel> log_level{LogLevel::kInfo};

const char* Name(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "debug";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarning:
      return "warning";
    case LogLevel::kError:
      return "error";
  }
  return "error";
}

std::string Timestamp() {
  const auto now = std::chrono::time_point_cast<std::chrono::milliseconds>(SystemClock().WallNow());
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  const auto millis = static_cast<int>(now.time_since_epoch().count() % 1000);
  std::tm utc = {};
  gmtime_r(&seconds, &utc);
  return absl::StrFormat("%04d-%02d-%02dT%02d:%02d:%02d.%03dZ",
                         utc.tm_year + 1900,
                         utc.tm_mon + 1,
                         utc.tm_mday,
                         utc.tm_hour,
                         utc.tm_min,
                         utc.tm_sec,
                         millis);
}

}  // namespace

std::string JsonQuote(std::string_view text) {
  std::string quoted = "\"";
  const std::string valid = ReplaceInvalidUtf8(text);
  for (const char c : valid) {
    if (c == '"' || c == '\\') {
      quoted.push_back('\\');
      quoted.push_back(c);
    } else if (static_cast<unsigned char>(c) < 0x20) {
      quoted += absl::StrFormat("\\u%04x", static_cast<unsigned>(c));
    } else {
      quoted.push_back(c);
    }
  }
  quoted.push_back('"');
  return quoted;
}

void Log(LogLevel level, std::string_view message, std::initializer_list<LogField> fields) {
  if (level < log_level.load(std::memory_order_relaxed)) {
    return;
  }
  std::string line = absl::StrFormat("{\"time\":\"%s\",\"level\":\"%s\",\"message\":%s",
                                     Timestamp(),
                                     Name(level),
                                     JsonQuote(message));
  for (const auto& [name, value] : fields) {
    line += absl::StrFormat(",%s:%s", JsonQuote(name), JsonQuote(value));
  }
  line += "}\n";
  // A log line that cannot be written has nowhere to be reported.
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, line.data(), line.size());
}

void SetLogLevel(LogLevel level) { log_level = level; }

}  // namespace inferd
