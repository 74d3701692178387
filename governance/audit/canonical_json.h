// The JSON that leaves are written in: RFC 8785 (JCS) restricted to what needs no judgement: sorted
// keys, no whitespace, integers of at most 2^53-1, no floating point. Decimals, 64-bit numbers,
// times and digests are strings.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/digest.h"

namespace inferd {

// Largest integer that every JSON reader holds exactly.
inline constexpr uint64_t kJsonIntegerMax = (uint64_t{1} << 53) - 1;

// `text` as a JCS string with its quotes. `text` must be valid UTF-8.
std::string JsonString(std::string_view text);
// "sha256:<hex>", quoted: a digest of something public.
std::string JsonDigest(const Digest& digest);
// base64url without padding (RFC 4648 section 5), unquoted.
std::string Base64Url(std::span<const uint8_t> bytes);
// The shortest decimal that reads back as the same float32: "0.7", "1e-05".
std::string ShortestDecimal(float value);
// RFC 3339 in UTC with microseconds: "2026-11-21T13:35:22.000001Z".
std::string Rfc3339Micros(WallTime time);

// Collects members in any order and writes them sorted. Keys are ASCII and differ; values given as
// strings must be valid UTF-8. Not thread-safe.
class JsonObject {
 public:
  JsonObject& Add(std::string_view key, std::string_view text);
  JsonObject& Add(std::string_view key, const char* text) {
    return Add(key, std::string_view(text));
  }
  JsonObject& Add(std::string_view key, const Digest& digest);
  // CHECKs value <= kJsonIntegerMax.
  JsonObject& Add(std::string_view key, uint64_t value);
  JsonObject& Add(std::string_view key, const JsonObject& object);
  JsonObject& Add(std::string_view key, const std::vector<std::string>& texts);
  // `json` is a canonical value already.
  JsonObject& AddRaw(std::string_view key, std::string json);
  // Skip what is empty: absent and empty mean the same in a leaf.
  JsonObject& AddIfSet(std::string_view key, std::string_view text);
  JsonObject& AddIfSet(std::string_view key, const std::vector<std::string>& texts);

  bool empty() const { return members_.empty(); }
  std::string Encode() const;

 private:
  std::vector<std::pair<std::string, std::string>> members_;
};

// [a,b,c] of canonical values.
std::string JsonArray(const std::vector<std::string>& values);

}  // namespace inferd
