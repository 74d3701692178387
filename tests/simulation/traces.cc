#include "tests/simulation/traces.h"

#include <absl/strings/numbers.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

namespace inferd::sim {
namespace {

using Json = nlohmann::json;

constexpr int64_t kTokensMax = 1 << 24;

template <typename T>
bool ParseWhole(std::string_view text, T& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

bool ParseTokens(std::string_view text, int32_t& tokens) {
  return ParseWhole(text, tokens) && tokens >= 0 && tokens <= kTokensMax;
}

// "2023-11-16 18:17:03.9799600" as time since the start of that month. Both traces lie within a
// day, so months do not matter.
std::optional<Duration> ParseTimestamp(std::string_view text) {
  int64_t day = 0;
  int64_t hour = 0;
  int64_t minute = 0;
  int64_t second = 0;
  int64_t fraction = 0;
  if (text.size() < 21 || text[10] != ' ' || text[13] != ':' || text[16] != ':' ||
      text[19] != '.' || !ParseWhole(text.substr(8, 2), day) ||
      !ParseWhole(text.substr(11, 2), hour) || !ParseWhole(text.substr(14, 2), minute) ||
      !ParseWhole(text.substr(17, 2), second)) {
    return std::nullopt;
  }
  std::string digits(text.substr(20, 9));
  digits.resize(9, '0');
  if (!ParseWhole(std::string_view(digits), fraction)) {
    return std::nullopt;
  }
  return std::chrono::hours(24 * day + hour) + std::chrono::minutes(minute) +
         std::chrono::seconds(second) + Duration(fraction);
}

std::vector<std::string_view> Split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    const size_t end = std::min(text.find(separator), text.size());
    parts.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

Status BadLine(const char* trace, size_t line) {
  return ErrorF(StatusCode::kInvalidArgument,
                "%s trace, line %d: not a request of this format",
                trace,
                static_cast<int>(line));
}

// Seconds as the traces give them; nothing for what is no time.
std::optional<Duration> FromSeconds(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0 || seconds > 1e6) {
    return std::nullopt;
  }
  return Duration(std::llround(seconds * 1e9));
}

bool ReadTokens(const Json& object, const char* key, int32_t& tokens) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number_integer()) {
    return false;
  }
  const auto value = found->get<int64_t>();
  tokens = static_cast<int32_t>(std::clamp<int64_t>(value, 0, kTokensMax));
  return tokens == value;
}

std::optional<double> ReadNumber(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number()) {
    return std::nullopt;
  }
  return found->get<double>();
}

void SortByTime(std::vector<TraceRequest>& requests) {
  std::stable_sort(requests.begin(),
                   requests.end(),
                   [](const TraceRequest& a, const TraceRequest& b) { return a.at < b.at; });
}

}  // namespace

StatusOr<std::vector<TraceRequest>> ParseAzureCsv(std::string_view text) {
  std::vector<TraceRequest> requests;
  std::optional<Duration> first;
  size_t number = 0;
  for (std::string_view line : Split(text, '\n')) {
    ++number;
    if (!line.empty() && line.back() == '\r') {
      line.remove_suffix(1);
    }
    if (number == 1 || line.empty()) {
      continue;  // the heading
    }
    const std::vector<std::string_view> fields = Split(line, ',');
    TraceRequest request;
    const auto at = fields.size() == 3 ? ParseTimestamp(fields[0]) : std::nullopt;
    if (!at || !ParseTokens(fields[1], request.prompt_tokens) ||
        !ParseTokens(fields[2], request.output_tokens)) {
      return BadLine("azure", number);
    }
    first = first.value_or(*at);
    request.at = *at - *first;
    requests.push_back(std::move(request));
  }
  SortByTime(requests);
  return requests;
}

StatusOr<std::vector<TraceRequest>> ParseMooncakeJsonl(std::string_view text) {
  std::vector<TraceRequest> requests;
  size_t number = 0;
  for (const std::string_view line : Split(text, '\n')) {
    ++number;
    if (line.empty()) {
      continue;
    }
    const Json object = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!object.is_object()) {
      return BadLine("mooncake", number);
    }
    TraceRequest request;
    const auto milliseconds = ReadNumber(object, "timestamp");
    const auto at = milliseconds ? FromSeconds(*milliseconds / 1e3) : std::nullopt;
    const auto ids = object.find("hash_ids");
    if (!at || !ReadTokens(object, "input_length", request.prompt_tokens) ||
        !ReadTokens(object, "output_length", request.output_tokens) || ids == object.end() ||
        !ids->is_array()) {
      return BadLine("mooncake", number);
    }
    for (const Json& id : *ids) {
      if (!id.is_number_unsigned()) {
        return BadLine("mooncake", number);
      }
      request.blocks.push_back(id.get<uint32_t>());
    }
    request.at = *at;
    requests.push_back(std::move(request));
  }
  SortByTime(requests);
  return requests;
}

StatusOr<std::vector<TraceRequest>> ParseVtcJson(std::string_view text) {
  const Json root = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  const auto result = root.is_object() ? root.find("result") : root.end();
  if (!root.is_object() || result == root.end() || !result->is_object() ||
      !result->contains("responses") || !(*result)["responses"].is_array()) {
    return BadLine("vtc", 1);
  }
  std::vector<TraceRequest> requests;
  for (const Json& object : (*result)["responses"]) {
    TraceRequest request;
    const auto seconds = object.is_object() ? ReadNumber(object, "req_time") : std::nullopt;
    const auto at = seconds ? FromSeconds(*seconds) : std::nullopt;
    if (!at || !ReadTokens(object, "prompt_len", request.prompt_tokens) ||
        !ReadTokens(object, "output_len", request.output_tokens) ||
        !object.contains("adapter_dir") || !object["adapter_dir"].is_string()) {
      return BadLine("vtc", 1);
    }
    request.at = *at;
    request.tenant = object["adapter_dir"].get<std::string>();
    requests.push_back(std::move(request));
  }
  SortByTime(requests);
  return requests;
}

StatusOr<std::vector<TraceRequest>> ReadTrace(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return ErrorF(StatusCode::kNotFound,
                  "trace %s cannot be read; set INFERD_TRACES to the folder that holds it",
                  path);
  }
  std::ostringstream text;
  text << file.rdbuf();
  const std::string name = std::filesystem::path(path).filename();
  StatusOr<std::vector<TraceRequest>> requests =
      name.starts_with("azure")      ? ParseAzureCsv(text.str())
      : name.starts_with("mooncake") ? ParseMooncakeJsonl(text.str())
                                     : ParseVtcJson(text.str());
  return requests.ok() ? std::move(requests) : Annotate(requests.status(), path);
}

std::string TraceDir() {
  if (const char* named = std::getenv("INFERD_TRACES"); named != nullptr) {
    return named;
  }
  std::error_code error;
  for (std::filesystem::path folder = INFERD_SOURCE_DIR;; folder = folder.parent_path()) {
    const std::filesystem::path traces = folder / "shared" / "data" / "traces";
    if (std::filesystem::is_directory(traces, error)) {
      return traces;
    }
    if (folder == folder.parent_path()) {
      return "";
    }
  }
}

}  // namespace inferd::sim
