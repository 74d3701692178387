// Errors as values: every function that can fail returns Status or StatusOr.
//
// This header hides what Debian's abseil lacks: its string_view is not std::string_view, and it
// has no macros. Include it, never absl/status directly.
#pragma once

#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"

namespace inferd {

using absl::OkStatus;
using absl::Status;
using absl::StatusCode;
using absl::StatusOr;

// An error with a formatted message: what failed, which id, what to do next. Never prompt text.
template <typename... Args>
Status ErrorF(StatusCode code, const absl::FormatSpec<Args...>& format, const Args&... args) {
  return Status(code, absl::StrFormat(format, args...));
}

inline std::string_view Message(const Status& status) {
  return {status.message().data(), status.message().size()};
}

// The same error with `context: ` before its message; OK stays OK.
inline Status Annotate(const Status& status, std::string_view context) {
  if (status.ok()) {
    return status;
  }
  return Status(status.code(), absl::StrFormat("%s: %s", context, Message(status)));
}

namespace status_internal {
inline Status AsStatus(const Status& status) { return status; }
template <typename T>
Status AsStatus(const StatusOr<T>& result) {
  return result.status();
}
}  // namespace status_internal

}  // namespace inferd

// NOLINTBEGIN(bugprone-macro-parentheses)
#define RETURN_IF_ERROR(expression)                                 \
  do {                                                              \
    if (auto&& inferd_result = (expression); !inferd_result.ok()) { \
      return ::inferd::status_internal::AsStatus(inferd_result);    \
    }                                                               \
  } while (false)

#define INFERD_CONCAT_INNER(a, b) a##b
#define INFERD_CONCAT(a, b) INFERD_CONCAT_INNER(a, b)
#define INFERD_ASSIGN_OR_RETURN(result, declaration, expression) \
  auto result = (expression);                                    \
  if (!result.ok()) {                                            \
    return result.status();                                      \
  }                                                              \
  declaration = *std::move(result)

// ASSIGN_OR_RETURN(ModelPin pin, registry.Resolve(tenant, alias));
#define ASSIGN_OR_RETURN(declaration, expression) \
  INFERD_ASSIGN_OR_RETURN(INFERD_CONCAT(inferd_result_, __LINE__), declaration, expression)
// NOLINTEND(bugprone-macro-parentheses)
