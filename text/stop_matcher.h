// StopMatcher: finds stop strings in a stream of text, across token borders.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace inferd {

// One generated text. Owned by the engine thread. Text that could be the start of a stop string is
// held back until it is certain.
class StopMatcher {
 public:
  // At most kStopStringsMax strings of at most kStopStringBytesMax bytes, none empty: the caller
  // has checked. `include_stop`: the stop string itself is part of the text.
  StopMatcher(std::vector<std::string> stops, bool include_stop);

  struct Result {
    std::string text;            // safe to emit now
    std::optional<int> matched;  // index of the stop string; the stream then ends
  };
  // The match that is complete first wins, so that a text ends with the byte that completes a stop
  // string, however the text is cut; of several complete at once the longest.
  Result Add(std::string_view text);
  // What was held back; the stream has ended without a match.
  std::string Finish();

 private:
  // Bytes at the end of held_ with which `stop` may begin.
  size_t UnfinishedBytes(std::string_view stop) const;

  std::vector<std::string> stops_;
  bool include_stop_;
  std::string held_;
};

inline constexpr size_t kStopStringsMax = 16;
inline constexpr size_t kStopStringBytesMax = 256;

}  // namespace inferd
