// DSSE envelopes (secure-systems-lab, DSSE v1.0.2) with one Ed25519 signature: a payload of some
// type, and who signed it.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"
#include "governance/verify/note.h"

namespace inferd {

inline constexpr size_t kDssePayloadBytesMax = size_t{256} << 20;

struct DsseEnvelope {
  std::string payload_type;
  std::string payload;
  std::string key_id;     // "<name>+<hex id>", as the key's vkey begins; not authenticated
  std::string signature;  // 64 bytes
};

// What is signed: "DSSEv1", then the lengths and texts of type and payload.
std::string DssePreAuthentication(std::string_view payload_type, std::string_view payload);

// One line of JSON with sorted keys. The signer is of kEd25519.
std::string SignDsse(std::string_view payload_type,
                     std::string_view payload,
                     const NoteSigner& signer);

// kInvalidArgument for anything but the bytes that SignDsse writes. The signature is not checked.
StatusOr<DsseEnvelope> ParseDsse(std::string_view text);

// kInvalidArgument if another key signed, kDataLoss if the signature does not verify.
Status CheckDsse(const DsseEnvelope& envelope, const NoteVerifier& signer);

}  // namespace inferd
