// Goal: a disk that fills up refuses requests and still takes the log's own and administrators'
// records, and everything goes on once there is space. Method: a file system in memory with a
// capacity; other files that fill it and go away; logs of random length that run into its end.
#include "governance/audit/disk_reserve.h"

#include <gtest/gtest.h>

#include "base/ulid.h"
#include "governance/audit/log_core.h"
#include "governance/verify/merkle.h"
#include "governance/verify/shard_reader.h"
#include "governance/verify/trust_policy.h"
#include "governance/verify/verifier.h"
#include "tests/support/audit_log_options.h"
#include "tests/support/fake_file_system.h"

namespace inferd {
namespace {

constexpr char kName[] = "example.com/inferd-audit/n1";

TEST(SpaceLevel, BeginsAtItsThresholdAndEndsAPercentAbove) {
  SpaceLevel level = SpaceLevel::kPlenty;
  const auto at = [&level](uint64_t percent_times_10) {
    level = LevelOf({.total_bytes = 1000, .free_bytes = percent_times_10}, {}, level);
    return level;
  };
  EXPECT_EQ(at(200), SpaceLevel::kPlenty);
  EXPECT_EQ(at(199), SpaceLevel::kWarn);
  EXPECT_EQ(at(205), SpaceLevel::kWarn);
  EXPECT_EQ(at(211), SpaceLevel::kPlenty);
  EXPECT_EQ(at(99), SpaceLevel::kPage);
  EXPECT_EQ(at(49), SpaceLevel::kRefuse);
  EXPECT_EQ(at(55), SpaceLevel::kRefuse);
  EXPECT_EQ(at(61), SpaceLevel::kPage);
  EXPECT_EQ(LevelOf({.total_bytes = 0, .free_bytes = 0}, {}, level), SpaceLevel::kRefuse);
}

TEST(DiskReserve, IsGivenBackOnceAndFilledAgain) {
  FakeFileSystem files(1);
  files.SetCapacity(10'000);
  ASSERT_TRUE(files.CreateFolder("state").ok());
  DiskReserve held(files, "state", 4000);
  ASSERT_TRUE(held.Fill().ok());
  EXPECT_FALSE(held.released());
  EXPECT_EQ(files.UsedBytes(), 4000u);
  auto file = held.Create("state/a");
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE((*file)->WriteAt(0, std::string(6000, 'x')).ok());
  EXPECT_FALSE(held.released());
  ASSERT_TRUE((*file)->WriteAt(6000, std::string(3000, 'y')).ok());
  EXPECT_TRUE(held.released());
  EXPECT_EQ(*files.Read("state/a", 10'000), std::string(6000, 'x') + std::string(3000, 'y'));
  EXPECT_EQ((*file)->WriteAt(9000, std::string(3000, 'z')).code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(held.Fill().code(), StatusCode::kResourceExhausted);
  EXPECT_TRUE(held.released());
  ASSERT_TRUE(held.Remove("state/a").ok());
  ASSERT_TRUE(held.Fill().ok());
  EXPECT_FALSE(held.released());
  EXPECT_EQ(files.UsedBytes(), 4000u);  // nothing unfinished is left
}

TEST(DiskReserve, OneOfAnotherSizeGoes) {
  FakeFileSystem files(1);
  ASSERT_TRUE(files.CreateFolder("state").ok());
  ASSERT_TRUE(DiskReserve(files, "state", 4000).Fill().ok());
  ASSERT_TRUE((*files.Create("state/reserve.tmp"))->WriteAt(0, "half").ok());
  DiskReserve larger(files, "state", 5000);
  ASSERT_TRUE(larger.Fill().ok());
  EXPECT_EQ(files.UsedBytes(), 5000u);
  DiskReserve none(files, "state", 0);
  ASSERT_TRUE(none.Fill().ok());
  EXPECT_FALSE(none.released());
  EXPECT_EQ(files.UsedBytes(), 0u);
}

class FullDisk : public testing::Test {
 protected:
  AuditLogOptions Options() {
    AuditLogOptions options = TestLogOptions(files_, signer_, kName);
    options.reserve_bytes = 512 << 10;
    return options;
  }
  // As AuditWriter does.
  static Status Append(LogCore& core, LeafType type, AuditReceipt* receipt = nullptr) {
    LeafDraft draft;
    draft.type = type;
    draft.tenant = TenantId("acme");
    draft.src.assign(400, 'x');
    if (const Status room = core.CheckRoom(draft); !room.ok()) {
      return room;
    }
    Status status;
    std::vector<LogCore::Entry> entries;
    entries.push_back({std::move(draft), [&](StatusOr<AuditReceipt> given) {
                         status = given.status();
                         if (given.ok() && receipt != nullptr) {
                           *receipt = *std::move(given);
                         }
                       }});
    core.Commit(std::move(entries));
    return status;
  }
  // What the publisher's and the writer's threads do about every second.
  static void Tick(LogCore& core) {
    (void)core.Publish();
    (void)core.PrepareSpare();
    (void)core.CheckSpace();
    core.RecordSpace();
  }
  void Ballast(uint64_t size_bytes) {
    ASSERT_TRUE((*files_.Create("ballast"))->WriteAt(0, std::string(size_bytes, 'b')).ok());
  }
  VerifyReport Verify() {
    const auto report =
        VerifyLog(files_, "audit/log", TrustPolicy::OfLog(signer_.verifier()), VerifyOptions());
    EXPECT_TRUE(report.ok()) << report.status();
    EXPECT_EQ(report->num_problems, 0u);
    return *report;
  }

  FakeFileSystem files_{1};
  NoteSigner signer_ = *NoteSigner::Generate(kName);
};

TEST_F(FullDisk, WarnsThenRefusesRequestsThenTakesThemAgain) {
  files_.SetCapacity(8 << 20);
  const auto core = LogCore::Open(Options());
  ASSERT_TRUE(core.ok()) << core.status();
  Tick(**core);
  EXPECT_EQ((*core)->space_level(), SpaceLevel::kPlenty);
  const uint64_t used = files_.UsedBytes();
  const auto leave = [&](double fraction) {
    const auto left = static_cast<uint64_t>(fraction * (8 << 20));
    Ballast((8 << 20) - used - left);
    Tick(**core);
  };
  leave(0.17);
  EXPECT_EQ((*core)->space_level(), SpaceLevel::kWarn);
  EXPECT_TRUE(Append(**core, LeafType::kInferenceDenied).ok());
  leave(0.085);
  EXPECT_EQ((*core)->space_level(), SpaceLevel::kPage);
  EXPECT_TRUE(Append(**core, LeafType::kInferenceDenied).ok());
  leave(0.045);
  EXPECT_EQ((*core)->space_level(), SpaceLevel::kRefuse);
  EXPECT_EQ(Append(**core, LeafType::kInferenceDenied).code(), StatusCode::kUnavailable);
  EXPECT_TRUE(Append(**core, LeafType::kAdminAction).ok());
  ASSERT_TRUE(files_.Remove("ballast").ok());
  Tick(**core);
  EXPECT_EQ((*core)->space_level(), SpaceLevel::kPlenty);
  EXPECT_TRUE(Append(**core, LeafType::kInferenceDenied).ok());
  Tick(**core);
  // warn, page, refuse, plenty: each is a leaf.
  EXPECT_EQ(Verify().leaves_by_type["log.mode"], 4u);
}

TEST_F(FullDisk, TheReserveTakesAdministrativeLeaves) {
  files_.SetCapacity(4 << 20);
  const auto core = LogCore::Open(Options());
  ASSERT_TRUE(core.ok()) << core.status();
  // Others take all that is left, between two looks at the disk.
  Ballast((4 << 20) - files_.UsedBytes() - 1000);
  uint64_t taken = 0;
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(Append(**core, LeafType::kAdminAction).ok()) << i;
    ++taken;
    if (i % 20 == 0) {
      Tick(**core);
      ASSERT_TRUE((*core)->status().ok()) << (*core)->status();
    }
  }
  EXPECT_EQ((*core)->space_level(), SpaceLevel::kRefuse);
  EXPECT_EQ(Append(**core, LeafType::kInferenceDenied).code(), StatusCode::kUnavailable);
  ASSERT_TRUE(files_.Remove("ballast").ok());
  Tick(**core);
  EXPECT_TRUE(Append(**core, LeafType::kInferenceDenied).ok());
  Tick(**core);
  EXPECT_EQ(Verify().leaves_by_type["admin.action"], taken);
  // The reserve is there again.
  EXPECT_TRUE(files_.Read("audit/state/reserve.524288", 1 << 20).ok());
}

TEST_F(FullDisk, AFullDiskDoesNotKeepTheLogFromStarting) {
  files_.SetCapacity(4 << 20);
  {
    const auto core = LogCore::Open(Options());
    ASSERT_TRUE(core.ok()) << core.status();
    ASSERT_TRUE(Append(**core, LeafType::kAdminAction).ok());
  }
  Ballast((4 << 20) - files_.UsedBytes());
  const auto core = LogCore::Open(Options());
  ASSERT_TRUE(core.ok()) << core.status();
  ASSERT_TRUE(Append(**core, LeafType::kAdminAction).ok());
  EXPECT_EQ(Append(**core, LeafType::kInferenceDenied).code(), StatusCode::kUnavailable);
}

// Wherever the end of the disk is met, nothing that was acknowledged is lost.
TEST_F(FullDisk, TheEndOfTheDiskLosesNothing) {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    FakeFileSystem files(seed);
    files.SetCapacity((300 << 10) + seed * 9973);
    AuditLogOptions options = Options();
    options.files = &files;
    options.segment_bytes = 40 << 10;
    options.reserve_bytes = 50 << 10;
    options.snapshot_leaves = 1 + seed;
    std::vector<AuditReceipt> acked;
    {
      const auto core = LogCore::Open(options);
      ASSERT_TRUE(core.ok()) << core.status();
      AuditReceipt receipt;
      for (int i = 0; Append(**core, LeafType::kAdminAction, &receipt).ok(); ++i) {
        ASSERT_LT(i, 10'000);
        acked.push_back(receipt);
        if (i % 7 == 0) {
          Tick(**core);
        }
      }
      EXPECT_FALSE((*core)->status().ok());
    }
    ASSERT_GT(acked.size(), 50u);
    if (seed % 2 == 0) {
      files.CutPower();
    }
    files.SetCapacity(64 << 20);
    const auto core = LogCore::Open(options);
    ASSERT_TRUE(core.ok()) << "seed " << seed << ": " << core.status();
    const TrustPolicy policy = TrustPolicy::OfLog(signer_.verifier());
    const auto report = VerifyLog(files, "audit/log", policy, VerifyOptions());
    ASSERT_TRUE(report.ok());
    EXPECT_EQ(report->num_problems, 0u) << "seed " << seed;
    const auto shard = *ShardReader::Open(
        files, "audit/log" + (*core)->origin().substr(std::string(kName).size()), policy);
    for (const AuditReceipt& receipt : acked) {
      const auto leaf = shard->Read(receipt.index);
      ASSERT_TRUE(leaf.ok() && LeafHash(*leaf) == receipt.leaf_hash) << "seed " << seed;
    }
  }
}

}  // namespace
}  // namespace inferd
