// JSON from a stranger's file, bounded before it is parsed: the parser's tree costs far more than
// its text, so depth and number of values are counted first.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/status.h"

namespace inferd::model_internal {

struct JsonLimits {
  size_t bytes_max = 0;
  size_t values_max = 0;  // members and elements of all objects and arrays together
  int depth_max = 32;
};

// kInvalidArgument naming `what` and the limit, or that the text is not a JSON object.
StatusOr<nlohmann::json> ParseJsonObject(std::string_view what,
                                         std::string_view text,
                                         const JsonLimits& limits);

// The member, or nullptr if it is absent or null.
const nlohmann::json* FindMember(const nlohmann::json& object, const char* key);

}  // namespace inferd::model_internal
