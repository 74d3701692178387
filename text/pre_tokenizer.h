// How a byte-level BPE model splits text into words before it merges bytes.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace inferd::text_internal {

struct PreTokenizer {
  // Applied one after the other; each isolates its matches from what lies between them.
  std::vector<std::string> patterns;
  // A whole word that is a token is that token, whatever the merges say.
  bool ignore_merges = false;
};

// The pre-tokenizer that `tokenizer.ggml.pre` names. kUnimplemented names an unknown one.
StatusOr<PreTokenizer> FindPreTokenizer(std::string_view name);

// Of regular expressions that a file gives: each must be one of the known ones, since a stranger's
// expression can take any time to match. kUnimplemented shows the first that is not.
StatusOr<PreTokenizer> FindPreTokenizer(std::span<const std::string> patterns, bool ignore_merges);

}  // namespace inferd::text_internal
