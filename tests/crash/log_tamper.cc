#include "tests/crash/log_tamper.h"

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/file_batch.h"
#include "base/ulid.h"
#include "governance/audit/log_core.h"
#include "governance/verify/merkle.h"
#include "governance/verify/shard_reader.h"
#include "governance/verify/tiles.h"
#include "governance/verify/trust_policy.h"
#include "governance/verify/verifier.h"
#include "tests/support/fake_file_system.h"

namespace inferd {
namespace {

constexpr char kFolder[] = "audit";
constexpr char kName[] = "example.com/inferd-audit/n1";
constexpr uint8_t kFlips[] = {0x01, 0xff};

class Tamperer {
 public:
  explicit Tamperer(const TamperOptions& options)
      : options_(options),
        files_(1),
        signer_(*NoteSigner::Generate(kName)),
        policy_(TrustPolicy::OfLog(signer_.verifier())) {
    clock_.Advance(std::chrono::hours(24) * 365 * 56);
    MakeLog();
    CHECK(Findings().empty());
  }

  TamperCounts Run() {
    for (uint64_t bundle = 0; bundle * kTileWidth < size_; ++bundle) {
      FlipBundle(bundle);
    }
    for (uint32_t level = 0; level <= kTileLevelMax; ++level) {
      for (uint64_t tile = 0; WidthOfTile(size_, level, tile) > 0; ++tile) {
        FlipTile(level, tile);
      }
    }
    FlipNote();
    ChangeStructure();
    return std::move(counts_);
  }

 private:
  void MakeLog() {
    AuditLogOptions options;
    options.files = &files_;
    options.clock = &clock_;
    options.folder = kFolder;
    options.name = kName;
    options.node = "n1";
    options.boot = "b";
    options.signer = &signer_;
    options.reserve_bytes = 0;
    auto core = LogCore::Open(std::move(options));
    CHECK(core.ok());
    shard_ = (*core)->origin().substr(std::string(kName).size() + 1);
    for (uint64_t i = 1; i < options_.num_leaves; ++i) {
      LeafDraft draft;
      draft.type = LeafType::kAdminAction;
      draft.tenant = TenantId(i % 2 == 0 ? "a" : "b");
      std::vector<LogCore::Entry> entries;
      entries.push_back(
          {std::move(draft), [](const StatusOr<AuditReceipt>& receipt) { CHECK(receipt.ok()); }});
      (*core)->Commit(std::move(entries));
      if (i == options_.num_leaves / 2) {
        CHECK((*core)->Publish().ok());
        earlier_ = Read("checkpoint");
      }
    }
    CHECK((*core)->Publish().ok());
    size_ = options_.num_leaves;
    reader_ = *ShardReader::Open(files_, Folder(), policy_);
    CHECK(reader_->checkpoint().checkpoint.size == size_);
  }

  std::string Folder() const { return std::string(kFolder) + "/log/" + shard_; }
  std::string Read(const std::string& path) {
    return *files_.Read(Folder() + '/' + path, uint64_t{1} << 30);
  }
  void Write(const std::string& path, std::string_view bytes) {
    CHECK(WriteFileDurably(files_, Folder(), path, bytes).ok());
  }

  std::vector<Finding> Findings() {
    VerifyOptions options;
    if (!earlier_.empty()) {
      options.earlier_notes.push_back(earlier_);
    }
    return VerifyLog(files_, std::string(kFolder) + "/log", policy_, options)->problems;
  }

  void Judge(const std::string& what, bool seen, bool named) {
    ++counts_.tried;
    counts_.missed += seen ? 0 : 1;
    counts_.misnamed += seen && !named ? 1 : 0;
    if ((!seen || !named) && counts_.first.empty()) {
      counts_.first = what + (seen ? ": blamed on something else" : ": not seen");
    }
  }

  // The whole verification of a file with other bytes.
  void JudgeWhole(const std::string& path,
                  std::string_view changed,
                  const std::string& what,
                  const std::function<bool(const Finding&)>& names_it) {
    const std::string original = Read(path);
    Write(path, changed);
    const std::vector<Finding> findings = Findings();
    Write(path, original);
    Judge(what, !findings.empty(), std::any_of(findings.begin(), findings.end(), names_it));
  }

  bool IsWhole() { return counts_.tried % options_.whole_every == 0; }

  void FlipBundle(uint64_t bundle) {
    const std::string path = reader_->BundleFile(bundle);
    const std::string original = Read(path);
    const uint64_t width = WidthOfTile(size_, 0, bundle);
    const auto leaves = *ParseBundle(original, width);
    const auto hashes = *reader_->ReadTile(0, bundle);
    uint64_t owner = 0;  // the leaf whose bytes, or length, are at `at`
    for (size_t at = 0; at < original.size(); at += options_.stride) {
      while (leaves[owner].data() + leaves[owner].size() <= original.data() + at) {
        ++owner;
      }
      for (const uint8_t flip : kFlips) {
        std::string changed = original;
        changed[at] = static_cast<char>(changed[at] ^ flip);
        const std::string what = absl::StrFormat("%s, byte %d", path, at);
        const uint64_t index = bundle * kTileWidth + owner;
        if (IsWhole()) {
          JudgeWhole(path, changed, what, [&](const Finding& finding) {
            return finding.file == path &&
                   (finding.kind == Finding::Kind::kFile || finding.index == index);
          });
          continue;
        }
        const auto parsed = ParseBundle(changed, width);
        const bool differs = !parsed.ok() || LeafHash((*parsed)[owner]) != hashes[owner];
        Judge(what, differs, true);
      }
    }
  }

