// Lines of notes, and of what is wrapped around them. Private to this folder.
#pragma once

#include <string_view>
#include <vector>

#include "base/digest.h"
#include "base/status.h"
#include "governance/verify/base64.h"

namespace inferd {

// The next line without its newline; false, and nothing taken, if no newline is left.
inline bool TakeLine(std::string_view& text, std::string_view& line) {
  const size_t end = text.find('\n');
  if (end == std::string_view::npos) {
    return false;
  }
  line = text.substr(0, end);
  text.remove_prefix(end + 1);
  return true;
}

// Hashes in base64, a line each, and the empty line behind them. kInvalidArgument for more than
// `num_max`, another form, or no empty line.
inline StatusOr<std::vector<Digest>> TakeHashes(std::string_view& text, size_t num_max) {
  std::vector<Digest> hashes;
  std::string_view line;
  while (TakeLine(text, line)) {
    if (line.empty()) {
      return hashes;
    }
    ASSIGN_OR_RETURN(const Digest hash, DecodeHash(line));
    if (hashes.size() == num_max) {
      return ErrorF(StatusCode::kInvalidArgument, "it has more than %d hashes", num_max);
    }
    hashes.push_back(hash);
  }
  return ErrorF(StatusCode::kInvalidArgument, "it has no checkpoint");
}

}  // namespace inferd
