#include "governance/audit/canonical_json.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <ctime>

#include "absl/strings/str_format.h"
#include "base/check.h"

namespace inferd {

std::string JsonString(std::string_view text) {
  std::string quoted;
  quoted.reserve(text.size() + 2);
  quoted.push_back('"');
  for (const char c : text) {
    switch (c) {
      case '"':
      case '\\':
        quoted.push_back('\\');
        quoted.push_back(c);
        break;
      case '\b':
        quoted += "\\b";
        break;
      case '\t':
        quoted += "\\t";
        break;
      case '\n':
        quoted += "\\n";
        break;
      case '\f':
        quoted += "\\f";
        break;
      case '\r':
        quoted += "\\r";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          quoted += absl::StrFormat("\\u%04x", static_cast<unsigned>(c));
        } else {
          quoted.push_back(c);
        }
    }
  }
  quoted.push_back('"');
  return quoted;
}

std::string JsonDigest(const Digest& digest) { return "\"sha256:" + digest.Hex() + '"'; }

std::string Base64Url(std::span<const uint8_t> bytes) {
  static constexpr char kDigits[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  std::string text;
  text.reserve((bytes.size() * 4 + 2) / 3);
  uint32_t bits = 0;
  int num_bits = 0;
  for (const uint8_t byte : bytes) {
    bits = bits << 8 | byte;
    num_bits += 8;
    while (num_bits >= 6) {
      num_bits -= 6;
      text.push_back(kDigits[bits >> num_bits & 63]);
    }
  }
  if (num_bits > 0) {
    text.push_back(kDigits[bits << (6 - num_bits) & 63]);
  }
  return text;
}

std::string ShortestDecimal(float value) {
  char buffer[32];
  const auto [end, error] = std::to_chars(buffer, buffer + sizeof(buffer), value);
  CHECK(error == std::errc());
  return {buffer, end};
}

std::string Rfc3339Micros(WallTime time) {
  const auto micros = std::chrono::floor<std::chrono::microseconds>(time);
  const auto whole = std::chrono::floor<std::chrono::seconds>(micros);
  const std::time_t seconds = whole.time_since_epoch().count();
  std::tm utc = {};
  gmtime_r(&seconds, &utc);
  return absl::StrFormat("%04d-%02d-%02dT%02d:%02d:%02d.%06dZ",
                         utc.tm_year + 1900,
                         utc.tm_mon + 1,
                         utc.tm_mday,
                         utc.tm_hour,
                         utc.tm_min,
                         utc.tm_sec,
                         (micros - whole).count());
}

JsonObject& JsonObject::Add(std::string_view key, std::string_view text) {
  return AddRaw(key, JsonString(text));
}

JsonObject& JsonObject::Add(std::string_view key, const Digest& digest) {
  return AddRaw(key, JsonDigest(digest));
}

JsonObject& JsonObject::Add(std::string_view key, uint64_t value) {
  CHECK(value <= kJsonIntegerMax);
  return AddRaw(key, std::to_string(value));
}

JsonObject& JsonObject::Add(std::string_view key, const JsonObject& object) {
  return AddRaw(key, object.Encode());
}

JsonObject& JsonObject::Add(std::string_view key, const std::vector<std::string>& texts) {
  std::vector<std::string> values;
  values.reserve(texts.size());
  for (const std::string& text : texts) {
    values.push_back(JsonString(text));
  }
  return AddRaw(key, JsonArray(values));
}

JsonObject& JsonObject::AddRaw(std::string_view key, std::string json) {
  members_.emplace_back(key, std::move(json));
  return *this;
}

JsonObject& JsonObject::AddIfSet(std::string_view key, std::string_view text) {
  return text.empty() ? *this : Add(key, text);
}

JsonObject& JsonObject::AddIfSet(std::string_view key, const std::vector<std::string>& texts) {
  return texts.empty() ? *this : Add(key, texts);
}

std::string JsonObject::Encode() const {
  std::vector<const std::pair<std::string, std::string>*> sorted;
  size_t size = 2;
  for (const auto& member : members_) {
    sorted.push_back(&member);
    size += member.first.size() + member.second.size() + 4;
  }
  std::sort(sorted.begin(), sorted.end(), [](const auto* a, const auto* b) {
    return a->first < b->first;
  });
  std::string json;
  json.reserve(size);
  json.push_back('{');
  const std::string* last = nullptr;
  for (const auto* member : sorted) {
    CHECK(last == nullptr || *last != member->first);
    if (last != nullptr) {
      json.push_back(',');
    }
    last = &member->first;
    json.append(JsonString(member->first)).append(":").append(member->second);
  }
  json.push_back('}');
  return json;
}

std::string JsonArray(const std::vector<std::string>& values) {
  std::string json = "[";
  for (const std::string& value : values) {
    json.append(json.size() > 1 ? "," : "").append(value);
  }
  return json + "]";
}

}  // namespace inferd
