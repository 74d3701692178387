// Goal: the threads of the log keep its promises, and the gate before it does what modes and floods
// ask for. Method: many appenders at once on a file system in memory; a log that fails on command.
#include "governance/audit/audit_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <thread>

#include "governance/audit/audit_gate.h"
#include "governance/verify/checkpoint.h"
#include "governance/verify/merkle.h"
#include "governance/verify/shard_reader.h"
#include "governance/verify/trust_policy.h"
#include "governance/verify/verifier.h"
#include "tests/support/audit_log_options.h"
#include "tests/support/fake_file_system.h"

namespace inferd {
namespace {

using ::testing::HasSubstr;

constexpr char kName[] = "example.com/inferd-audit/n1";

class AuditWriterTest : public testing::Test {
 protected:
  AuditLogOptions Options() {
    AuditLogOptions options = TestLogOptions(files_, signer_, kName);
    options.segment_bytes = 256 << 10;
    return options;
  }
  static LeafDraft Draft(LeafType type = LeafType::kAdminAction) {
    LeafDraft draft;
    draft.type = type;
    draft.tenant = TenantId("acme");
    return draft;
  }
  VerifyReport Verify() {
    auto report =
        VerifyLog(files_, "audit/log", TrustPolicy::OfLog(signer_.verifier()), VerifyOptions());
    EXPECT_TRUE(report.ok()) << report.status();
    return report.ok() ? *std::move(report) : VerifyReport();
  }

