#include "governance/verify/checkpoint.h"

#include <utility>

#include "governance/verify/base64.h"
#include "governance/verify/note_lines.h"

namespace inferd {
std::string CheckpointText(const Checkpoint& checkpoint) {
  return absl::StrFormat(
      "%s\n%d\n%s\n", checkpoint.origin, checkpoint.size, EncodeHash(checkpoint.root));
}

StatusOr<Checkpoint> ParseCheckpoint(std::string_view text) {
  std::string_view origin;
  std::string_view size;
  std::string_view root;
  if (!TakeLine(text, origin) || !TakeLine(text, size) || !TakeLine(text, root) || origin.empty()) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "a checkpoint has at least three lines: origin, size, root");
  }
  for (std::string_view line; TakeLine(text, line);) {
    if (line.empty()) {
      return ErrorF(StatusCode::kInvalidArgument, "a checkpoint has no empty lines");
    }
  }
  if (!text.empty()) {
    return ErrorF(StatusCode::kInvalidArgument, "a checkpoint ends with a newline");
  }
  Checkpoint checkpoint{.origin = std::string(origin), .size = 0, .root = {}};
  ASSIGN_OR_RETURN(checkpoint.size, ParseDecimal(size));
  ASSIGN_OR_RETURN(checkpoint.root, DecodeHash(root));
  return checkpoint;
}

StatusOr<SignedCheckpoint> OpenCheckpoint(std::string_view note, const NoteVerifier& log) {
  SignedCheckpoint opened;
  ASSIGN_OR_RETURN(opened.note, ParseNote(note));
  RETURN_IF_ERROR(CheckSignature(opened.note, log));
  ASSIGN_OR_RETURN(opened.checkpoint, ParseCheckpoint(opened.note.text));
  return opened;
}

std::string SignCheckpoint(const Checkpoint& checkpoint, const NoteSigner& signer) {
  const std::string text = CheckpointText(checkpoint);
  return text + '\n' + SignatureLine(signer.Sign(text));
}

}  // namespace inferd
