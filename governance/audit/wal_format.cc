#include "governance/audit/wal_format.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/crc32c.h"
#include "base/little_endian.h"
#include "governance/verify/base64.h"
#include "governance/verify/leaf_types.h"
#include "governance/verify/log_layout.h"

namespace inferd {
namespace {

constexpr std::string_view kSegmentMagic = "infwal01";
constexpr std::string_view kFrameMagic = "WFRM";
constexpr uint64_t kCrcOffset = 28;
constexpr size_t kAlignment = 8;
constexpr std::string_view kZeros("\0\0\0\0\0\0\0\0", kAlignment);

uint32_t FrameCrc(uint64_t epoch, std::string_view header, std::string_view leaf) {
  std::string prefix;
  AppendLittleEndian(epoch, prefix);
  return Crc32c(leaf, Crc32c(header.substr(0, kCrcOffset), Crc32c(prefix)));
}

uint64_t Aligned(uint64_t size) { return (size + kAlignment - 1) / kAlignment * kAlignment; }

// Reads one segment after another and remembers where the good frames ended: behind a bad one only
// frames of its own group may follow.
class WalReader {
 public:
  explicit WalReader(uint64_t first_index) : first_index_(first_index), expected_(first_index) {}

  Status Read(const WalSegmentBytes& segment) {
    const auto header = ParseWalHeader(segment.bytes);
    if (!header || header->number != segment.number) {
      // Made, and not yet used when the power went: later segments have no frames either.
      headless_ = true;
      return OkStatus();
    }
    std::string_view rest = std::string_view(segment.bytes).substr(kWalHeaderBytes);
    while (rest.size() >= kWalFrameHeaderBytes) {
      const auto frame = ParseWalFrame(rest, header->epoch);
      const size_t step = frame ? WalFrameBytes(frame->leaf.size()) : kAlignment;
      if (frame) {
        RETURN_IF_ERROR(Take(*frame));
      }
      if (ended_ || (!frame && rest.substr(0, kAlignment) != kZeros)) {
        contents_.torn_bytes += step;
      }
      rest.remove_prefix(std::min(rest.size(), step));
    }
    return OkStatus();
  }

  WalContents Finish() { return std::move(contents_); }

 private:
  Status Take(const WalFrame& frame) {
    if (headless_) {
      return Corrupt(frame, "a segment before it has no header");
    }
    // Leaves of the tree need not be here: their segment may be gone already.
    const bool follows = frame.index == expected_ || frame.index <= first_index_;
    if (ended_ || !follows) {
      ended_ = true;
      return CheckSameGroup(frame);
    }
    if (frame.group < contents_.last_group) {
      return Corrupt(frame, "its group is older than the frame's before it");
    }
    expected_ = frame.index + 1;
    contents_.last_group = frame.group;
    ++contents_.frames;
    if (frame.index >= first_index_) {
      contents_.leaves.push_back(frame.leaf);
    }
    return OkStatus();
  }

  // The leaf number expected_ is bad. It was never acknowledged if it is of the same group as a
  // frame that is good.
  Status CheckSameGroup(const WalFrame& frame) const {
    const uint64_t group_start = frame.index - std::min<uint64_t>(frame.index, frame.position);
    return group_start > std::max(expected_, first_index_)
               ? Corrupt(frame, "a frame of an earlier group is bad")
               : OkStatus();
  }

  Status Corrupt(const WalFrame& frame, const char* why) const {
    return ErrorF(StatusCode::kDataLoss,
                  "the write-ahead log is corrupt: leaf %d of group %d is there, but leaf %d is "
                  "not: %s. Keep the folder as evidence; audit-verify tells what is left",
                  frame.index,
                  frame.group,
                  expected_,
                  why);
  }

