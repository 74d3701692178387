#include "tests/crash/log_faults.h"

#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/clock.h"
#include "base/random.h"
#include "base/ulid.h"
#include "governance/audit/log_core.h"
#include "governance/verify/merkle.h"
#include "governance/verify/shard_reader.h"
#include "governance/verify/trust_policy.h"
#include "governance/verify/verifier.h"
#include "tests/support/fake_file_system.h"

namespace inferd {
namespace {

constexpr char kFolder[] = "audit";
constexpr char kName[] = "example.com/inferd-audit/n1";
constexpr int kRoundsMax = 4;
constexpr int kStepsMax = 30;

const NoteSigner& TestSigner() {
  static const NoteSigner* const signer = new NoteSigner(*NoteSigner::Generate(kName));
  return *signer;
}

// One log through its crashes, and what it promised.
class History {
 public:
  History(uint64_t seed, const FaultOptions& options)
      : seed_(seed), options_(options), random_(seed), files_(seed) {
    files_.IgnoreSyncData(options.ignore_sync_data);
    clock_.Advance(std::chrono::hours(24) * 365 * 56);  // 2025
  }

  FaultCounts Run() {
    const int rounds = 1 + static_cast<int>(random_.Below(kRoundsMax));
    for (int round = 0; round < rounds; ++round) {
      files_.KillAtCall(1 + random_.Below(random_.Below(2) == 0 ? 400 : 60));
      Live();
      Crash();
    }
    return std::move(counts_);
  }

  // The history that RunFault repeats.
  bool RunWithFault(uint64_t call, bool kill, FaultCounts& counts) {
    const uint64_t before = files_.num_calls();
    if (kill) {
      files_.KillAtCall(call);
    } else {
      files_.FailCall(call);
    }
    Live();
    const bool reached = files_.num_calls() - before >= call;
    if (reached) {
      Crash();
    }
    counts.Add(counts_);
    return reached;
  }

 private:
  using Place = std::pair<std::string, uint64_t>;

  AuditLogOptions Options() {
    AuditLogOptions options;
    options.files = &files_;
    options.clock = &clock_;
    options.folder = kFolder;
    options.name = kName;
    options.node = "n1";
    options.boot = "b";
    options.signer = &TestSigner();
    options.segment_bytes = 40 << 10;
    options.group_leaves_max = 8;
    options.shard_leaves_max = 300;
    options.snapshot_leaves = 1 + seed_ % 60;
    options.reserve_bytes = 5000;
    options.on_checkpoint = [this](const std::string& note) { notes_.push_back(note); };
    return options;
  }

  // Works until the file system dies, or for some steps.
  void Live() {
    auto core = LogCore::Open(Options());
    if (!core.ok()) {
      return;
    }
    for (int step = 0; step < kStepsMax && (*core)->status().ok(); ++step) {
      Step(**core);
    }
    open_.clear();  // requests of this process die with it
  }

  void Step(LogCore& core) {
    clock_.Advance(std::chrono::milliseconds(random_.Below(1000)));
    switch (random_.Below(12)) {
      case 0:
      case 1:
        (void)core.Publish();
        break;
      case 2:
        (void)core.PrepareSpare();
        break;
      case 3:
        core.Heartbeat();
        break;
      case 4:
        core.RotateIfDue();
        (void)core.CheckSpace();
        core.RecordSpace();
        break;
      case 5:
        if (random_.Below(10) == 0) {
          (void)core.Close();
        }
        break;
      default:
        Commit(core);
    }
  }

  void Commit(LogCore& core) {
    std::vector<LogCore::Entry> entries;
    const uint64_t count = 1 + random_.Below(8);
    for (uint64_t i = 0; i < count; ++i) {
      LeafDraft draft = Draft();
      const bool admits = draft.type == LeafType::kInferenceAdmitted;
      const std::pair<std::string, std::string> who{draft.tenant.value(), draft.rid.value()};
      entries.push_back({std::move(draft), [this, admits, who](StatusOr<AuditReceipt> receipt) {
                           if (receipt.ok()) {
                             Acked(*receipt, admits, who);
                           }
                         }});
    }
    core.Commit(std::move(entries));
  }

