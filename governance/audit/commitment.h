// Salted commitments: what a leaf holds instead of content. Whoever has salt and payload can show
// that they belong to a leaf; whoever has the leaf alone learns nothing, not even of short texts.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/digest.h"

namespace inferd {

using CommitmentSalt = std::array<uint8_t, 32>;

// Fresh from the operating system. It goes into the payload's encrypted envelope, or back to the
// caller with the receipt; never into a leaf, log or metric.
CommitmentSalt NewCommitmentSalt();

// A commitment's value, told from a digest of something public by its type.
struct Commitment {
  Digest value;
  // base64url without padding, 43 characters: how it stands in a leaf.
  std::string Text() const;
  friend bool operator==(const Commitment&, const Commitment&) = default;
};

// SHA-256("infer-commit-v1" ‖ 0 ‖ salt ‖ payload).
Commitment CommitTo(const CommitmentSalt& salt, std::string_view payload);

}  // namespace inferd
