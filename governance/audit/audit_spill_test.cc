// Goal: what guarded tenants did while the log took nothing is in the log afterwards, once, in
// order, with whole chains, also if the process died meanwhile. Method: a log that is switched off
// and on behind the gate; processes killed at every call of the file system while they drain.
#include "governance/audit/audit_spill.h"

#include <gtest/gtest.h>

#include <atomic>
#include <optional>
#include <thread>

#include "base/ulid.h"
#include "governance/audit/audit_gate.h"
#include "governance/audit/audit_writer.h"
#include "governance/audit/spilled_leaf.h"
#include "governance/quota/usage_fold.h"
#include "governance/verify/leaf_view.h"
#include "governance/verify/shard_reader.h"
#include "governance/verify/trust_policy.h"
#include "governance/verify/verifier.h"
#include "tests/support/audit_log_options.h"
#include "tests/support/fake_file_system.h"

namespace inferd {
namespace {

constexpr char kName[] = "example.com/inferd-audit/n1";
constexpr QuotaAmounts kReserved = {.in = 3, .out = 9, .conc = 1, .kv = 12};

class SwitchLog final : public AuditLog {
 public:
  explicit SwitchLog(AuditLog& log) : log_(log) {}
  void Append(LeafDraft draft, AppendCallback done) override {
    if (up) {
      log_.Append(std::move(draft), std::move(done));
    } else {
      done(ErrorF(StatusCode::kUnavailable, "off"));
    }
  }
  std::string origin() const override { return log_.origin(); }

  std::atomic<bool> up{true};

 private:
  AuditLog& log_;
};

LeafDraft Draft(LeafType type, const std::string& rid, AuditMode mode = AuditMode::kGuarded) {
  LeafDraft draft;
  draft.type = type;
  draft.tenant = TenantId("a\"b");
  draft.rid = RequestId(rid);
  draft.mode = mode;
  return draft;
}

class AuditSpillTest : public testing::Test {
 protected:
  // One process.
  struct Node {
    std::unique_ptr<AuditWriter> writer;
    std::unique_ptr<SwitchLog> log;
    std::unique_ptr<AuditSpill> spill;
    std::unique_ptr<AuditGate> gate;
    ~Node() {
      if (writer != nullptr) {
        (void)writer->Close();
      }
      spill.reset();
    }
  };
  Status Start(Node& node) {
    AuditSpillOptions spill;
    spill.files = &*files_;
    spill.clock = &clock_;
    spill.folder = "spill";
    spill.node = "n1";
    spill.boot = "b";
    spill.segment_bytes = 64 << 10;
    spill.leaves_max = 20;
    ASSIGN_OR_RETURN(node.spill, AuditSpill::Open(spill));
    AuditLogOptions options = TestLogOptions(*files_, signer_, kName);
    options.clock = &clock_;
    options.ended_elsewhere = node.spill->EndedRequests();
    ASSIGN_OR_RETURN(node.writer, AuditWriter::Open(options));
    node.log = std::make_unique<SwitchLog>(*node.writer);
    RETURN_IF_ERROR(node.writer->Flush());
    ASSIGN_OR_RETURN(const auto shard, OpenShard(node.writer->origin()));
    RETURN_IF_ERROR(node.spill->Start(*node.log, *shard));
    node.gate = std::make_unique<AuditGate>(*node.log, clock_, node.spill.get());
    return OkStatus();
  }
  StatusOr<std::unique_ptr<ShardReader>> OpenShard(const std::string& origin) {
    return ShardReader::Open(*files_,
                             "audit/log" + origin.substr(std::string(kName).size()),
                             TrustPolicy::OfLog(signer_.verifier()));
  }
  void SetUp() override { clock_.Advance(std::chrono::hours(24) * 365 * 56); }
  std::string NewRid() {
    clock_.Advance(std::chrono::milliseconds(1));
    return NewUlid(clock_.WallNow());
  }

