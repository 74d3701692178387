#include <algorithm>
#include <cstring>

#include "base/little_endian.h"
#include "base/sha256.h"
#include "governance/vault.h"

namespace inferd::vault_format {
namespace {

// frame: magic u32 | size u32 (of the body) | first 8 bytes of the body's SHA-256 | body
// body:  envelope | sealed key and salt (fixed size) | sealed payload (the rest)
// envelope: version u8 | direction u8 | key id 16 | rid, tenant, origin, each u16 size and bytes
// All integers are little-endian.
constexpr uint32_t kMagic = 0x31525649;  // "IVR1"
constexpr size_t kChecksumBytes = 8;
constexpr size_t kFrameHeaderBytes = 8 + kChecksumBytes;
constexpr uint8_t kVersion = 1;
constexpr size_t kSealedKeyBytes = kAeadOverheadBytes + SecretKey::kBytes + sizeof(CommitmentSalt);
constexpr size_t kBodyBytesMin = 2 + kKeyIdBytes + 3 * 2 + kSealedKeyBytes + kAeadOverheadBytes;
constexpr size_t kBodyBytesMax = kBodyBytesMin + 3 * kVaultNameBytesMax + kVaultPayloadBytesMax;

void PutName(std::string& out, std::string_view name) {
  AppendLittleEndian(static_cast<uint16_t>(name.size()), out);
  out += name;
}

bool TakeName(std::string_view& bytes, std::string& name) {
  if (bytes.size() < 2) {
    return false;
  }
  const size_t size =
      static_cast<unsigned char>(bytes[0]) | size_t{static_cast<unsigned char>(bytes[1])} << 8;
  bytes.remove_prefix(2);
  if (size > kVaultNameBytesMax || bytes.size() < size) {
    return false;
  }
  name = bytes.substr(0, size);
  bytes.remove_prefix(size);
  return true;
}

// Against torn writes; against people there are the seals.
std::string Checksum(std::string_view body) {
  const Digest digest = Sha256Of(body);
  return {reinterpret_cast<const char*>(digest.bytes.data()), kChecksumBytes};
}

Status NoRecord() {
  return ErrorF(StatusCode::kDataLoss, "the vault has a frame that is no record");
}

}  // namespace

const std::string_view kSegmentHeader = "inferd vault 1\n";

std::string EncodeEnvelope(const VaultEnvelope& envelope) {
  std::string out;
  out.push_back(static_cast<char>(kVersion));
  out.push_back(static_cast<char>(envelope.direction));
  out += envelope.key_id;
  PutName(out, envelope.rid);
  PutName(out, envelope.tenant);
  PutName(out, envelope.origin);
  return out;
}

std::string Encode(const VaultEnvelope& envelope,
                   std::string_view sealed_key,
                   std::string_view sealed_payload) {
  std::string body = EncodeEnvelope(envelope);
  body += sealed_key;
  body += sealed_payload;
  std::string frame;
  frame.reserve(kFrameHeaderBytes + body.size());
  AppendLittleEndian(kMagic, frame);
  AppendLittleEndian(static_cast<uint32_t>(body.size()), frame);
  frame += Checksum(body);
  return frame + body;
}

StatusOr<Frame> Decode(std::string_view bytes) {
  const Status torn = ErrorF(StatusCode::kOutOfRange, "the vault's segment ends inside a record");
  if (bytes.size() < kFrameHeaderBytes || ReadLittleEndian<uint32_t>(bytes, 0) != kMagic) {
    return torn;
  }
  const size_t size = ReadLittleEndian<uint32_t>(bytes, 4);
  if (size < kBodyBytesMin || size > kBodyBytesMax || size > bytes.size() - kFrameHeaderBytes) {
    return torn;
  }
  const std::string_view body = bytes.substr(kFrameHeaderBytes, size);
  if (Checksum(body) != bytes.substr(8, kChecksumBytes)) {
    return torn;
  }
  Frame frame;
  frame.size_bytes = kFrameHeaderBytes + size;
  const auto direction = static_cast<uint8_t>(body[1]);
  if (static_cast<uint8_t>(body[0]) != kVersion || direction < 1 || direction > 3) {
    return NoRecord();
  }
  frame.envelope.direction = static_cast<VaultDirection>(direction);
  frame.envelope.key_id = body.substr(2, kKeyIdBytes);
  std::string_view rest = body.substr(2 + kKeyIdBytes);
  if (!TakeName(rest, frame.envelope.rid) || !TakeName(rest, frame.envelope.tenant) ||
      !TakeName(rest, frame.envelope.origin) ||
      rest.size() < kSealedKeyBytes + kAeadOverheadBytes) {
    return NoRecord();
  }
  frame.bound = body.substr(0, body.size() - rest.size());
  frame.sealed_key = rest.substr(0, kSealedKeyBytes);
  frame.sealed_payload = rest.substr(kSealedKeyBytes);
  return frame;
}

Status ForEachFrame(std::string_view segment,
                    const std::function<void(size_t offset, const Frame&)>& visit) {
  if (!segment.starts_with(kSegmentHeader)) {
    // A crash right after the file was made leaves it shorter.
    return kSegmentHeader.starts_with(segment)
               ? OkStatus()
               : ErrorF(StatusCode::kDataLoss, "not a segment of the vault: its header is another");
  }
  size_t offset = kSegmentHeader.size();
  while (offset < segment.size()) {
    const auto frame = Decode(segment.substr(offset));
    if (frame.ok()) {
      visit(offset, *frame);
      offset += frame->size_bytes;
      continue;
    }
    if (frame.status().code() != StatusCode::kOutOfRange) {
      return frame.status();
    }
    for (size_t next = offset + 1; next + kFrameHeaderBytes <= segment.size(); ++next) {
      if (ReadLittleEndian<uint32_t>(segment, next) == kMagic &&
          Decode(segment.substr(next)).ok()) {
        return ErrorF(StatusCode::kDataLoss,
                      "the vault's segment is broken at byte %d, before a record that is whole",
                      offset);
      }
    }
    return OkStatus();  // a torn end
  }
  return OkStatus();
}

}  // namespace inferd::vault_format
