#include "text/stop_matcher.h"

#include <algorithm>
#include <utility>

namespace inferd {

StopMatcher::StopMatcher(std::vector<std::string> stops, bool include_stop)
    : stops_(std::move(stops)), include_stop_(include_stop) {}

StopMatcher::Result StopMatcher::Add(std::string_view text) {
  if (stops_.empty()) {
    return {std::string(text), std::nullopt};
  }
  held_ += text;
  // The match that ends first, and where a stop string may have begun that is not whole yet.
  size_t match_end = std::string::npos;
  size_t match = 0;
  size_t hold_at = held_.size();
  for (size_t i = 0; i < stops_.size(); ++i) {
    const std::string& stop = stops_[i];
    if (const size_t at = held_.find(stop); at != std::string::npos) {
      const size_t end = at + stop.size();
      if (end < match_end || (end == match_end && stop.size() > stops_[match].size())) {
        match_end = end;
        match = i;
      }
    }
    hold_at = std::min(hold_at, held_.size() - UnfinishedBytes(stop));
  }
  if (match_end != std::string::npos) {
    Result result{held_.substr(0, include_stop_ ? match_end : match_end - stops_[match].size()),
                  static_cast<int>(match)};
    held_.clear();
    return result;
  }
  std::string safe = held_.substr(0, hold_at);
  held_.erase(0, hold_at);
  return {std::move(safe), std::nullopt};
}

size_t StopMatcher::UnfinishedBytes(std::string_view stop) const {
  for (size_t n = std::min(stop.size() - 1, held_.size()); n > 0; --n) {
    if (std::string_view(held_).ends_with(stop.substr(0, n))) {
      return n;
    }
  }
  return 0;
}

std::string StopMatcher::Finish() { return std::exchange(held_, {}); }

}  // namespace inferd
