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

struct HttpOptions {
  Duration timeout{};  // of all but the name's resolution
  // https: whose certificates are believed, a PEM file; "": the machine's trust store.
  std::string ca_file{};
};

// Blocks. `url` is http(s)://HOST[:PORT][/PATH]; kInvalidArgument for another form. https is TLS
// 1.2 or newer, and the certificate must be for HOST. kUnavailable or kDeadlineExceeded if no
// answer comes, kFailedPrecondition for a ca_file that is none. The answer's status is not looked
// at.
StatusOr<HttpAnswer> PostHttp(std::string_view url,
                              std::string_view body,
                              const HttpOptions& options);

}  // namespace inferd
