#include "governance/verify/verifier.h"

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "governance/verify/base64.h"
#include "governance/verify/chain_checker.h"
#include "governance/verify/log_layout.h"
#include "governance/verify/merkle.h"
#include "governance/verify/shard_reader.h"
#include "governance/verify/tile_tree.h"
#include "governance/verify/tiles.h"

namespace inferd {
namespace {

constexpr uint64_t kProgressBundles = 64;

// Of an earlier note that lies on the way.
struct Milestone {
  uint64_t size = 0;
  Digest root;
};

Finding::Kind KindOf(ChainChecker::Kind kind) {
  switch (kind) {
    case ChainChecker::Kind::kLeaf:
      return Finding::Kind::kLeaf;
    case ChainChecker::Kind::kChain:
      return Finding::Kind::kChain;
    case ChainChecker::Kind::kIntent:
      return Finding::Kind::kIntent;
    case ChainChecker::Kind::kHeartbeat:
      return Finding::Kind::kHeartbeat;
  }
  return Finding::Kind::kLeaf;
}

// One pass over the leaves of a shard.
class ShardVerifier {
 public:
  ShardVerifier(std::string name,
                ShardReader& shard,
                ChainChecker& chains,
                const VerifyOptions& options,
                VerifyReport& report)
      : name_(std::move(name)),
        shard_(shard),
        chains_(chains),
        options_(options),
        report_(report),
        size_(shard.checkpoint().checkpoint.size) {}

  void set_milestones(std::vector<Milestone> milestones) { milestones_ = std::move(milestones); }
  void set_done_before(uint64_t done, uint64_t total) {
    done_before_ = done;
    total_ = total;
  }

  void Run() {
    chains_.StartShard(shard_.origin());
    for (uint64_t bundle = 0; bundle * kTileWidth < size_; ++bundle) {
      CheckBundle(bundle);
      if (options_.progress && bundle % kProgressBundles == 0) {
        options_.progress(done_before_ + tree_.size(), total_);
      }
    }
    CheckMilestones();
    if (tree_.Root() == shard_.checkpoint().checkpoint.root) {
      BlameTiles();
    } else {
      BlameLeaves();
    }
    report_.num_leaves += size_;
  }

 private:
  // Reads, hashes and compares up to 256 leaves, and adds them to the tree.
  void CheckBundle(uint64_t bundle) {
    const uint64_t width = WidthOfTile(size_, 0, bundle);
    const auto tile = shard_.ReadTile(0, bundle);
    if (!tile.ok()) {
      bad_tiles_.emplace(std::pair(0u, bundle), std::string(Message(tile.status())));
    }
    const auto bytes = shard_.ReadBundle(bundle);
    const auto leaves = bytes.ok() ? ParseBundle(*bytes, width)
                                   : StatusOr<std::vector<std::string_view>>(bytes.status());
    if (!leaves.ok()) {
      AddProblem({Finding::Kind::kFile,
                  name_,
                  0,
                  shard_.BundleFile(bundle),
                  std::string(Message(leaves.status()))});
      chains_.Skip();
    }
    for (uint64_t i = 0; i < width; ++i) {
      const uint64_t index = bundle * kTileWidth + i;
      const Digest hash = leaves.ok() ? LeafHash((*leaves)[i]) : tile.ok() ? (*tile)[i] : Digest();
      if (leaves.ok() && tile.ok() && hash != (*tile)[i]) {
        differing_.push_back(index);
      }
      if (leaves.ok() && options_.chains) {
        FollowLeaf(index, (*leaves)[i], hash);
      }
      Append(hash);
    }
  }

  void FollowLeaf(uint64_t index, std::string_view leaf, const Digest& hash) {
    const auto add = [&](ChainChecker::Kind kind, std::string what) {
      return Finding{KindOf(kind), name_, index, "", std::move(what)};
    };
    chains_.Add(
        index,
        leaf,
        hash,
        [&](ChainChecker::Kind kind, std::string what) { AddProblem(add(kind, std::move(what))); },
        [&](ChainChecker::Kind kind, std::string what) { AddWarning(add(kind, std::move(what))); });
  }

  void Append(const Digest& hash) {
    CheckMilestones();
    // The callback fails never: it takes note of what differs.
    (void)tree_.Append(hash, [this](uint32_t level, uint64_t tile, std::span<const Digest> hashes) {
      CompareTile(level, tile, hashes);
      return OkStatus();
    });
  }

  void CheckMilestones() {
    while (next_milestone_ < milestones_.size() &&
           milestones_[next_milestone_].size == tree_.size()) {
      if (milestones_[next_milestone_].root != tree_.Root()) {
        AddProblem({Finding::Kind::kCheckpoint,
                    name_,
                    tree_.size(),
                    "",
                    absl::StrFormat("an earlier checkpoint of %d leaves has another root: history "
                                    "was rewritten",
                                    tree_.size())});
      }
      ++next_milestone_;
    }
  }

