// Checkpoints (C2SP tlog-checkpoint): origin, size and root of a log, as the text of a signed note.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/digest.h"
#include "base/status.h"
#include "governance/verify/note.h"

namespace inferd {

struct Checkpoint {
  std::string origin;
  uint64_t size = 0;
  Digest root;
  friend bool operator==(const Checkpoint&, const Checkpoint&) = default;
};

// The note's text, with its final newline.
std::string CheckpointText(const Checkpoint& checkpoint);

// kInvalidArgument for another form. Extension lines are allowed and ignored.
StatusOr<Checkpoint> ParseCheckpoint(std::string_view text);

// A note as its log signed it.
struct SignedCheckpoint {
  Checkpoint checkpoint;
  SignedNote note;
};

// Reads a note, checks that `log` signed it and that it is a checkpoint. kInvalidArgument for
// another form or another signer, kDataLoss for a signature that does not verify.
StatusOr<SignedCheckpoint> OpenCheckpoint(std::string_view note, const NoteVerifier& log);

// The note of a checkpoint with this one signature.
std::string SignCheckpoint(const Checkpoint& checkpoint, const NoteSigner& signer);

}  // namespace inferd