  uint64_t first_index_;
  uint64_t expected_;      // index of the next frame
  bool ended_ = false;     // a bad frame with good ones behind it
  bool headless_ = false;  // a segment without header
  WalContents contents_;
};

}  // namespace

std::string WalName(uint64_t number) {
  return std::string(kWalPrefix) + absl::StrFormat("%04d", number);
}

std::optional<uint64_t> WalNumber(std::string_view name) {
  if (!name.starts_with(kWalPrefix)) {
    return std::nullopt;
  }
  std::string_view digits = name.substr(kWalPrefix.size());
  while (digits.size() > 1 && digits.front() == '0') {
    digits.remove_prefix(1);
  }
  const auto number = ParseDecimal(digits);
  return number.ok() && WalName(*number) == name ? std::optional<uint64_t>(*number) : std::nullopt;
}

std::string EncodeWalHeader(const WalHeader& header) {
  std::string bytes(kSegmentMagic);
  AppendLittleEndian(header.epoch, bytes);
  AppendLittleEndian(header.number, bytes);
  bytes.resize(kWalHeaderBytes - 4, '\0');
  AppendLittleEndian(Crc32c(bytes), bytes);
  return bytes;
}

std::optional<WalHeader> ParseWalHeader(std::string_view bytes) {
  if (bytes.size() < kWalHeaderBytes || !bytes.starts_with(kSegmentMagic) ||
      ReadLittleEndian<uint32_t>(bytes, kWalHeaderBytes - 4) !=
          Crc32c(bytes.substr(0, kWalHeaderBytes - 4))) {
    return std::nullopt;
  }
  return WalHeader{.epoch = ReadLittleEndian<uint64_t>(bytes, 8),
                   .number = ReadLittleEndian<uint64_t>(bytes, 16)};
}

uint64_t WalFrameBytes(uint64_t leaf_bytes) { return kWalFrameHeaderBytes + Aligned(leaf_bytes); }

void AppendWalFrame(std::string& bytes, uint64_t epoch, const WalFrame& frame) {
  const size_t start = bytes.size();
  bytes.append(kFrameMagic);
  AppendLittleEndian(static_cast<uint32_t>(frame.leaf.size()), bytes);
  AppendLittleEndian(frame.group, bytes);
  AppendLittleEndian(frame.index, bytes);
  AppendLittleEndian(frame.position, bytes);
  AppendLittleEndian(frame.count, bytes);
  AppendLittleEndian(FrameCrc(epoch, std::string_view(bytes).substr(start), frame.leaf), bytes);
  bytes.append(frame.leaf);
  bytes.resize(start + WalFrameBytes(frame.leaf.size()), '\0');
}

std::optional<WalFrame> ParseWalFrame(std::string_view bytes, uint64_t epoch) {
  if (bytes.size() < kWalFrameHeaderBytes || !bytes.starts_with(kFrameMagic)) {
    return std::nullopt;
  }
  const auto size = ReadLittleEndian<uint32_t>(bytes, 4);
  if (size > kLeafBytesMax || size > bytes.size() - kWalFrameHeaderBytes) {
    return std::nullopt;
  }
  const WalFrame frame{.group = ReadLittleEndian<uint64_t>(bytes, 8),
                       .index = ReadLittleEndian<uint64_t>(bytes, 16),
                       .position = ReadLittleEndian<uint16_t>(bytes, 24),
                       .count = ReadLittleEndian<uint16_t>(bytes, 26),
                       .leaf = bytes.substr(kWalFrameHeaderBytes, size)};
  if (frame.position >= frame.count ||
      ReadLittleEndian<uint32_t>(bytes, kCrcOffset) != FrameCrc(epoch, bytes, frame.leaf)) {
    return std::nullopt;
  }
  return frame;
}

StatusOr<WalContents> ReadWal(std::vector<WalSegmentBytes> segments, uint64_t first_index) {
  WalReader reader(first_index);
  for (const WalSegmentBytes& segment : segments) {
    RETURN_IF_ERROR(reader.Read(segment));
  }
  WalContents contents = reader.Finish();
  contents.segments = std::move(segments);
  return contents;
}

}  // namespace inferd
