#include "client/exit_code.h"

namespace inferd {

ExitCode ExitCodeFor(const Status& status) {
  switch (status.code()) {
    case StatusCode::kOk:
      return ExitCode::kOk;
    case StatusCode::kInvalidArgument:
    case StatusCode::kOutOfRange:
      return ExitCode::kUsage;
    case StatusCode::kNotFound:
      return ExitCode::kNotFound;
    case StatusCode::kPermissionDenied:
    case StatusCode::kUnauthenticated:
      return ExitCode::kDenied;
    case StatusCode::kUnavailable:
    case StatusCode::kDeadlineExceeded:
    case StatusCode::kResourceExhausted:
      return ExitCode::kUnavailable;
    case StatusCode::kDataLoss:
      return ExitCode::kVerificationFailed;
    default:
      return ExitCode::kFailure;
  }
}

ExitCode ExitCodeForFile(const Status& status) {
  switch (status.code()) {
    case StatusCode::kInvalidArgument:
    case StatusCode::kOutOfRange:
    case StatusCode::kResourceExhausted:
      return ExitCode::kFailure;
    default:
      return ExitCodeFor(status);
  }
}

std::string AdviceFor(const Status& status, std::string_view endpoint) {
  switch (status.code()) {
    case StatusCode::kUnavailable:
      return absl::StrFormat(
          "Is inferd running and listening on %s? Start it (inferd --config FILE), name another "
          "address with --endpoint, or try again in a moment.",
          endpoint);
    case StatusCode::kDeadlineExceeded:
      return "Allow more time with --timeout, or ask for fewer tokens with --max-tokens.";
    case StatusCode::kNotFound:
      return "`inferctl model list` shows what is served.";
    case StatusCode::kPermissionDenied:
    case StatusCode::kUnauthenticated:
      return "Ask the operator of the service for access.";
    case StatusCode::kResourceExhausted:
      return "Try again later, or ask for less.";
    case StatusCode::kUnimplemented:
      return "The daemon may be of another version: compare `inferctl version` and `inferd "
             "--version`.";
    default:
      return "";
  }
}

}  // namespace inferd
