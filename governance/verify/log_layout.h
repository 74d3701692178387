// Where the parts of a log lie (C2SP tlog-tiles, paths relative to the shard's folder), and how its
// folders are named. Only `log/` is ever served; `state/` holds what the writer needs to recover.
//
//   log/<shard>/checkpoint                 the published note
//   log/<shard>/witnessed                  the last note that witnesses cosigned, if any
//   log/<shard>/tile/<L>/<N>[.p/<W>]       hash tiles, 256 hashes when full
//   log/<shard>/tile/entries/<N>[.p/<W>]   bundles of 256 leaves, each after its length as uint16
//   state/<shard>/wal.<NNNN>               leaves that no checkpoint covers yet
//   state/<shard>/signed                   the last note signed, published or not
//   state/lock                             held by the one writer
//
// A shard is named <yyyy>q<q>.<serial>: "2026q4.0". Its origin, the first line of its checkpoints,
// is <org>/inferd-audit/<node>/<shard>.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace inferd {

inline constexpr uint64_t kTileWidth = 256;
inline constexpr uint64_t kHashBytes = 32;
// Levels that a tree of 2^63 leaves has.
inline constexpr uint32_t kTileLevelMax = 7;

inline constexpr std::string_view kLogFolder = "log";
inline constexpr std::string_view kStateFolder = "state";
inline constexpr std::string_view kCheckpointFile = "checkpoint";
inline constexpr std::string_view kWitnessedFile = "witnessed";
inline constexpr std::string_view kSignedFile = "signed";
inline constexpr std::string_view kLockFile = "lock";
inline constexpr std::string_view kWalPrefix = "wal.";

// "tile/0/x001/x234/067", with ".p/<width>" unless width is kTileWidth. 0 < width <= kTileWidth.
std::string TilePath(uint32_t level, uint64_t tile, uint64_t width = kTileWidth);
// "tile/entries/x001/x234/067", with ".p/<width>" unless width is kTileWidth.
std::string BundlePath(uint64_t bundle, uint64_t width = kTileWidth);

// A quarter of a year and a serial within it, in the order of time.
struct ShardName {
  uint32_t year = 1970;
  uint32_t quarter = 1;  // 1 to 4
  uint32_t serial = 0;

  std::string Text() const;
  // kInvalidArgument for anything but what Text() writes.
  static StatusOr<ShardName> Parse(std::string_view text);
  friend auto operator<=>(const ShardName&, const ShardName&) = default;
};

}  // namespace inferd
