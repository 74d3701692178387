// The write-ahead log's bytes: docs/formats/wal.md. All numbers are little-endian.
//
//   segment   header (64 bytes), frames, zeros
//   header    "infwal01", epoch u64, number u64, 36 zero bytes, crc u32 over the 60 before it
//   frame     "WFRM", size u32, group u64, index u64, position u16, count u16, crc u32, `size`
//   bytes
//             of leaf, zeros up to a multiple of 8
//             crc is over the epoch (u64), the frame's header up to it, and the leaf
//
// Frames of one write have one group number; position and count are the frame's place among them.
// Group g + 1 is written only after group g is on the device.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace inferd {

inline constexpr uint64_t kWalHeaderBytes = 64;
inline constexpr uint64_t kWalFrameHeaderBytes = 32;
inline constexpr uint64_t kWalSegmentBytesMax = uint64_t{1} << 30;

struct WalHeader {
  uint64_t epoch = 0;   // random: frames of another use of the same blocks are no frames
  uint64_t number = 0;  // as in the file's name
};

struct WalFrame {
  uint64_t group = 0;
  uint64_t index = 0;
  uint16_t position = 0;
  uint16_t count = 0;
  std::string_view leaf;
};

// "wal.0007".
std::string WalName(uint64_t number);
// Nothing for other names.
std::optional<uint64_t> WalNumber(std::string_view name);

std::string EncodeWalHeader(const WalHeader& header);
std::optional<WalHeader> ParseWalHeader(std::string_view bytes);

// Bytes that a frame with a leaf of this size takes.
uint64_t WalFrameBytes(uint64_t leaf_bytes);
void AppendWalFrame(std::string& bytes, uint64_t epoch, const WalFrame& frame);
// The frame at the beginning of `bytes`; nothing if that is none.
std::optional<WalFrame> ParseWalFrame(std::string_view bytes, uint64_t epoch);

struct WalSegmentBytes {
  uint64_t number = 0;
  std::string bytes;
};

// What a crash left. Moved, not copied: the leaves lie in the segments.
struct WalContents {
  WalContents() = default;
  WalContents(WalContents&&) = default;
  WalContents& operator=(WalContents&&) = default;

  std::vector<WalSegmentBytes> segments;
  std::vector<std::string_view> leaves;  // number first_index and on
  uint64_t frames = 0;                   // valid ones, also of leaves before first_index
  uint64_t torn_bytes = 0;               // of frames that no one was told to be durable
  uint64_t last_group = 0;
};

// Reads segments, in the order of their numbers. `first_index` is the size of the tree that
// integrated leaves are in. kDataLoss if a leaf that may have been acknowledged is missing: a frame
// is bad and another, of a later group, is good. A bad frame of the last group written is a torn
// tail: nobody was told of it.
StatusOr<WalContents> ReadWal(std::vector<WalSegmentBytes> segments, uint64_t first_index);

}  // namespace inferd