  FakeFileSystem files_{1};
  NoteSigner signer_ = *NoteSigner::Generate(kName);
};

TEST_F(AuditWriterTest, EveryAppenderGetsAReceiptOfItsOwn) {
  constexpr int kThreads = 4;
  constexpr int kLeaves = 150;
  auto log = AuditWriter::Open(Options());
  ASSERT_TRUE(log.ok()) << log.status();
  std::mutex mutex;
  std::set<uint64_t> indices;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      uint64_t last = 0;
      for (int leaf = 0; leaf < kLeaves; ++leaf) {
        const auto receipt = (*log)->AppendAndWait(Draft());
        ASSERT_TRUE(receipt.ok()) << receipt.status();
        EXPECT_GT(receipt->index, last);
        last = receipt->index;
        const std::lock_guard lock(mutex);
        EXPECT_TRUE(indices.insert(receipt->index).second);
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  ASSERT_TRUE((*log)->Flush().ok());
  const uint64_t published = Verify().num_leaves;
  EXPECT_GE(published, static_cast<uint64_t>(kThreads * kLeaves));
  ASSERT_TRUE((*log)->Close().ok());
  EXPECT_EQ((*log)->AppendAndWait(Draft()).status().code(), StatusCode::kUnavailable);
  const VerifyReport report = Verify();
  EXPECT_EQ(report.num_problems, 0u);
  // And log.genesis, log.mode.
  EXPECT_EQ(report.num_leaves, static_cast<uint64_t>(kThreads * kLeaves) + 2);
}

TEST_F(AuditWriterTest, RefusesBadDraftsAndAFullDisk) {
  auto log = AuditWriter::Open(Options());
  ASSERT_TRUE(log.ok()) << log.status();
  LeafDraft bad = Draft();
  bad.tenant = TenantId();
  EXPECT_EQ((*log)->AppendAndWait(bad).status().code(), StatusCode::kInvalidArgument);
  files_.SetSpace({.total_bytes = 1000, .free_bytes = 49});
  ASSERT_TRUE((*log)->AppendAndWait(Draft()).ok());
  // The publisher looks about every second.
  StatusCode code = StatusCode::kOk;
  while (code == StatusCode::kOk) {
    code = (*log)->AppendAndWait(Draft(LeafType::kInferenceAdmitted)).status().code();
    ASSERT_TRUE((*log)->Flush().ok());
  }
  EXPECT_EQ(code, StatusCode::kUnavailable);
  EXPECT_TRUE((*log)->AppendAndWait(Draft(LeafType::kAdminAction)).ok());
}

TEST_F(AuditWriterTest, OneWriterAtATime) {
  AuditLogOptions options = Options();
  options.files = &SystemFiles();
  options.folder = testing::TempDir() + "inferd_audit_lock_" + std::to_string(getpid());
  const auto first = AuditWriter::Open(options);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(AuditWriter::Open(options).status().code(), StatusCode::kFailedPrecondition);
}

TEST_F(AuditWriterTest, AFailedSyncIsFinal) {
  auto log = AuditWriter::Open(Options());
  ASSERT_TRUE(log.ok()) << log.status();
  ASSERT_TRUE((*log)->AppendAndWait(Draft()).ok());
  files_.KillAtCall(1);
  EXPECT_EQ((*log)->AppendAndWait(Draft()).status().code(), StatusCode::kUnavailable);
  files_.Restart();
  EXPECT_EQ((*log)->AppendAndWait(Draft()).status().code(), StatusCode::kUnavailable);
}

TEST_F(AuditWriterTest, ARestoredBackupIsRefused) {
  (void)AuditWriter::Open(Options());
  const std::string shard = QuarterOf(SystemClock().WallNow()).Text();
  const std::string old_note = *files_.Read("audit/state/" + shard + "/signed", 4096);
  {
    auto log = AuditWriter::Open(Options());
    ASSERT_TRUE(log.ok()) << log.status();
    ASSERT_TRUE((*log)->AppendAndWait(Draft()).ok());
  }
  auto file = *files_.Create("audit/state/" + shard + "/signed");
  ASSERT_TRUE(file->WriteAt(0, old_note).ok());
  const auto refused = AuditWriter::Open(Options());
  EXPECT_EQ(refused.status().code(), StatusCode::kDataLoss);
  EXPECT_TRUE(Message(refused.status()).starts_with("ROLLBACK_DETECTED"));
  // Two operators may go on in a new shard, which says so.
  AuditLogOptions options = Options();
  options.start_new_shard_after_conflict = true;
  RecoverySummary summary;
  const auto log = AuditWriter::Open(options, &summary);
  ASSERT_TRUE(log.ok()) << log.status();
  EXPECT_FALSE(summary.conflict.empty());
  EXPECT_NE((*log)->origin(), std::string(kName) + '/' + shard);
}

TEST_F(AuditWriterTest, HeartbeatsTellWhatKeepsTheClockRight) {
  ManualClock clock;
  clock.Advance(std::chrono::hours(24) * 365 * 56);
  clock.SetSync({.state = ClockSync::State::kUnsynchronized,
                 .offset = std::chrono::nanoseconds(-1500),
                 .error_max = std::chrono::seconds(16)});
  AuditLogOptions options = Options();
  options.clock = &clock;
  const auto core = LogCore::Open(options);
  ASSERT_TRUE(core.ok()) << core.status();
  (*core)->Heartbeat();
  ASSERT_TRUE((*core)->Publish().ok());
  const auto shard = ShardReader::Open(files_,
                                       "audit/log/" + QuarterOf(clock.WallNow()).Text(),
                                       TrustPolicy::OfLog(signer_.verifier()));
  ASSERT_TRUE(shard.ok()) << shard.status();
  const std::string leaf = *(*shard)->Read(1);
  EXPECT_THAT(leaf, HasSubstr(R"("ntp":"unsynchronized")"));
  EXPECT_THAT(leaf, HasSubstr(R"("ntp_offset_ns":"-1500")"));
  EXPECT_THAT(leaf, HasSubstr(R"("ntp_error_max_ns":"16000000000")"));
  // The machine's own, whatever it says.
  EXPECT_FALSE(Name(SystemClock().Sync().state).empty());
}

TEST_F(AuditWriterTest, TheNextOriginIsAnnouncedBeforeAShardEnds) {
  ManualClock clock;
  clock.Advance(std::chrono::hours(24) * 365 * 56);
  for (const bool answered : {true, false}) {
    FakeFileSystem files(1);
    std::vector<std::string> announced;
    AuditLogOptions options = Options();
    options.files = &files;
    options.clock = &clock;
    options.shard_leaves_max = 1;
    options.on_new_origin = [&announced](const std::string& note) { announced.push_back(note); };
    const auto core = LogCore::Open(options);
    ASSERT_TRUE(core.ok()) << core.status();
    const std::string first = (*core)->origin();
    (*core)->RotateIfDue();
    (*core)->RotateIfDue();
    ASSERT_EQ(announced.size(), 1u);
    const auto checkpoint = OpenCheckpoint(announced[0], signer_.verifier());
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    EXPECT_EQ(checkpoint->checkpoint.size, 0u);
    EXPECT_EQ(checkpoint->checkpoint.root, EmptyRoot());
    EXPECT_EQ((*core)->origin(), first);  // not yet
    if (answered) {
      (*core)->OriginKnown("another");
      (*core)->RotateIfDue();
      EXPECT_EQ((*core)->origin(), first);
      (*core)->OriginKnown(checkpoint->checkpoint.origin);
    } else {
      clock.Advance(options.announce_wait_max);
    }
    (*core)->RotateIfDue();
    EXPECT_EQ((*core)->origin(), checkpoint->checkpoint.origin);
    ASSERT_TRUE((*core)->Publish().ok());
    const auto report =
        VerifyLog(files, "audit/log", TrustPolicy::OfLog(signer_.verifier()), VerifyOptions());
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_EQ(report->num_problems, 0u);
    EXPECT_EQ(report->shards.size(), 2u);
  }
}

// A log that keeps drafts, or has none of them.
class ScriptedLog final : public AuditLog {
 public:
  void Append(LeafDraft draft, AppendCallback done) override {
    if (!available) {
      done(ErrorF(StatusCode::kUnavailable, "no"));
      return;
    }
    drafts.push_back(std::move(draft));
    done(AuditReceipt{.origin = "o", .index = drafts.size() - 1, .leaf_hash = {}});
  }
  std::string origin() const override { return "o"; }

  bool available = true;
  std::vector<LeafDraft> drafts;
};

LeafDraft Refusal(const std::string& source) {
  LeafDraft draft;
  draft.type = LeafType::kInferenceDenied;
  draft.tenant = TenantId("acme");
  draft.outcome = OutcomeFacts{.err = "QUOTA"};
  draft.src = source;
  return draft;
}

TEST(AuditGate, FloodsBecomeSummaries) {
  ScriptedLog log;
  ManualClock clock;
  clock.Advance(std::chrono::hours(1));
  AuditGate gate(log, clock);
  for (int i = 0; i < 1000; ++i) {
    const auto receipt = gate.AppendAndWait(Refusal(i % 10 == 0 ? "b" : "a"));
    ASSERT_TRUE(receipt.ok());
    EXPECT_EQ(receipt->origin.empty(), i >= 100);
  }
  EXPECT_EQ(log.drafts.size(), 100u);
  gate.Tick();
  EXPECT_EQ(log.drafts.size(), 100u);  // not yet
  clock.Advance(kFloodSummaryInterval);
  gate.Tick();
  ASSERT_EQ(log.drafts.size(), 101u);
  const LeafDraft& summary = log.drafts.back();
  EXPECT_EQ(summary.type, LeafType::kDeniedSummary);
  EXPECT_EQ(std::get<uint64_t>(summary.detail.at("count")), 900u);
  EXPECT_EQ(std::get<std::vector<std::string>>(summary.detail.at("sources")).front(), "810 a");
  EXPECT_TRUE(Validate(summary).ok());
  clock.Advance(std::chrono::minutes(1));
  (void)gate.AppendAndWait(Refusal("a"));
  EXPECT_EQ(log.drafts.size(), 102u);  // a new minute
}

TEST(AuditGate, BestEffortGoesOnAndTheGapIsWritten) {
  ScriptedLog log;
  ManualClock clock;
  AuditGate gate(log, clock);
  LeafDraft strict;
  strict.tenant = TenantId("acme");
  LeafDraft best_effort = strict;
  best_effort.mode = AuditMode::kBestEffort;
  log.available = false;
  EXPECT_EQ(gate.AppendAndWait(strict).status().code(), StatusCode::kUnavailable);
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(gate.AppendAndWait(best_effort).ok());
  }
  EXPECT_EQ(gate.num_lost(), 3u);
  log.available = true;
  EXPECT_TRUE(gate.AppendAndWait(strict).ok());
  ASSERT_EQ(log.drafts.size(), 2u);
  EXPECT_EQ(log.drafts[1].type, LeafType::kLogGap);
  EXPECT_EQ(std::get<uint64_t>(log.drafts[1].detail.at("count")), 3u);
  EXPECT_TRUE(gate.AppendAndWait(strict).ok());
  EXPECT_EQ(log.drafts.size(), 3u);  // once
}

}  // namespace
}  // namespace inferd