  // Levels above 0; those of level 0 are compared leaf by leaf.
  void CompareTile(uint32_t level, uint64_t tile, std::span<const Digest> hashes) {
    if (level == 0) {
      return;
    }
    const auto stored = shard_.ReadTile(level, tile);
    if (!stored.ok()) {
      bad_tiles_.emplace(std::pair(level, tile), std::string(Message(stored.status())));
    } else if (!std::equal(stored->begin(), stored->end(), hashes.begin(), hashes.end())) {
      bad_tiles_.emplace(std::pair(level, tile), "its hashes are not those of the leaves below");
    }
  }

  // Compares the edges above level 0, which no full tile holds.
  void CompareEdges(const TileTree& tree) {
    for (uint32_t level = 1; level <= kTileLevelMax; ++level) {
      if (!tree.Edge(level).empty()) {
        CompareTile(level, tree.EdgeTile(level), tree.Edge(level));
      }
    }
  }

  // The leaves are what the log signed: what differs is wrong in the tiles.
  void BlameTiles() {
    CompareEdges(tree_);
    for (const uint64_t index : differing_) {
      bad_tiles_.emplace(std::pair(0u, index / kTileWidth),
                         "its hashes are not those of the leaves below");
    }
    ReportTiles();
  }

  // The leaves are not what the log signed. If the tiles of level 0 are, they tell which leaves.
  void BlameLeaves() {
    const auto missing = bad_tiles_;
    bad_tiles_.clear();
    for (const auto& [tile, what] : missing) {
      if (tile.first == 0) {
        bad_tiles_.emplace(tile, what);
      }
    }
    TileTree tree;
    for (uint64_t tile = 0; tile * kTileWidth < size_; ++tile) {
      auto hashes = shard_.ReadTile(0, tile);
      if (!hashes.ok()) {
        hashes = std::vector<Digest>(WidthOfTile(size_, 0, tile));
      }
      for (const Digest& hash : *hashes) {
        (void)tree.Append(hash,
                          [this](uint32_t level, uint64_t full, std::span<const Digest> above) {
                            CompareTile(level, full, above);
                            return OkStatus();
                          });
      }
    }
    CompareEdges(tree);
    for (const uint64_t index : differing_) {
      AddProblem({Finding::Kind::kLeaf,
                  name_,
                  index,
                  BundlePathOf(index),
                  "the leaf is not the one that the log signed"});
    }
    ReportTiles();
    if (tree.Root() != shard_.checkpoint().checkpoint.root) {
      AddProblem({Finding::Kind::kCheckpoint,
                  name_,
                  size_,
                  std::string(kCheckpointFile),
                  "neither leaves nor tiles lead to the root that the log signed"});
    }
  }

  void ReportTiles() {
    for (const auto& [tile, what] : bad_tiles_) {
      AddProblem({Finding::Kind::kFile, name_, 0, shard_.TileFile(tile.first, tile.second), what});
    }
  }

  std::string BundlePathOf(uint64_t index) const { return shard_.BundleFile(index / kTileWidth); }

  void AddProblem(Finding finding) {
    ++report_.num_problems;
    if (report_.problems.size() < kFindingsMax) {
      report_.problems.push_back(std::move(finding));
    }
  }
  void AddWarning(Finding finding) {
    if (report_.warnings.size() < kFindingsMax) {
      report_.warnings.push_back(std::move(finding));
    }
  }