  StatusOr<AuditReceipt> Begin(Node& node, const std::string& rid) {
    LeafDraft draft = Draft(LeafType::kInferenceAdmitted, rid);
    draft.quota = QuotaFacts{.dec = "reserved", .res = kReserved};
    return node.gate->AppendAndWait(std::move(draft));
  }
  StatusOr<AuditReceipt> End(Node& node, const std::string& rid, const AuditReceipt& begin) {
    LeafDraft draft = Draft(LeafType::kInferenceCompleted, rid);
    draft.admitted = begin;
    return node.gate->AppendAndWait(std::move(draft));
  }
  static void WaitUntilDrained(const Node& node) {
    while (node.spill->num_pending() > 0) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  // The log is whole, and has each request's leaves once.
  VerifyReport CheckLog() {
    auto report =
        VerifyLog(*files_, "audit/log", TrustPolicy::OfLog(signer_.verifier()), VerifyOptions());
    EXPECT_TRUE(report.ok()) << report.status();
    EXPECT_EQ(report->num_problems, 0u)
        << (report->problems.empty() ? "" : ToText(report->problems[0]));
    std::map<std::string, int> times;
    const auto shard = OpenShard(std::string(kName) + '/' + QuarterOf(clock_.WallNow()).Text());
    EXPECT_TRUE((*shard)
                    ->Visit(0,
                            (*shard)->checkpoint().checkpoint.size,
                            [&times](uint64_t, std::string_view leaf) -> Status {
                              ASSIGN_OR_RETURN(const LeafView view, ParseLeaf(leaf));
                              if (view.tenant != kLogTenant) {
                                ++times[std::string(view.type_name) + std::string(view.rid)];
                              }
                              if (view.type == LeafType::kInferenceAborted) {
                                // A crash charges what was reserved.
                                EXPECT_EQ(AmountsOf(view.settled), kReserved);
                              }
                              return OkStatus();
                            })
                    .ok());
    for (const auto& [what, count] : times) {
      EXPECT_EQ(count, 1) << what;
    }
    return report.ok() ? *std::move(report) : VerifyReport();
  }

  std::optional<FakeFileSystem> files_{1};
  ManualClock clock_;
  NoteSigner signer_ = *NoteSigner::Generate(kName);
};

TEST_F(AuditSpillTest, WhatIsSpilledFollowsInOrder) {
  Node node;
  ASSERT_TRUE(Start(node).ok());
  const std::string rids[] = {NewRid(), NewRid(), NewRid()};
  const auto first = Begin(node, rids[0]);
  ASSERT_TRUE(first.ok());
  EXPECT_NE(first->origin, kSpillOrigin);
  node.log->up = false;
  EXPECT_EQ(
      node.gate->AppendAndWait(Draft(LeafType::kInferenceAdmitted, NewRid(), AuditMode::kStrict))
          .status()
          .code(),
      StatusCode::kUnavailable);
  // Ends in the spill; both in the spill; begins in the spill.
  const auto first_end = End(node, rids[0], *first);
  ASSERT_TRUE(first_end.ok()) << first_end.status();
  EXPECT_EQ(first_end->origin, kSpillOrigin);
  const auto second = Begin(node, rids[1]);
  ASSERT_TRUE(second.ok() && End(node, rids[1], *second).ok());
  const auto third = Begin(node, rids[2]);
  ASSERT_TRUE(third.ok());
  EXPECT_EQ(node.spill->num_pending(), 4u);
  node.log->up = true;
  WaitUntilDrained(node);
  const auto third_end = End(node, rids[2], *third);
  ASSERT_TRUE(third_end.ok()) << third_end.status();
  WaitUntilDrained(node);
  ASSERT_TRUE(node.writer->Flush().ok());
  VerifyReport report = CheckLog();
  EXPECT_EQ(report.leaves_by_type["inference.admitted"], 3u);
  EXPECT_EQ(report.leaves_by_type["inference.completed"], 3u);
  EXPECT_EQ(report.open_intents, 0u);
}

TEST_F(AuditSpillTest, HasBounds) {
  Node node;
  ASSERT_TRUE(Start(node).ok());
  node.log->up = false;
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(Begin(node, NewRid()).ok()) << i;
  }
  EXPECT_EQ(Begin(node, NewRid()).status().code(), StatusCode::kUnavailable);
  node.log->up = true;
  WaitUntilDrained(node);
  // Until it says so itself, leaves still go through it.
  node.log->up = false;
  StatusOr<AuditReceipt> receipt = Begin(node, NewRid());
  ASSERT_TRUE(receipt.ok()) << receipt.status();
  clock_.Advance(std::chrono::seconds(6));
  EXPECT_EQ(Begin(node, NewRid()).status().code(), StatusCode::kUnavailable);
}

// Leaves in the spill when the process dies: the end of a request that the log has, a request
// without an end, and a whole one.
class AuditSpillCrash : public AuditSpillTest {
 protected:
  void DieWithLeavesSpilled() {
    Node node;
    ASSERT_TRUE(Start(node).ok());
    const std::string rid = NewRid();
    const auto first = Begin(node, rid);
    node.log->up = false;
    ASSERT_TRUE(first.ok() && End(node, rid, *first).ok());
    ASSERT_TRUE(Begin(node, NewRid()).ok());
    const std::string whole = NewRid();
    const auto third = Begin(node, whole);
    ASSERT_TRUE(third.ok() && End(node, whole, *third).ok());
    files_->KillAtCall(1);
  }
  void CheckAfterwards() {
    Node node;
    const Status started = Start(node);
    ASSERT_TRUE(started.ok()) << started;
    ASSERT_TRUE(node.writer->Flush().ok());
    VerifyReport report = CheckLog();
    EXPECT_EQ(report.leaves_by_type["inference.admitted"], 3u);
    EXPECT_EQ(report.leaves_by_type["inference.completed"], 2u);
    EXPECT_EQ(report.leaves_by_type["inference.aborted"], 1u);
    EXPECT_EQ(report.open_intents, 0u);
    EXPECT_EQ(node.spill->num_pending(), 0u);
  }
};

TEST_F(AuditSpillCrash, TheNextProcessDrains) {
  DieWithLeavesSpilled();
  files_->Restart();
  clock_.Advance(std::chrono::seconds(1));
  CheckAfterwards();
}

TEST_F(AuditSpillCrash, DrainingMayBeCutAnywhere) {
  for (uint64_t call = 1; call < 160; call += 5) {
    SCOPED_TRACE(call);
    files_.emplace(call);
    DieWithLeavesSpilled();
    files_->CutPower();
    clock_.Advance(std::chrono::seconds(1));
    {
      Node node;
      files_->KillAtCall(call);
      (void)Start(node);
    }
    files_->CutPower();
    CheckAfterwards();
    if (HasFailure()) {
      return;
    }
  }
}

TEST(SpilledLeaf, GetsItsPlaceAndKeepsTheRest) {
  LeafDraft draft = Draft(LeafType::kInferenceCompleted, "01ARZ3NDEKTSV4RRFFQ69G5FAV");
  draft.detail["what"] = std::string("\x01\"\\é");
  draft.admitted = AuditReceipt{.origin = "o/1", .index = 4, .leaf_hash = {}};
  LeafChain spilled{.origin = kSpillOrigin, .node = "n1", .boot = "b"};
  spilled.nonce.fill(7);
  const std::string leaf = *EncodeLeaf(draft, spilled);
  auto again = DraftOfSpilled(leaf);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->admitted, draft.admitted);
  EXPECT_EQ(again->tenant.value(), "a\"b");
  LeafChain chain{.origin = "o/1", .node = "n1", .boot = "b2", .tseq = 9};
  chain.nonce.fill(9);
  chain.wall = WallTime(std::chrono::seconds(5));
  const std::string placed = *EncodeLeaf(*again, chain);
  // As if it had been written there, with its own nonce, and its first time beside.
  draft.detail["spilled_ts"] = std::string("1970-01-01T00:00:00.000000Z");
  chain.nonce.fill(7);
  EXPECT_EQ(placed, *EncodeLeaf(draft, chain));
  EXPECT_FALSE(DraftOfSpilled("{}").ok());
}

}  // namespace
}  // namespace inferd
