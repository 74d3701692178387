// The witness protocol (C2SP tlog-witness, add-checkpoint), without HTTP: what a log asks, what a
// witness answers. A cosignature says that the log only ever grew, as far as this witness saw it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/digest.h"
#include "base/file_system.h"
#include "base/status.h"
#include "base/thread_annotations.h"
#include "governance/verify/checkpoint.h"
#include "governance/verify/note.h"
#include "governance/verify/shard_reader.h"

namespace inferd {

inline constexpr size_t kWitnessProofHashesMax = 63;
inline constexpr size_t kWitnessRequestBytesMax = kNoteBytesMax + 4096;

struct AddCheckpointRequest {
  uint64_t old_size = 0;
  std::vector<Digest> proof;
  std::string note;
};
std::string EncodeAddCheckpoint(const AddCheckpointRequest& request);
// kInvalidArgument for another form. The note is not looked into.
StatusOr<AddCheckpointRequest> ParseAddCheckpoint(std::string_view body);

// The log's side: the request that takes a witness from `old_size` to the reader's checkpoint.
StatusOr<AddCheckpointRequest> MakeAddCheckpoint(ShardReader& shard, uint64_t old_size);

// The note with those of the answer's lines that are cosignatures of `witness` on it; others are
// ignored. kInvalidArgument if there is none, kDataLoss if one does not verify.
StatusOr<std::string> AddCosignatures(std::string_view note,
                                      std::string_view answer,
                                      const NoteVerifier& witness);

// What goes back over HTTP.
struct WitnessAnswer {
  int status = 200;
  std::string content_type;
  std::string body;
};

// The witness's side: a tiny witness of a fixed set of logs. Thread-safe; requests are one at a
// time, so that two cannot both start from the same size.
class Witness {
 public:
  struct Options {
    FileSystem* files = &SystemFiles();
    std::string folder;                  // holds one file for each origin; must exist
    const NoteSigner* signer = nullptr;  // of kEd25519Cosignature
    std::vector<NoteVerifier> logs;      // their keys; origins are their names, or below
  };
  explicit Witness(Options options) : options_(std::move(options)) {}

  // Answers a POST to add-checkpoint; what it cosigns is durable before. `unix_seconds`: now.
  WitnessAnswer AddCheckpoint(std::string_view body, uint64_t unix_seconds) EXCLUDES(mutex_);

  // The last note cosigned for this origin, with the cosignature; kNotFound without one.
  StatusOr<std::string> LastNote(const std::string& origin) EXCLUDES(mutex_);

 private:
  WitnessAnswer Decide(const AddCheckpointRequest& request, uint64_t unix_seconds) REQUIRES(mutex_);
  std::string FileOf(const std::string& origin) const;

  const Options options_;
  Mutex mutex_;
};

}  // namespace inferd