  std::string name_;
  ShardReader& shard_;
  ChainChecker& chains_;
  const VerifyOptions& options_;
  VerifyReport& report_;
  uint64_t size_;
  uint64_t done_before_ = 0;
  uint64_t total_ = 0;
  TileTree tree_;
  std::vector<Milestone> milestones_;
  size_t next_milestone_ = 0;
  std::vector<uint64_t> differing_;  // leaves whose hash is not the tile's
  std::map<std::pair<uint32_t, uint64_t>, std::string> bad_tiles_;  // (level, tile): what is wrong
};

// The checkpoint that a shard's genesis cites as its predecessor's last, if it cites one.
StatusOr<std::optional<Checkpoint>> CitedCheckpoint(ShardReader& shard) {
  std::optional<Checkpoint> cited;
  RETURN_IF_ERROR(shard.Visit(0, 1, [&cited](uint64_t, std::string_view leaf) -> Status {
    ASSIGN_OR_RETURN(const LeafView view, ParseLeaf(leaf));
    const auto detail = nlohmann::json::parse(view.detail, nullptr, false);
    if (!detail.is_object() || !detail.contains("prev_origin")) {
      return OkStatus();
    }
    cited.emplace();
    cited->origin = detail.value("prev_origin", "");
    cited->size = detail.value("prev_size", uint64_t{0});
    const std::string root = detail.value("prev_root", "");
    ASSIGN_OR_RETURN(cited->root,
                     Digest::FromHex(root.starts_with("sha256:") ? root.substr(7) : ""));
    return OkStatus();
  }));
  return cited;
}

// All shards of a log folder, opened.
struct OpenShard {
  ShardName name;
  std::unique_ptr<ShardReader> reader;
};

void CheckCited(OpenShard& shard, const Checkpoint* previous, VerifyReport& report) {
  if (previous == nullptr || shard.reader->checkpoint().checkpoint.size == 0) {
    return;
  }
  const auto cited = CitedCheckpoint(*shard.reader);
  if (cited.ok() && *cited && **cited == *previous) {
    return;
  }
  ++report.num_problems;
  report.problems.push_back({Finding::Kind::kCheckpoint,
                             shard.name.Text(),
                             0,
                             "",
                             "log.genesis does not cite the last checkpoint of the shard before: "
                             "that one was changed, truncated or replaced"});
}

std::vector<Milestone> MilestonesOf(const std::string& origin,
                                    uint64_t size,
                                    const std::vector<SignedCheckpoint>& earlier) {
  std::vector<Milestone> milestones;
  for (const SignedCheckpoint& opened : earlier) {
    if (opened.checkpoint.origin == origin && opened.checkpoint.size <= size) {
      milestones.push_back({opened.checkpoint.size, opened.checkpoint.root});
    }
  }
  std::sort(milestones.begin(), milestones.end(), [](const Milestone& a, const Milestone& b) {
    return a.size < b.size;
  });
  return milestones;
}

void CheckNotTruncated(const OpenShard& shard,
                       const std::vector<SignedCheckpoint>& earlier,
                       VerifyReport& report) {
  for (const SignedCheckpoint& opened : earlier) {
    if (opened.checkpoint.origin == shard.reader->origin() &&
        opened.checkpoint.size > shard.reader->checkpoint().checkpoint.size) {
      ++report.num_problems;
      report.problems.push_back(
          {Finding::Kind::kCheckpoint,
           shard.name.Text(),
           opened.checkpoint.size,
           std::string(kCheckpointFile),
           absl::StrFormat("an earlier checkpoint has %d leaves: the log was truncated",
                           opened.checkpoint.size)});
    }
  }
}

// The note that witnesses cosigned last, if the shard has one. It is written after the checkpoint
// that it cosigns, so a log that goes on meanwhile needs its checkpoint read again.
std::optional<SignedCheckpoint> Witnessed(FileSystem& files,
                                          const TrustPolicy& policy,
                                          OpenShard& shard,
                                          VerifyReport& report) {
  const std::string path = shard.reader->folder() + '/' + std::string(kWitnessedFile);
  const auto note = files.Read(path, kNoteBytesMax);
  if (note.status().code() == StatusCode::kNotFound) {
    return std::nullopt;
  }
  auto opened = note.ok() ? policy.OpenLog(*note) : StatusOr<SignedCheckpoint>(note.status());
  if (opened.ok() && opened->checkpoint.origin != shard.reader->origin()) {
    opened = ErrorF(StatusCode::kDataLoss, "it is a note of %s", opened->checkpoint.origin);
  }
  if (!opened.ok()) {
    ++report.num_problems;
    report.problems.push_back({Finding::Kind::kFile,
                               shard.name.Text(),
                               0,
                               std::string(kWitnessedFile),
                               std::string(Message(opened.status()))});
    return std::nullopt;
  }
  if (opened->checkpoint.size > shard.reader->checkpoint().checkpoint.size) {
    (void)shard.reader->Size();
  }
  return *std::move(opened);
}

// Fills in who stands behind the shard, by the published checkpoint or else by `witnessed`.
void CheckQuorum(const TrustPolicy& policy,
                 const SignedCheckpoint& opened,
                 const std::optional<SignedCheckpoint>& witnessed,
                 VerifyReport::Shard& shard,
                 VerifyReport& report) {
  const Status quorum = policy.CheckQuorum(opened);
  const bool earlier = !quorum.ok() && witnessed.has_value() && policy.CheckQuorum(*witnessed).ok();
  const SignedCheckpoint& by = earlier ? *witnessed : opened;
  shard.num_witnesses = policy.CountWitnesses(by.note);
  shard.witnessed_size = quorum.ok() || earlier ? by.checkpoint.size : 0;
  if (earlier) {
    report.warnings.push_back(
        {Finding::Kind::kCheckpoint,
         shard.name,
         0,
         std::string(kWitnessedFile),
         absl::StrFormat(
             "witnesses stand behind the first %d leaves; %d more are signed by the log "
             "alone yet",
             by.checkpoint.size,
             opened.checkpoint.size - std::min(by.checkpoint.size, opened.checkpoint.size))});
  } else if (!quorum.ok()) {
    ++report.num_problems;
    report.problems.push_back({Finding::Kind::kCheckpoint,
                               shard.name,
                               0,
                               std::string(kCheckpointFile),
                               std::string(Message(quorum))});
  }
}

// Opens what can be opened; a shard that cannot is a problem of the report.
StatusOr<std::vector<OpenShard>> OpenShards(FileSystem& files,
                                            const std::string& log_folder,
                                            const TrustPolicy& policy,
                                            VerifyReport& report) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, files.List(log_folder));
  std::vector<OpenShard> shards;
  size_t found = 0;
  for (const std::string& text : names) {
    const auto name = ShardName::Parse(text);
    if (!name.ok()) {
      continue;
    }
    ++found;
    auto reader = ShardReader::Open(files, log_folder + '/' + text, policy);
    Status status = reader.status();
    if (status.ok() && !(*reader)->origin().ends_with('/' + text)) {
      status = ErrorF(StatusCode::kDataLoss, "it is the checkpoint of %s", (*reader)->origin());
    }
    if (!status.ok()) {
      ++report.num_problems;
      report.problems.push_back({Finding::Kind::kCheckpoint,
                                 text,
                                 0,
                                 std::string(kCheckpointFile),
                                 std::string(Message(status))});
      continue;
    }
    shards.push_back({*name, *std::move(reader)});
  }
  if (found == 0) {
    return ErrorF(StatusCode::kNotFound,
                  "%s: no shard in it; name the folder that holds <year>q<quarter>.<serial>",
                  log_folder);
  }
  std::sort(shards.begin(), shards.end(), [](const OpenShard& a, const OpenShard& b) {
    return a.name < b.name;
  });
  return shards;
}

}  // namespace

