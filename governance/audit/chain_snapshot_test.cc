// Goal: the snapshot of the chains reads back as it was written, a damaged one is refused, and a
// start with it goes on exactly as one that reads every leaf. Method: golden bytes, every byte of
// one changed, logs opened with the snapshot there, missing, damaged and of another log.
#include "governance/audit/chain_snapshot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file_batch.h"
#include "base/sha256.h"
#include "base/ulid.h"
#include "governance/audit/log_core.h"
#include "governance/verify/trust_policy.h"
#include "governance/verify/verifier.h"
#include "tests/support/audit_log_options.h"
#include "tests/support/fake_file_system.h"

namespace inferd {
namespace {

constexpr char kName[] = "example.com/inferd-audit/n1";

ChainSnapshot SmallSnapshot() {
  ChainSnapshot snapshot{.origin = "o/2026q4.0", .size = 9, .root = {}, .chains = {}, .open = {}};
  snapshot.root.bytes.fill(0xab);
  snapshot.chains["a\\\"b"] = {.next = 3, .last = snapshot.root};
  snapshot.open.push_back({.origin = "o/2026q3.1",
                           .index = 7,
                           .intent = {.tenant = "t", .rid = "r", .reserved = "{\"in\":5}"}});
  return snapshot;
}

TEST(ChainSnapshot, GoldenBytes) {
  const std::string hash(64, 'x');
  std::string ab;
  for (int i = 0; i < 32; ++i) {
    ab += "ab";
  }
  const std::string text = "{\"chains\":[[\"a\\\\\\\"b\",3,\"" + ab +
                           "\"]],\"open\":[[\"o/2026q3.1\",7,\"t\",\"r\",\"{\\\"in\\\":5}\"]],"
                           "\"origin\":\"o/2026q4.0\",\"root\":\"" +
                           ab + "\",\"size\":9,\"v\":1}\n";
  EXPECT_EQ(EncodeChainSnapshot(SmallSnapshot()), Sha256Of(text).Hex() + '\n' + text);
}

TEST(ChainSnapshot, ReadsBackAndRefusesEveryChange) {
  const std::string bytes = EncodeChainSnapshot(SmallSnapshot());
  const auto parsed = ParseChainSnapshot(bytes);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(EncodeChainSnapshot(*parsed), bytes);
  for (size_t at = 0; at < bytes.size(); ++at) {
    std::string changed = bytes;
    changed[at] = static_cast<char>(changed[at] ^ 1);
    EXPECT_EQ(ParseChainSnapshot(changed).status().code(), StatusCode::kDataLoss) << at;
    EXPECT_FALSE(ParseChainSnapshot(bytes.substr(0, at)).ok()) << at;
  }
}

// Well hashed, and not what the writer writes.
TEST(ChainSnapshot, RefusesOtherForms) {
  for (const std::string& text : {std::string("7\n"),
                                  std::string("{\"v\":2}\n"),
                                  std::string("{\"v\":1,\"origin\":\"o\",\"size\":-1}\n"),
                                  std::string("[[[[")}) {
    EXPECT_FALSE(ParseChainSnapshot(Sha256Of(text).Hex() + '\n' + text).ok()) << text;
  }
}

class SnapshotStart : public testing::Test {
 protected:
  AuditLogOptions Options() {
    AuditLogOptions options = TestLogOptions(files_, signer_, kName);
    options.snapshot_leaves = 100;
    return options;
  }
  // A request of a tenant whose name JSON has to escape; without an end if `open`.
  void Request(LogCore& core, bool open) {
    LeafDraft admitted;
    admitted.type = LeafType::kInferenceAdmitted;
    admitted.tenant = TenantId("a\"b\\c");
    admitted.rid = RequestId(NewUlid(SystemClock().WallNow()));
    admitted.quota = QuotaFacts{.dec = "reserved", .res = {.in = 5}, .hit = {}};
    AuditReceipt receipt;
    LeafDraft completed = admitted;
    completed.type = LeafType::kInferenceCompleted;
    Commit(core, std::move(admitted), &receipt);
    completed.admitted = receipt;
    if (!open) {
      Commit(core, std::move(completed), &receipt);
    }
  }
  static void Commit(LogCore& core, LeafDraft draft, AuditReceipt* receipt) {
    std::vector<LogCore::Entry> entries;
    entries.push_back({std::move(draft), [receipt](const StatusOr<AuditReceipt>& given) {
                         ASSERT_TRUE(given.ok()) << given.status();
                         *receipt = *given;
                       }});
    core.Commit(std::move(entries));
  }
  // 250 leaves and more, two requests open; the process dies.
  void MakeLog() {
    const auto core = LogCore::Open(Options());
    ASSERT_TRUE(core.ok()) << core.status();
    for (int i = 0; i < 126; ++i) {
      Request(**core, /*open=*/i == 3 || i == 120);
      if (i % 10 == 0) {
        ASSERT_TRUE((*core)->Publish().ok());
      }
    }
    state_ = "audit/state" + (*core)->origin().substr(std::string(kName).size());
  }
  RecoverySummary Reopen() {
    RecoverySummary summary;
    const auto core = LogCore::Open(Options(), &summary);
    EXPECT_TRUE(core.ok()) << core.status();
    Request(**core, /*open=*/false);
    EXPECT_TRUE((*core)->Publish().ok());
    const auto report =
        VerifyLog(files_, "audit/log", TrustPolicy::OfLog(signer_.verifier()), VerifyOptions());
    EXPECT_TRUE(report.ok());
    EXPECT_EQ(report->num_problems, 0u)
        << (report->problems.empty() ? "" : ToText(report->problems[0]));
    EXPECT_EQ(report->open_intents, 0u);
    return summary;
  }
  std::string Path() const { return state_ + '/' + std::string(kChainSnapshotFile); }

