#include "governance/verify/tar.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <unordered_set>

namespace inferd {
namespace {

// Offsets in a header (POSIX.1-1988, ustar).
constexpr size_t kMode = 100;
constexpr size_t kUid = 108;
constexpr size_t kGid = 116;
constexpr size_t kSize = 124;
constexpr size_t kTime = 136;
constexpr size_t kChecksum = 148;
constexpr size_t kType = 156;
constexpr size_t kMagic = 257;
constexpr size_t kMajor = 329;
constexpr size_t kMinor = 337;
constexpr size_t kSizeDigits = 11;

using Block = std::array<char, kTarBlockBytes>;

// `digits` octal digits and a zero byte.
void PutOctal(Block& block, size_t at, size_t digits, uint64_t value) {
  for (size_t i = digits; i-- > 0; value >>= 3) {
    block[at + i] = static_cast<char>('0' + (value & 7));
  }
}

Block Header(std::string_view name, uint64_t size) {
  Block block{};
  std::copy(name.begin(), name.end(), block.begin());
  PutOctal(block, kMode, 7, 0444);
  PutOctal(block, kUid, 7, 0);
  PutOctal(block, kGid, 7, 0);
  PutOctal(block, kSize, kSizeDigits, size);
  PutOctal(block, kTime, 11, 0);
  block[kType] = '0';
  std::memcpy(block.data() + kMagic, "ustar\00000", 8);
  PutOctal(block, kMajor, 7, 0);
  PutOctal(block, kMinor, 7, 0);
  // The sum is over the header with spaces in its own place.
  std::fill_n(block.begin() + kChecksum, 8, ' ');
  uint64_t sum = 0;
  for (const char byte : block) {
    sum += static_cast<unsigned char>(byte);
  }
  PutOctal(block, kChecksum, 6, sum);
  block[kChecksum + 6] = '\0';
  return block;
}

std::string_view View(const Block& block) { return {block.data(), block.size()}; }

size_t Padding(uint64_t size) {
  return static_cast<size_t>((kTarBlockBytes - size % kTarBlockBytes) % kTarBlockBytes);
}

bool IsZero(std::string_view bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](char byte) { return byte == 0; });
}

Status Bad(size_t offset, const char* why) {
  return ErrorF(StatusCode::kDataLoss, "not an evidence bundle's tar, at byte %d: %s", offset, why);
}

}  // namespace

bool IsTarName(std::string_view name) {
  if (name.empty() || name.size() > kTarNameBytesMax) {
    return false;
  }
  char before = '/';
  for (const char c : name) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (!letter && c != '_' && c != '-' && (before == '/' || (c != '.' && c != '/'))) {
      return false;
    }
    before = c;
  }
  return before != '/';
}

Status TarWriter::Add(std::string_view name, std::string_view content) {
  if (!IsTarName(name)) {
    return ErrorF(StatusCode::kInvalidArgument, "\"%s\" cannot be a file's name in a tar", name);
  }
  if (content.size() > kTarMemberBytesMax) {
    return ErrorF(StatusCode::kInvalidArgument, "%s: too large for a tar", name);
  }
  RETURN_IF_ERROR(sink_(View(Header(name, content.size()))));
  RETURN_IF_ERROR(sink_(content));
  return sink_(std::string(Padding(content.size()), '\0'));
}

Status TarWriter::Finish() { return sink_(std::string(2 * kTarBlockBytes, '\0')); }

StatusOr<std::vector<TarMember>> ReadTar(std::string_view archive) {
  std::vector<TarMember> members;
  std::unordered_set<std::string_view> names;
  size_t at = 0;
  for (;;) {
    if (archive.size() - at < 2 * kTarBlockBytes) {
      return Bad(at, "it ends too early");
    }
    const std::string_view header = archive.substr(at, kTarBlockBytes);
    if (header[0] == '\0') {
      if (archive.size() - at != 2 * kTarBlockBytes || !IsZero(archive.substr(at))) {
        return Bad(at, "its end is not two blocks of zeros");
      }
      return members;
    }
    const std::string_view name = header.substr(0, std::min(header.find('\0'), kTarNameBytesMax));
    uint64_t size = 0;
    for (const char digit : header.substr(kSize, kSizeDigits)) {
      if (digit < '0' || digit > '7') {
        return Bad(at, "a size that is no octal number");
      }
      size = size << 3 | static_cast<uint64_t>(digit - '0');
    }
    // One form alone: whatever else a header may say would be a byte that nothing covers.
    if (!IsTarName(name) || header != View(Header(name, size))) {
      return Bad(at, "a header that is not of a plain file in the form that is written");
    }
    at += kTarBlockBytes;
    if (size > kTarMemberBytesMax || size + Padding(size) > archive.size() - at) {
      return Bad(at, "it ends within a file");
    }
    const auto bytes = static_cast<size_t>(size);
    if (!IsZero(archive.substr(at + bytes, Padding(size)))) {
      return Bad(at + bytes, "what fills a block up is not zeros");
    }
    if (!names.insert(name).second || members.size() == kTarMembersMax) {
      return Bad(at, "a name twice, or too many files");
    }
    members.push_back({.name = name, .content = archive.substr(at, bytes)});
    at += bytes + Padding(size);
  }
}

}  // namespace inferd
