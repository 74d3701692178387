#include "governance/audit/publisher.h"

#include <utility>

#include "governance/verify/tiles.h"

namespace inferd {

Publisher::Publisher(Options options, TileTree tree, std::string tail)
    : options_(std::move(options)),
      tree_(std::move(tree)),
      bundle_(std::move(tail)),
      batch_(*options_.files, options_.log_folder),
      published_size_(tree_.size()) {}

Status Publisher::PutFull(const std::string& path, std::string bytes) {
  if (compare_) {
    const auto existing = options_.files->Read(options_.log_folder + '/' + path, kBundleBytesMax);
    if (existing.ok() && *existing != bytes) {
      return ErrorF(StatusCode::kDataLoss,
                    "%s/%s: what is there differs from what the write-ahead log leads to",
                    options_.log_folder,
                    path);
    }
  }
  finished_.push_back(path);
  return batch_.Put(path, std::move(bytes));
}

Status Publisher::Add(std::string_view leaf, const Digest& hash) {
  AppendEntry(bundle_, leaf);
  RETURN_IF_ERROR(
      tree_.Append(hash, [this](uint32_t level, uint64_t tile, std::span<const Digest> hashes) {
        return PutFull(TilePath(level, tile), EncodeTile(hashes));
      }));
  if (tree_.Edge(0).empty()) {
    const size_t bundle_bytes = bundle_.size();
    RETURN_IF_ERROR(PutFull(BundlePath(tree_.size() / kTileWidth - 1), std::exchange(bundle_, {})));
    bundle_.reserve(bundle_bytes);  // the next one is about as large
  }
  return OkStatus();
}

Status Publisher::PutEdges() {
  for (uint32_t level = 0; level <= kTileLevelMax; ++level) {
    const std::span<const Digest> edge = tree_.Edge(level);
    if (!edge.empty()) {
      RETURN_IF_ERROR(
          batch_.Put(TilePath(level, tree_.EdgeTile(level), edge.size()), EncodeTile(edge)));
    }
  }
  const uint64_t width = tree_.Edge(0).size();
  return width == 0 ? OkStatus()
                    : batch_.Put(BundlePath(tree_.size() / kTileWidth, width), bundle_);
}

Status Publisher::Publish() {
  if (tree_.size() == published_size_ && published_once_) {
    return OkStatus();
  }
  RETURN_IF_ERROR(PutEdges());
  RETURN_IF_ERROR(batch_.Commit());
  const Checkpoint checkpoint{
      .origin = options_.origin, .size = tree_.size(), .root = tree_.Root()};
  std::string note = SignCheckpoint(checkpoint, *options_.signer);
  RETURN_IF_ERROR(
      WriteFileDurably(*options_.files, options_.state_folder, std::string(kSignedFile), note));
  RETURN_IF_ERROR(
      WriteFileDurably(*options_.files, options_.log_folder, std::string(kCheckpointFile), note));
  note_ = std::move(note);
  published_size_ = tree_.size();
  published_once_ = true;
  RemovePartials();
  return OkStatus();
}

Status Publisher::PublishCosigned(const std::string& note) {
  ASSIGN_OR_RETURN(const SignedCheckpoint cosigned,
                   OpenCheckpoint(note, options_.signer->verifier()));
  if (cosigned.checkpoint.origin != options_.origin || cosigned.checkpoint.size < published_size_) {
    return OkStatus();
  }
  const Checkpoint published{
      .origin = options_.origin, .size = published_size_, .root = tree_.Root()};
  if (tree_.size() != published_size_ || cosigned.checkpoint != published) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "%s: the note is not of the checkpoint published last",
                  options_.origin);
  }
  RETURN_IF_ERROR(
      WriteFileDurably(*options_.files, options_.log_folder, std::string(kCheckpointFile), note));
  note_ = note;
  return OkStatus();
}

// The specification allows it once the full file is there. What cannot be removed does no harm.
void Publisher::RemovePartials() {
  for (const std::string& path : finished_) {
    const std::string folder = options_.log_folder + '/' + path + ".p";
    const auto names = options_.files->List(folder);
    if (!names.ok()) {
      continue;
    }
    for (const std::string& name : *names) {
      (void)options_.files->Remove(folder + '/' + name);
    }
    (void)options_.files->Remove(folder);
  }
  finished_.clear();
}

}  // namespace inferd
