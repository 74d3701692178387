// Logging: one JSON object a line on stderr. Never prompt text, never secrets.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace inferd {

enum class LogLevel : uint8_t { kDebug, kInfo, kWarning, kError };

// A field of a log line; names are snake_case. Values are written as JSON strings.
using LogField = std::pair<std::string_view, std::string>;

// Thread-safe; one write(2) a line. Lines below the level set are dropped.
void Log(LogLevel level, std::string_view message, std::initializer_list<LogField> fields = {});
void SetLogLevel(LogLevel level);

// `text` as a JSON string with its quotes; bytes that are not UTF-8 become U+FFFD.
std::string JsonQuote(std::string_view text);

}  // namespace inferd