  // A request's beginning, or the end of one that is open.
  LeafDraft Draft() {
    LeafDraft draft;
    draft.src.assign(random_.Below(400), 'x');
    if (!open_.empty() && random_.Below(2) == 0) {
      const auto [receipt, who] = open_.back();
      open_.pop_back();
      draft.type = LeafType::kInferenceCompleted;
      draft.tenant = TenantId(who.first);
      draft.rid = RequestId(who.second);
      draft.admitted = receipt;
      return draft;
    }
    draft.type = LeafType::kInferenceAdmitted;
    draft.tenant = TenantId("t" + std::to_string(random_.Below(3)));
    draft.rid = RequestId(MakeUlid(clock_.WallNow(), {static_cast<uint8_t>(random_.Below(256))}));
    draft.quota = QuotaFacts{.dec = "reserved", .res = {.in = 3, .out = 4}, .hit = {}};
    return draft;
  }

  void Acked(const AuditReceipt& receipt,
             bool admits,
             const std::pair<std::string, std::string>& who) {
    ++counts_.acked;
    if (!acked_.emplace(Place(receipt.origin, receipt.index), receipt.leaf_hash).second) {
      ++counts_.index_reuse;
      Note("an index was given twice");
    }
    if (admits) {
      open_.emplace_back(receipt, who);
    }
  }

  void Crash() {
    ++counts_.crashes;
    if (options_.cut_power) {
      files_.CutPower();
    } else {
      files_.Restart();
    }
    // Recovery may be cut as well.
    if (random_.Below(2) == 0) {
      files_.KillAtCall(1 + random_.Below(120));
      (void)LogCore::Open(Options());
      if (options_.cut_power) {
        files_.CutPower();
      } else {
        files_.Restart();
      }
    }
    Check();
  }

  void Check() {
    const auto core = LogCore::Open(Options());
    if (!core.ok()) {
      ++counts_.inconsistent;
      Note("it does not open: " + std::string(Message(core.status())));
      return;
    }
    const TrustPolicy policy = TrustPolicy::OfLog(TestSigner().verifier());
    VerifyOptions verify;
    verify.earlier_notes = notes_;
    const auto report = VerifyLog(files_, std::string(kFolder) + "/log", policy, verify);
    if (!report.ok() || report->num_problems > 0) {
      ++counts_.inconsistent;
      Note("verify: " +
           (report.ok() ? ToText(report->problems[0]) : std::string(Message(report.status()))));
      return;
    }
    counts_.open_intents += report->open_intents;
    if (report->open_intents > 0) {
      Note("requests are open after recovery");
    }
    CheckAcked(policy);
  }

  void CheckAcked(const TrustPolicy& policy) {
    std::map<std::string, std::unique_ptr<ShardReader>> shards;
    for (const auto& [place, hash] : acked_) {
      auto& shard = shards[place.first];
      if (shard == nullptr) {
        auto opened = ShardReader::Open(
            files_,
            std::string(kFolder) + "/log" + place.first.substr(std::string(kName).size()),
            policy);
        shard = opened.ok() ? *std::move(opened) : nullptr;
      }
      const auto leaf = shard == nullptr ? StatusOr<std::string>(ErrorF(StatusCode::kNotFound, "-"))
                                         : shard->Read(place.second);
      if (!leaf.ok() || LeafHash(*leaf) != hash) {
        ++counts_.lost;
        Note(absl::StrFormat("leaf %d of %s is lost", place.second, place.first));
      }
    }
  }

  void Note(const std::string& what) {
    if (counts_.first.empty()) {
      counts_.first = absl::StrFormat("seed %d: %s", seed_, what);
    }
  }

  uint64_t seed_;
  FaultOptions options_;
  SplitMix64 random_;
  FakeFileSystem files_;
  ManualClock clock_;
  FaultCounts counts_;
  std::map<Place, Digest> acked_;
  std::vector<std::pair<AuditReceipt, std::pair<std::string, std::string>>> open_;
  std::vector<std::string> notes_;
};

}  // namespace

void FaultCounts::Add(const FaultCounts& other) {
  crashes += other.crashes;
  acked += other.acked;
  lost += other.lost;
  index_reuse += other.index_reuse;
  open_intents += other.open_intents;
  inconsistent += other.inconsistent;
  first = first.empty() ? other.first : first;
}

FaultCounts RunCrashes(uint64_t seed, const FaultOptions& options) {
  return History(seed, options).Run();
}

bool RunFault(uint64_t call, bool kill, FaultCounts& counts) {
  // Seeded by the call, so that what a power cut leaves differs; the steps before it as well.
  constexpr uint64_t kSeed = 7;
  return History(kSeed, {.cut_power = call % 2 == 0}).RunWithFault(call, kill, counts);
}

}  // namespace inferd
