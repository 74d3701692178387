// Base64 with the standard alphabet and padding (RFC 4648 section 4), read strictly: one text for
// each byte string, so that no changed character of a note goes unseen.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/digest.h"
#include "base/status.h"

namespace inferd {

std::string EncodeBase64(std::string_view bytes);
// kInvalidArgument for other characters, missing or extra padding, bits that should be zero.
StatusOr<std::string> DecodeBase64(std::string_view text);

// A hash as checkpoints and proofs write it: 44 characters.
std::string EncodeHash(const Digest& digest);
StatusOr<Digest> DecodeHash(std::string_view text);

// A decimal number without sign or leading zeros, as checkpoints and proofs write it.
StatusOr<uint64_t> ParseDecimal(std::string_view text);

}  // namespace inferd
