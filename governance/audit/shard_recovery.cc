#include "governance/audit/shard_recovery.h"

#include <algorithm>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "base/log.h"
#include "governance/audit/chain_snapshot.h"
#include "governance/audit/wal_format.h"
#include "governance/verify/merkle.h"
#include "governance/verify/shard_reader.h"
#include "governance/verify/tiles.h"
#include "governance/verify/trust_policy.h"

namespace inferd {
namespace {

constexpr size_t kSliceLeavesMin = 4096;
// More leaves are worth a line in the daemon's log before they are read.
constexpr uint64_t kLeavesReadUnsaid = 65'536;

Status Rollback(const ShardPlace& place, const std::string& what) {
  return ErrorF(
      StatusCode::kDataLoss,
      "ROLLBACK_DETECTED: %s: %s. Was a backup restored? Keep the folder as evidence; two "
      "operators may start a new shard",
      place.origin,
      what);
}

// A file's bytes, or nothing if it is not there.
StatusOr<std::optional<std::string>> ReadIfThere(FileSystem& files,
                                                 const std::string& path,
                                                 uint64_t size_bytes_max) {
  auto bytes = files.Read(path, size_bytes_max);
  if (bytes.ok()) {
    return std::optional<std::string>(*std::move(bytes));
  }
  return bytes.status().code() == StatusCode::kNotFound
             ? StatusOr<std::optional<std::string>>(std::nullopt)
             : bytes.status();
}

struct Wal {
  std::vector<std::string> names;
  WalContents contents;
  uint64_t next_number = 0;
};

StatusOr<Wal> ReadSegments(FileSystem& files, const ShardPlace& place, uint64_t size) {
  Wal wal;
  std::vector<WalSegmentBytes> segments;
  ASSIGN_OR_RETURN(const std::vector<std::string> names, files.List(place.state_folder));
  for (const std::string& name : names) {
    if (const auto number = WalNumber(name)) {
      ASSIGN_OR_RETURN(std::string bytes,
                       files.Read(place.state_folder + '/' + name, kWalSegmentBytesMax));
      segments.push_back({*number, std::move(bytes)});
      wal.names.push_back(name);
      wal.next_number = std::max(wal.next_number, *number + 1);
    }
  }
  std::sort(segments.begin(), segments.end(), [](const auto& a, const auto& b) {
    return a.number < b.number;
  });
  auto contents = ReadWal(std::move(segments), size);
  if (!contents.ok()) {
    return Annotate(contents.status(), place.state_folder);
  }
  wal.contents = *std::move(contents);
  return wal;
}

// A long write-ahead log is hashed on several threads: nothing else of a start takes longer.
std::vector<Digest> HashLeaves(const std::vector<std::string_view>& leaves) {
  std::vector<Digest> hashes(leaves.size());
  const auto hash = [&](size_t start, size_t end) {
    for (size_t i = start; i < end; ++i) {
      hashes[i] = LeafHash(leaves[i]);
    }
  };
  const size_t num_slices = std::clamp<size_t>(
      leaves.size() / kSliceLeavesMin, 1, std::clamp(std::thread::hardware_concurrency(), 1u, 8u));
  const size_t slice = leaves.size() / num_slices;
  std::vector<std::thread> threads;
  for (size_t i = 1; i < num_slices; ++i) {
    threads.emplace_back(hash, i * slice, i + 1 == num_slices ? leaves.size() : (i + 1) * slice);
  }
  hash(0, num_slices == 1 ? leaves.size() : slice);
  for (std::thread& thread : threads) {
    thread.join();
  }
  return hashes;
}

// What was signed last, checked against what was published.
StatusOr<std::optional<SignedCheckpoint>> ReadSigned(FileSystem& files,
                                                     const ShardPlace& place,
                                                     const TrustPolicy& policy,
                                                     std::string& note) {
  ASSIGN_OR_RETURN(
      const auto signed_note,
      ReadIfThere(files, place.state_folder + '/' + std::string(kSignedFile), kNoteBytesMax));
  ASSIGN_OR_RETURN(
      const auto published_note,
      ReadIfThere(files, place.log_folder + '/' + std::string(kCheckpointFile), kNoteBytesMax));
  std::optional<SignedCheckpoint> last;
  if (signed_note) {
    auto opened = policy.OpenLog(*signed_note);
    if (!opened.ok()) {
      return Annotate(opened.status(), place.state_folder + "/signed");
    }
    last = *std::move(opened);
    note = *signed_note;
  }
  if (published_note) {
    const auto published = policy.OpenLog(*published_note);
    if (!published.ok()) {
      return Annotate(published.status(), place.log_folder + "/checkpoint");
    }
    const Checkpoint& checkpoint = published->checkpoint;
    if (!last || checkpoint.size > last->checkpoint.size) {
      return Rollback(place,
                      absl::StrFormat("%d leaves were published, but state knows of %d",
                                      checkpoint.size,
                                      last ? last->checkpoint.size : 0));
    }
    if (checkpoint.size == last->checkpoint.size && checkpoint.root != last->checkpoint.root) {
      return Rollback(place, "two roots of one size were signed");
    }
  }
  if (last && last->checkpoint.origin != place.origin) {
    return Rollback(place, "its state is that of " + last->checkpoint.origin);
  }
  return last;
}

// The snapshot of the chains, if it is of a tree that the signed one contains.
StatusOr<ChainSnapshot> ReadSnapshot(FileSystem& files,
                                     const ShardPlace& place,
                                     ShardReader& shard) {
  ASSIGN_OR_RETURN(const std::string bytes,
                   files.Read(place.state_folder + '/' + std::string(kChainSnapshotFile),
                              kChainSnapshotBytesMax));
  ASSIGN_OR_RETURN(ChainSnapshot snapshot, ParseChainSnapshot(bytes));
  const Checkpoint& checkpoint = shard.checkpoint().checkpoint;
  if (snapshot.origin != place.origin || snapshot.size > checkpoint.size) {
    return ErrorF(
        StatusCode::kDataLoss, "it is of %d leaves of %s", snapshot.size, snapshot.origin);
  }
  ASSIGN_OR_RETURN(const std::vector<Digest> proof,
                   ProveConsistency(snapshot.size, checkpoint.size, shard.Hashes()));
  RETURN_IF_ERROR(CheckConsistency({.size1 = snapshot.size,
                                    .size2 = checkpoint.size,
                                    .root1 = snapshot.root,
                                    .root2 = checkpoint.root},
                                   proof));
  return snapshot;
}

// The signed tree, and the bytes of its unfinished bundle.
struct SignedTree {
  TileTree tree;
  std::string tail;
  uint64_t snapshot_size = 0;
};

// Returns how many leaves `chains` has from the snapshot.
StatusOr<uint64_t> StartChains(FileSystem& files,
                               const ShardPlace& place,
                               const FollowOlder& follow_older,
                               ShardReader& shard,
                               ChainChecker& chains) {
  auto snapshot = ReadSnapshot(files, place, shard);
  if (snapshot.ok()) {
    chains.Resume(place.origin, std::move(snapshot->chains), snapshot->open);
    return snapshot->size;
  }
  const bool missing = snapshot.status().code() == StatusCode::kNotFound;
  const bool takes_long = shard.checkpoint().checkpoint.size > kLeavesReadUnsaid;
  Log(!missing     ? LogLevel::kWarning
      : takes_long ? LogLevel::kInfo
                   : LogLevel::kDebug,
      "audit: no snapshot of the chains can be used, reading the whole shard",
      {{"origin", place.origin},
       {"leaves", std::to_string(shard.checkpoint().checkpoint.size)},
       {"reason", std::string(Message(snapshot.status()))}});
  RETURN_IF_ERROR(follow_older(chains));
  chains.StartShard(place.origin);
  return 0;
}

StatusOr<SignedTree> ReadSignedTree(FileSystem& files,
                                    const ShardPlace& place,
                                    const FollowOlder& follow_older,
                                    ShardReader& shard,
                                    ChainChecker& chains) {
  const Checkpoint& checkpoint = shard.checkpoint().checkpoint;
  SignedTree signed_tree;
  auto tree = shard.ReadTree(checkpoint.size);
  if (!tree.ok() || tree->Root() != checkpoint.root) {
    return Rollback(
        place,
        absl::StrFormat("the tiles do not lead to the root signed for %d leaves", checkpoint.size));
  }
  signed_tree.tree = *std::move(tree);
  ASSIGN_OR_RETURN(signed_tree.snapshot_size,
                   StartChains(files, place, follow_older, shard, chains));
  std::optional<std::string> problem;
  const auto note_problem = [&problem](ChainChecker::Kind, std::string what) {
    problem = problem ? problem : std::move(what);
  };
  const uint64_t bundle_start = checkpoint.size / kTileWidth * kTileWidth;
  const uint64_t first = std::min(signed_tree.snapshot_size, bundle_start);
  const Status read =
      shard.Visit(first, checkpoint.size, [&](uint64_t index, std::string_view leaf) -> Status {
        const Digest hash = LeafHash(leaf);
        if (index >= bundle_start) {
          AppendEntry(signed_tree.tail, leaf);
          if (hash != signed_tree.tree.Edge(0)[index - bundle_start]) {
            problem = "it is not the one that was signed";
          }
        }
        if (index >= signed_tree.snapshot_size) {
          chains.Add(index, leaf, hash, note_problem, [](auto, auto) {});
        }
        return problem ? ErrorF(StatusCode::kDataLoss,
                                "%s: leaf %d: %s; audit-verify tells more",
                                place.origin,
                                index,
                                *problem)
                       : OkStatus();
      });
  if (!read.ok()) {
    return read.code() == StatusCode::kDataLoss ? Rollback(place, std::string(Message(read)))
                                                : read;
  }
  return signed_tree;
}

}  // namespace

ShardPlace PlaceOf(const std::string& root, const std::string& log_name, const ShardName& shard) {
  return {.log_folder = root + '/' + std::string(kLogFolder) + '/' + shard.Text(),
          .state_folder = root + '/' + std::string(kStateFolder) + '/' + shard.Text(),
          .origin = log_name + '/' + shard.Text()};
}

StatusOr<RecoveredShard> RecoverShard(FileSystem& files,
                                      const ShardPlace& place,
                                      const NoteSigner& signer,
                                      const FollowOlder& follow_older,
                                      ChainChecker& chains) {
  const TrustPolicy policy = TrustPolicy::OfLog(signer.verifier());
  std::string note;
  ASSIGN_OR_RETURN(const auto last, ReadSigned(files, place, policy, note));
  SignedTree signed_tree;
  if (last) {
    ASSIGN_OR_RETURN(const auto shard, ShardReader::OpenAt(files, place.log_folder, policy, note));
    ASSIGN_OR_RETURN(signed_tree, ReadSignedTree(files, place, follow_older, *shard, chains));
  } else {
    RETURN_IF_ERROR(follow_older(chains));
    chains.StartShard(place.origin);
  }
  const uint64_t size = signed_tree.tree.size();
  ASSIGN_OR_RETURN(const Wal wal, ReadSegments(files, place, size));

  RecoveredShard recovered{.publisher = std::make_unique<Publisher>(
                               Publisher::Options{.files = &files,
                                                  .log_folder = place.log_folder,
                                                  .state_folder = place.state_folder,
                                                  .origin = place.origin,
                                                  .signer = &signer},
                               std::move(signed_tree.tree),
                               std::move(signed_tree.tail)),
                           .frames = wal.contents.leaves.size(),
                           .torn_bytes = wal.contents.torn_bytes,
                           .next_wal_number = wal.next_number,
                           .next_group = wal.contents.last_group + 1,
                           .snapshot_size = signed_tree.snapshot_size};
  const std::vector<Digest> hashes = HashLeaves(wal.contents.leaves);
  std::optional<std::string> problem;
  for (size_t i = 0; i < wal.contents.leaves.size() && !problem; ++i) {
    chains.Add(
        size + i,
        wal.contents.leaves[i],
        hashes[i],
        [&problem](ChainChecker::Kind, std::string what) { problem = std::move(what); },
        [](auto, auto) {});
  }
  if (problem) {
    return ErrorF(StatusCode::kDataLoss,
                  "%s: the write-ahead log does not continue the log: %s",
                  place.state_folder,
                  *problem);
  }
  // Everything is checked: from here on files change.
  recovered.publisher->CompareWithExisting(true);
  for (size_t i = 0; i < wal.contents.leaves.size(); ++i) {
    RETURN_IF_ERROR(recovered.publisher->Add(wal.contents.leaves[i], hashes[i]));
  }
  recovered.publisher->CompareWithExisting(false);
  if (recovered.publisher->tree().size() > 0) {
    RETURN_IF_ERROR(recovered.publisher->Publish());
  }
  for (const std::string& name : wal.names) {
    RETURN_IF_ERROR(files.Remove(place.state_folder + '/' + name));
  }
  RETURN_IF_ERROR(files.SyncFolder(place.state_folder));
  return recovered;
}

}  // namespace inferd
