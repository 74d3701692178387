// What inferctl's exit status says. Scripts rely on these numbers; they do not change.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace inferd {

enum class ExitCode : uint8_t {
  kOk = 0,
  kFailure = 1,
  kUsage = 2,               // the command line, or a request field, is wrong
  kNotFound = 3,            // no such file, model or version
  kDenied = 4,              // no or not enough rights
  kUnavailable = 5,         // no daemon, queue full, over a quota, or out of time: try again
  kVerificationFailed = 6,  // a digest or a record is not what it should be
  kConfig = 78,             // the client's own configuration is wrong
};

// The exit status of a call that ended with `status`.
ExitCode ExitCodeFor(const Status& status);

// The same for reading a local file: its broken content is a failure, not wrong usage.
ExitCode ExitCodeForFile(const Status& status);

// One line that says what to do about `status` of a call to `endpoint`; "" if there is no advice.
std::string AdviceFor(const Status& status, std::string_view endpoint);

}  // namespace inferd