  void FlipTile(uint32_t level, uint64_t tile) {
    const std::string path = reader_->TileFile(level, tile);
    const std::string original = Read(path);
    const auto hashes = *reader_->ReadTile(level, tile);
    for (size_t at = 0; at < original.size(); at += options_.stride) {
      for (const uint8_t flip : kFlips) {
        std::string changed = original;
        changed[at] = static_cast<char>(changed[at] ^ flip);
        const std::string what = absl::StrFormat("%s, byte %d", path, at);
        if (IsWhole()) {
          JudgeWhole(path, changed, what, [&path](const Finding& finding) {
            return finding.file == path;
          });
          continue;
        }
        const auto parsed = ParseTile(changed, hashes.size());
        Judge(what, !parsed.ok() || *parsed != hashes, true);
      }
    }
  }

  void FlipNote() {
    const std::string original = Read("checkpoint");
    for (size_t at = 0; at < original.size(); ++at) {
      for (const uint8_t flip : kFlips) {
        std::string changed = original;
        changed[at] = static_cast<char>(changed[at] ^ flip);
        Judge(absl::StrFormat("checkpoint, byte %d", at), !policy_.OpenLog(changed).ok(), true);
      }
    }
    std::string changed = original;
    changed[5] ^= 1;
    JudgeWhole("checkpoint", changed, "checkpoint", [](const Finding& finding) {
      return finding.file == "checkpoint";
    });
  }

  static std::string Bundle(const std::vector<std::string_view>& leaves) {
    std::string bundle;
    for (const std::string_view leaf : leaves) {
      AppendEntry(bundle, leaf);
    }
    return bundle;
  }

  void ChangeStructure() {
    const std::string path0 = reader_->BundleFile(0);
    const std::string bundle0 = Read(path0);
    const auto leaves = *ParseBundle(bundle0, kTileWidth);
    const auto leaf_named = [](uint64_t index) {
      return [index](const Finding& finding) {
        return finding.kind == Finding::Kind::kLeaf && finding.index == index;
      };
    };
    const auto file_named = [](std::string file) {
      return [file = std::move(file)](const Finding& finding) { return finding.file == file; };
    };
    auto changed = leaves;
    std::swap(changed[3], changed[9]);
    JudgeWhole(path0, Bundle(changed), "two leaves swapped", leaf_named(9));
    changed = leaves;
    changed[7] = changed[6];
    JudgeWhole(path0, Bundle(changed), "a leaf twice", leaf_named(7));
    changed = leaves;
    changed.erase(changed.begin() + 5);
    JudgeWhole(path0, Bundle(changed), "a leaf removed", file_named(path0));
    JudgeWhole(path0, bundle0.substr(0, bundle0.size() / 2), "truncated", file_named(path0));
    JudgeWhole(path0, "", "emptied", file_named(path0));
    JudgeWhole(path0, Read(reader_->BundleFile(1)), "another bundle's bytes", leaf_named(0));
    RemoveFiles();
    ShortenLog();
  }

  void RemoveFiles() {
    for (const std::string& path : {reader_->BundleFile(1),
                                    reader_->TileFile(0, 1),
                                    reader_->TileFile(1, 0),
                                    std::string(kCheckpointFile)}) {
      const std::string original = Read(path);
      CHECK(files_.Remove(Folder() + '/' + path).ok());
      const std::vector<Finding> findings = Findings();
      Write(path, original);
      Judge(path + " removed",
            !findings.empty(),
            std::any_of(findings.begin(), findings.end(), [&path](const Finding& finding) {
              return finding.file == path;
            }));
    }
  }

  // The log's own key signs another history: only an earlier note can tell.
  void ShortenLog() {
    const std::string original = Read("checkpoint");
    earlier_ = original;
    const uint64_t half = options_.num_leaves / 2;
    const auto root = RootOf(half, reader_->Hashes());
    CHECK(root.ok());
    const Checkpoint shorter{.origin = reader_->origin(), .size = half, .root = *root};
    JudgeWhole("checkpoint",
               SignCheckpoint(shorter, signer_),
               "truncated and signed again",
               [](const Finding& finding) { return finding.file == "checkpoint"; });
    const Checkpoint forked{.origin = reader_->origin(), .size = size_, .root = LeafHash("fork")};
    JudgeWhole("checkpoint",
               SignCheckpoint(forked, signer_),
               "another root signed",
               [](const Finding& finding) { return finding.kind == Finding::Kind::kCheckpoint; });
  }

  TamperOptions options_;
  FakeFileSystem files_;
  ManualClock clock_;
  NoteSigner signer_;
  TrustPolicy policy_;
  std::string shard_;
  uint64_t size_ = 0;
  std::string earlier_;  // a note of half the log
  std::unique_ptr<ShardReader> reader_;
  TamperCounts counts_;
};

}  // namespace

TamperCounts TamperWithEverything(const TamperOptions& options) { return Tamperer(options).Run(); }

}  // namespace inferd
