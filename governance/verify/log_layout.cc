#include "governance/verify/log_layout.h"

#include <charconv>

#include "base/check.h"

namespace inferd {
namespace {

// tlog-tiles: three digits an element, all but the last with an x before them.
std::string IndexPath(uint64_t index) {
  std::string path = absl::StrFormat("%03d", index % 1000);
  for (index /= 1000; index > 0; index /= 1000) {
    path = absl::StrFormat("x%03d/", index % 1000) + path;
  }
  return path;
}

std::string Partial(uint64_t width) {
  CHECK(width > 0 && width <= kTileWidth);
  return width == kTileWidth ? "" : absl::StrFormat(".p/%d", width);
}

// Reads an unsigned number without sign or leading zeros from the front of `text`.
bool TakeNumber(std::string_view& text, uint32_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const auto length = static_cast<size_t>(end - text.data());
  if (error != std::errc() || (length > 1 && text.front() == '0')) {
    return false;
  }
  text.remove_prefix(length);
  return true;
}

bool TakeChar(std::string_view& text, char c) {
  if (text.empty() || text.front() != c) {
    return false;
  }
  text.remove_prefix(1);
  return true;
}

}  // namespace

std::string TilePath(uint32_t level, uint64_t tile, uint64_t width) {
  CHECK(level <= kTileLevelMax);
  return absl::StrFormat("tile/%d/", level) + IndexPath(tile) + Partial(width);
}

std::string BundlePath(uint64_t bundle, uint64_t width) {
  return "tile/entries/" + IndexPath(bundle) + Partial(width);
}

std::string ShardName::Text() const { return absl::StrFormat("%dq%d.%d", year, quarter, serial); }

StatusOr<ShardName> ShardName::Parse(std::string_view text) {
  ShardName name;
  std::string_view rest = text;
  if (!TakeNumber(rest, name.year) || !TakeChar(rest, 'q') || !TakeNumber(rest, name.quarter) ||
      !TakeChar(rest, '.') || !TakeNumber(rest, name.serial) || !rest.empty() || name.quarter < 1 ||
      name.quarter > 4 || name.year < 1970 || name.year > 9999) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "a shard is named <year>q<quarter>.<serial>, such as 2026q4.0; this one has %d "
                  "characters and is not",
                  text.size());
  }
  return name;
}

}  // namespace inferd