std::string ToText(const Finding& finding) {
  std::string text = finding.shard;
  if (finding.kind != Finding::Kind::kFile && finding.kind != Finding::Kind::kCheckpoint) {
    text += absl::StrFormat(", leaf %d", finding.index);
  }
  if (!finding.file.empty()) {
    text += ", " + finding.file;
  }
  return text + ": " + finding.what;
}

StatusOr<VerifyReport> VerifyLog(FileSystem& files,
                                 const std::string& log_folder,
                                 const TrustPolicy& policy,
                                 const VerifyOptions& options) {
  VerifyReport report;
  std::vector<SignedCheckpoint> earlier;
  for (const std::string& note : options.earlier_notes) {
    ASSIGN_OR_RETURN(SignedCheckpoint opened, policy.OpenLog(note));
    earlier.push_back(std::move(opened));
  }
  ASSIGN_OR_RETURN(std::vector<OpenShard> shards, OpenShards(files, log_folder, policy, report));
  uint64_t total = 0;
  for (const OpenShard& shard : shards) {
    total += shard.reader->checkpoint().checkpoint.size;
  }
  ChainChecker chains;
  const Checkpoint* previous = nullptr;
  for (OpenShard& shard : shards) {
    const auto witnessed = Witnessed(files, policy, shard, report);
    if (witnessed.has_value()) {
      earlier.push_back(*witnessed);
    }
    const SignedCheckpoint& opened = shard.reader->checkpoint();
    VerifyReport::Shard found{.name = shard.name.Text(), .checkpoint = opened.checkpoint};
    CheckQuorum(policy, opened, witnessed, found, report);
    ShardVerifier verifier(shard.name.Text(), *shard.reader, chains, options, report);
    verifier.set_milestones(MilestonesOf(shard.reader->origin(), opened.checkpoint.size, earlier));
    verifier.set_done_before(report.num_leaves, total);
    verifier.Run();
    CheckNotTruncated(shard, earlier, report);
    if (options.chains) {
      CheckCited(shard, previous, report);
    }
    found.frozen = chains.frozen();
    report.shards.push_back(std::move(found));
    previous = &opened.checkpoint;
  }
  report.open_intents = chains.open().size();
  for (const auto& [type, count] : chains.by_type()) {
    report.leaves_by_type[type] = count;
  }
  for (const auto& [tenant, count] : chains.by_tenant()) {
    report.leaves_by_tenant[tenant] = count;
  }
  if (options.progress) {
    options.progress(report.num_leaves, total);
  }
  return report;
}

}  // namespace inferd
