#include "model/bounded_json.h"

#include <algorithm>

namespace inferd::model_internal {
namespace {

// What the text nests and lists at most. Counts brackets of broken JSON, too.
struct Extent {
  int depth = 0;
  size_t values = 0;
};

Extent Measure(std::string_view text) {
  Extent extent;
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      i += c == '\\' ? 1u : 0u;
      in_string = c != '"';
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      ++extent.values;
      extent.depth = std::max(extent.depth, ++depth);
    } else if (c == '}' || c == ']') {
      --depth;
    } else if (c == ',') {
      ++extent.values;
    }
  }
  return extent;
}

}  // namespace

StatusOr<nlohmann::json> ParseJsonObject(std::string_view what,
                                         std::string_view text,
                                         const JsonLimits& limits) {
  if (text.size() > limits.bytes_max) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "%s: %d bytes of JSON, at most %d are read",
                  what,
                  text.size(),
                  limits.bytes_max);
  }
  const Extent extent = Measure(text);
  if (extent.depth > limits.depth_max || extent.values > limits.values_max) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "%s: JSON nested %d deep with %d values; at most %d and %d are read",
                  what,
                  extent.depth,
                  extent.values,
                  limits.depth_max,
                  limits.values_max);
  }
  nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object()) {
    return ErrorF(StatusCode::kInvalidArgument, "%s: not a JSON object", what);
  }
  return json;
}

const nlohmann::json* FindMember(const nlohmann::json& object, const char* key) {
  if (!object.is_object()) {
    return nullptr;
  }
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

}  // namespace inferd::model_internal
