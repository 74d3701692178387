#include "governance/verify/witness.h"

#include <utility>

#include "base/file_batch.h"
#include "base/sha256.h"
#include "governance/verify/base64.h"
#include "governance/verify/merkle.h"
#include "governance/verify/note_lines.h"
#include "governance/verify/trust_policy.h"

namespace inferd {
namespace {

constexpr std::string_view kOld = "old ";

Status Bad(std::string_view why) {
  return ErrorF(StatusCode::kInvalidArgument, "not an add-checkpoint request: %s", why);
}

WitnessAnswer Refuse(int status, std::string_view why) {
  return {.status = status,
          .content_type = "text/plain; charset=utf-8",
          .body = std::string(why) + '\n'};
}

WitnessAnswer Conflict(uint64_t size) {
  return {.status = 409, .content_type = "text/x.tlog.size", .body = std::to_string(size) + '\n'};
}

bool IsOriginOf(const NoteVerifier& log, const std::string& origin) {
  return origin == log.name() || origin.starts_with(log.name() + '/');
}

// Does the new checkpoint contain the old one?
bool IsConsistent(const Checkpoint& last,
                  const Checkpoint& next,
                  const std::vector<Digest>& proof) {
  if (next.size == 0 && next.root != EmptyRoot()) {
    return false;
  }
  if (last.size == 0) {
    return proof.empty();
  }
  return CheckConsistency(
             {.size1 = last.size, .size2 = next.size, .root1 = last.root, .root2 = next.root},
             proof)
      .ok();
}

}  // namespace

std::string EncodeAddCheckpoint(const AddCheckpointRequest& request) {
  std::string body = std::string(kOld) + std::to_string(request.old_size) + '\n';
  for (const Digest& hash : request.proof) {
    body += EncodeHash(hash) + '\n';
  }
  return body + '\n' + request.note;
}

StatusOr<AddCheckpointRequest> ParseAddCheckpoint(std::string_view body) {
  if (body.size() > kWitnessRequestBytesMax) {
    return Bad("it is too long");
  }
  AddCheckpointRequest request;
  std::string_view line;
  if (!TakeLine(body, line) || !line.starts_with(kOld)) {
    return Bad("it has no old size");
  }
  ASSIGN_OR_RETURN(request.old_size, ParseDecimal(line.substr(kOld.size())));
  auto hashes = TakeHashes(body, kWitnessProofHashesMax);
  if (!hashes.ok()) {
    return Bad(Message(hashes.status()));
  }
  request.proof = *std::move(hashes);
  request.note = body;
  return request;
}

StatusOr<AddCheckpointRequest> MakeAddCheckpoint(ShardReader& shard, uint64_t old_size) {
  const uint64_t size = shard.checkpoint().checkpoint.size;
  AddCheckpointRequest request{.old_size = old_size, .proof = {}, .note = shard.note()};
  if (old_size > size) {
    return ErrorF(StatusCode::kDataLoss,
                  "ROLLBACK_DETECTED: %s: a witness saw %d leaves, the log has %d",
                  shard.origin(),
                  old_size,
                  size);
  }
  if (old_size > 0) {
    ASSIGN_OR_RETURN(request.proof, ProveConsistency(old_size, size, shard.Hashes()));
  }
  return request;
}

StatusOr<std::string> AddCosignatures(std::string_view note,
                                      std::string_view answer,
                                      const NoteVerifier& witness) {
  ASSIGN_OR_RETURN(const SignedNote signed_note, ParseNote(note));
  ASSIGN_OR_RETURN(const SignedNote cosigned,
                   ParseNote(signed_note.text + '\n' + std::string(answer)));
  RETURN_IF_ERROR(CheckSignature(cosigned, witness));
  std::string merged(note);
  for (const NoteSignature& signature : cosigned.signatures) {
    merged += witness.Matches(signature) ? SignatureLine(signature) : "";
  }
  return merged;
}

std::string Witness::FileOf(const std::string& origin) const { return Sha256Of(origin).Hex(); }

StatusOr<std::string> Witness::LastNote(const std::string& origin) {
  MutexLock lock(mutex_);
  return options_.files->Read(options_.folder + '/' + FileOf(origin), kNoteBytesMax);
}

WitnessAnswer Witness::AddCheckpoint(std::string_view body, uint64_t unix_seconds) {
  const auto request = ParseAddCheckpoint(body);
  if (!request.ok()) {
    return Refuse(400, Message(request.status()));
  }
  MutexLock lock(mutex_);
  return Decide(*request, unix_seconds);
}

// In the order of the specification.
WitnessAnswer Witness::Decide(const AddCheckpointRequest& request, uint64_t unix_seconds) {
  const auto note = ParseNote(request.note);
  const auto checkpoint =
      note.ok() ? ParseCheckpoint(note->text) : StatusOr<Checkpoint>(note.status());
  if (!checkpoint.ok()) {
    return Refuse(400, Message(checkpoint.status()));
  }
  bool known = false;
  bool trusted = false;
  for (const NoteVerifier& log : options_.logs) {
    if (IsOriginOf(log, checkpoint->origin)) {
      known = true;
      const Status status = CheckSignature(*note, log);
      if (status.code() == StatusCode::kDataLoss) {
        return Refuse(403, Message(status));
      }
      trusted = trusted || status.ok();
    }
  }
  if (!known) {
    return Refuse(404, "this witness does not know the log");
  }
  if (!trusted) {
    return Refuse(403, "no key that is trusted for this log signed the checkpoint");
  }
  if (request.old_size > checkpoint->size) {
    return Refuse(400, "the old size is beyond the checkpoint");
  }
  const std::string file = FileOf(checkpoint->origin);
  const auto kept = options_.files->Read(options_.folder + '/' + file, kNoteBytesMax);
  Checkpoint last;
  if (kept.ok()) {
    const auto kept_note = ParseNote(*kept);
    const auto parsed = kept_note.ok() ? ParseCheckpoint(kept_note->text)
                                       : StatusOr<Checkpoint>(kept_note.status());
    if (!parsed.ok()) {
      return Refuse(500, "what this witness kept of the log cannot be read");
    }
    last = *parsed;
  } else if (kept.status().code() != StatusCode::kNotFound) {
    return Refuse(500, "what this witness kept of the log cannot be read");
  }
  if (request.old_size != last.size) {
    return Conflict(last.size);
  }
  if (!IsConsistent(last, *checkpoint, request.proof)) {
    return Refuse(422, "the checkpoint is not consistent with the last one seen");
  }
  const std::string line = SignatureLine(options_.signer->Cosign(note->text, unix_seconds));
  if (!WriteFileDurably(*options_.files, options_.folder, file, request.note + line).ok()) {
    return Refuse(500, "this witness cannot keep the checkpoint");
  }
  return {.status = 200, .content_type = "text/plain; charset=utf-8", .body = line};
}

}  // namespace inferd
