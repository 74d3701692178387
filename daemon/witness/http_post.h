// One HTTP POST, for what asks witnesses.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/status.h"

namespace inferd {

inline constexpr size_t kHttpAnswerBytesMax = 64 * 1024;

struct HttpAnswer {
  int status = 0;
  std::string content_type;
  std::string body;
};

// Blocks for `timeout` at most, and for the name's resolution. `url` is http://HOST[:PORT][/PATH];
// kInvalidArgument for another form, https included: a witness elsewhere is reached through a
// tunnel that the operator trusts. kUnavailable or kDeadlineExceeded if no answer comes. The
// answer's status is not looked at.
StatusOr<HttpAnswer> PostHttp(std::string_view url, std::string_view body, Duration timeout);

}  // namespace inferd