  FakeFileSystem files_{1};
  NoteSigner signer_ = *NoteSigner::Generate(kName);
  std::string state_;
};

TEST_F(SnapshotStart, GoesOnFromIt) {
  MakeLog();
  const RecoverySummary summary = Reopen();
  EXPECT_GE(summary.snapshot_size, 200u);
  EXPECT_EQ(summary.closed, 2u);
}

TEST_F(SnapshotStart, ReadsEveryLeafWithoutIt) {
  MakeLog();
  ASSERT_TRUE(files_.Remove(Path()).ok());
  RecoverySummary summary = Reopen();
  EXPECT_EQ(summary.snapshot_size, 0u);
  EXPECT_EQ(summary.closed, 2u);
  // That start has left one for the next.
  summary = Reopen();
  EXPECT_GE(summary.snapshot_size, 200u);
  EXPECT_EQ(summary.closed, 0u);
}

TEST_F(SnapshotStart, ReadsEveryLeafIfItIsDamaged) {
  MakeLog();
  std::string bytes = *files_.Read(Path(), kChainSnapshotBytesMax);
  bytes[bytes.size() / 2] ^= 1;
  ASSERT_TRUE(WriteFileDurably(files_, state_, std::string(kChainSnapshotFile), bytes).ok());
  const RecoverySummary summary = Reopen();
  EXPECT_EQ(summary.snapshot_size, 0u);
  EXPECT_EQ(summary.closed, 2u);
}

// In order, and of a tree that this log never was.
TEST_F(SnapshotStart, ReadsEveryLeafIfItIsOfAnotherTree) {
  MakeLog();
  for (const bool longer : {false, true}) {
    ChainSnapshot snapshot = *ParseChainSnapshot(*files_.Read(Path(), kChainSnapshotBytesMax));
    snapshot.size += longer ? 1000 : 0;
    snapshot.root.bytes[0] ^= 1;
    snapshot.chains.clear();
    ASSERT_TRUE(WriteFileDurably(
                    files_, state_, std::string(kChainSnapshotFile), EncodeChainSnapshot(snapshot))
                    .ok());
    EXPECT_EQ(Reopen().snapshot_size, 0u);
  }
}

TEST_F(SnapshotStart, AClosedLogIsNotReadAtAll) {
  {
    const auto core = LogCore::Open(Options());
    ASSERT_TRUE(core.ok()) << core.status();
    Request(**core, /*open=*/false);
    ASSERT_TRUE((*core)->Close().ok());
    state_ = "audit/state" + (*core)->origin().substr(std::string(kName).size());
  }
  EXPECT_EQ(Reopen().snapshot_size, 4u);  // genesis, two of the request, log.mode
}

}  // namespace
}  // namespace inferd
