// Goal: budgets after a restart are what the log says, to the token, and the ledger never disagrees
// with its log. Method: a ledger and a real log on a file system that loses power; random requests,
// crashes at random times, snapshots in between and shards that end; each time the fold from the
// last snapshot, the fold from the beginning and the ledger are compared.
#include "governance/quota_leaf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <memory>
#include <set>

#include "base/random.h"
#include "base/ulid.h"
#include "governance/audit/audit_writer.h"
#include "governance/quota/usage_report.h"
#include "governance/verify/shard_reader.h"
#include "governance/verify/trust_policy.h"
#include "tests/support/fake_file_system.h"

namespace inferd {
namespace {

constexpr char kName[] = "example.com/inferd-audit/n1";

class SteppedClock final : public Clock {
 public:
  TimePoint Now() const override { return TimePoint(Duration(nanos_.load())); }
  WallTime WallNow() const override {
    return StartOfDay(*ParseUtcDay("2026-11-20")) + Duration(nanos_.load() + step_.load());
  }
  void Advance(Duration by) { nanos_ += by.count(); }
  void StepWall(Duration by) { step_ += by.count(); }

 private:
  std::atomic<int64_t> nanos_{0};
  std::atomic<int64_t> step_{0};
};

// A node: its log, its ledger, and what a daemon does with both.
class QuotaLogTest : public testing::Test {
 protected:
  struct Running {
    QuotaReservation reservation;
    RequestId rid;
    AuditReceipt receipt;
  };

  void Open() {
    AuditLogOptions options;
    options.files = &files_;
    options.clock = &clock_;
    options.folder = "audit";
    options.name = kName;
    options.node = "n1";
    options.boot = "b";
    options.signer = &signer_;
    options.segment_bytes = 64 << 10;
    options.reserve_bytes = 0;
    options.shard_leaves_max = 120;
    auto log = LogCore::Open(options);
    ASSERT_TRUE(log.ok()) << log.status();
    log_ = *std::move(log);
    ASSERT_TRUE(log_->Publish().ok());
    ReadShards();
    auto fold = UsageFold::Restore(readers_);
    ASSERT_TRUE(fold.ok()) << fold.status();
    fold_ = *std::move(fold);
    EXPECT_EQ(fold_.num_open(), 0u);  // recovery ended them
    ledger_ = std::make_unique<QuotaLedger>(QuotaLedgerOptions{.clock = &clock_});
    ledger_->Restore(fold_.usage());
    ASSERT_TRUE(ledger_
                    ->SetLimits({{.id = "day",
                                  .scope = {.org = "o"},
                                  .metric = QuotaMetric::kTokensPerDay,
                                  .limit = 30'000},
                                 {.id = "t1/month",
                                  .scope = {.org = "o", .tenant = "t1", .model = "m0"},
                                  .metric = QuotaMetric::kTokensPerMonth,
                                  .limit = 20'000}})
                    .ok());
  }

  void Crash() {
    running_.clear();
    log_.reset();
    if (random_.Below(2) == 0) {
      files_.CutPower();
    } else {
      files_.Restart();
    }
  }

  void ReadShards() {
    shards_.clear();
    readers_.clear();
    const TrustPolicy policy = TrustPolicy::OfLog(signer_.verifier());
    std::set<ShardName> names;
    const auto listed = files_.List("audit/log");
    ASSERT_TRUE(listed.ok()) << listed.status();
    for (const std::string& name : *listed) {
      if (const auto parsed = ShardName::Parse(name); parsed.ok()) {
        names.insert(*parsed);
      }
    }
    for (const ShardName& name : names) {
      auto shard = ShardReader::Open(files_, "audit/log/" + name.Text(), policy);
      ASSERT_TRUE(shard.ok()) << shard.status();
      readers_.push_back(shard->get());
      shards_.push_back(*std::move(shard));
    }
  }

  StatusOr<AuditReceipt> Append(LeafDraft draft) {
    StatusOr<AuditReceipt> result = ErrorF(StatusCode::kInternal, "no answer");
    std::vector<LogCore::Entry> entries;
    draft.rid = draft.rid.value().empty() ? RequestId(NewUlid(clock_.WallNow())) : draft.rid;
    entries.push_back(
        {std::move(draft), [&result](StatusOr<AuditReceipt> given) { result = std::move(given); }});
    log_->Commit(std::move(entries));
    log_->RotateIfDue();
    return result;
  }

  void Admit() {
    const QuotaAccount account{.org = "o",
                               .tenant = "t" + std::to_string(random_.Below(3)),
                               .project = random_.Below(2) == 0 ? "" : "p",
                               .key = "k",
                               .model = "m" + std::to_string(random_.Below(2))};
    const QuotaAmounts asked{.in = random_.Below(50), .out = random_.Below(500), .conc = 1};
    QuotaDecision decision = ledger_->Reserve(account, asked);
    LeafDraft draft;
    draft.tenant = TenantId(account.tenant);
    if (!decision.reservation) {
      draft.type = LeafType::kInferenceDenied;
      draft.quota = DeniedFacts(asked, decision.refusal);
      EXPECT_FALSE(draft.quota->hit.empty());
      EXPECT_TRUE(Append(draft).ok());
      return;
    }
    if (random_.Below(8) == 0) {
      decision.reservation->Cancel();  // the engine had no room: no admitted leaf
      return;
    }
    draft.type = LeafType::kInferenceAdmitted;
    draft.quota = ReservedFacts(*decision.reservation);
    Start(std::move(draft), *std::move(decision.reservation));
  }

  void Start(LeafDraft draft, QuotaReservation reservation) {
    draft.rid = RequestId(NewUlid(clock_.WallNow()));
    const RequestId rid = draft.rid;
    auto receipt = Append(std::move(draft));
    ASSERT_TRUE(receipt.ok()) << receipt.status();
    running_.push_back({std::move(reservation), rid, *std::move(receipt)});
  }

  void End() {
    const size_t which = random_.Below(running_.size());
    Running running = std::move(running_[which]);
    running_.erase(running_.begin() + static_cast<ptrdiff_t>(which));
    const QuotaAmounts& bound = running.reservation.upper_bound();
    const QuotaSettlement settlement =
        running.reservation.Settle({.in = bound.in, .out = random_.Below(bound.out + 1)});
    LeafDraft draft;
    draft.type = LeafType::kInferenceCompleted;
    draft.tenant = TenantId(running.reservation.account().tenant);
    draft.rid = running.rid;
    draft.admitted = running.receipt;
    draft.outcome = OutcomeFacts{.settle = settlement.charged};
    ASSERT_TRUE(Append(draft).ok());
  }

  // The fold that runs along, as far as the log is published.
  void Follow() {
    ASSERT_TRUE(log_->Publish().ok());
    ReadShards();
    size_t first = 0;
    for (size_t i = 0; i < readers_.size(); ++i) {
      first = readers_[i]->origin() == fold_.place().origin ? i : first;
    }
    for (size_t i = first; i < readers_.size(); ++i) {
      const auto added = fold_.CatchUp(*readers_[i]);
      ASSERT_TRUE(added.ok()) << added.status();
    }
  }

  void CheckAll() {
    Follow();
    const LedgerCheck check = ledger_->Check(fold_.usage());
    EXPECT_EQ(check.difference, 0u);
    EXPECT_EQ(check.num_behind, 0u);
    UsageFold whole;
    for (EntryReader* reader : readers_) {
      ASSERT_TRUE(whole.CatchUp(*reader).ok());
    }
    EXPECT_EQ(whole.usage(), fold_.usage());
    EXPECT_EQ(whole.num_open(), running_.size());
    CheckReport();
    const auto restored = UsageFold::Restore(readers_);
    ASSERT_TRUE(restored.ok()) << restored.status();
    EXPECT_EQ(restored->usage(), fold_.usage());
    EXPECT_EQ(restored->num_open(), running_.size());
  }

  // The report of all days has the current day's and month's sums of every account.
  void CheckReport() {
    UsageReport& report = report_;
    for (EntryReader* reader : readers_) {
      ASSERT_TRUE(report.CatchUp(*reader).ok());
    }
    uint64_t num_open = 0;
    std::map<QuotaAccount, BudgetUse> days;
    std::map<QuotaAccount, BudgetUse> months;
    for (const auto& [key, sums] : report.rows()) {
      num_open += sums.open;
      const auto found = fold_.usage().find(key.account);
      ASSERT_NE(found, fold_.usage().end());
      const QuotaAmounts amounts = {.in = sums.input_tokens, .out = sums.output_tokens};
      if (key.day == found->second.day) {
        days[key.account].Add(amounts);
      }
      if (MonthOf(key.day) == found->second.month) {
        months[key.account].Add(amounts);
      }
    }
    EXPECT_EQ(num_open, running_.size());
    for (const auto& [account, usage] : fold_.usage()) {
      EXPECT_EQ(days[account], usage.of_day);
      EXPECT_EQ(months[account], usage.of_month);
    }
  }

  FakeFileSystem files_{7};
  NoteSigner signer_ = *NoteSigner::Generate(kName);
  SteppedClock clock_;
  SplitMix64 random_{11};
  UsageReport report_;  // runs along
  std::unique_ptr<LogCore> log_;
  UsageFold fold_;
  std::vector<std::unique_ptr<ShardReader>> shards_;
  std::vector<EntryReader*> readers_;
  std::unique_ptr<QuotaLedger> ledger_;
  std::vector<Running> running_;
};

TEST_F(QuotaLogTest, BudgetsAreTheSumOfTheLogWhateverHappens) {
  Open();
  int restarts = 0;
  for (int step = 0; step < 600 && !HasFailure(); ++step) {
    clock_.Advance(std::chrono::minutes(random_.Below(20)));
    const uint64_t action = random_.Below(100);
    if (action < 50) {
      Admit();
    } else if (action < 93) {
      if (!running_.empty()) {
        End();
      }
    } else if (action < 95) {
      Follow();
      for (LeafDraft& draft : SnapshotDrafts(fold_)) {
        EXPECT_TRUE(Append(std::move(draft)).ok());
      }
    } else if (action < 97) {
      CheckAll();
    } else if (action < 98) {
      clock_.StepWall(std::chrono::hours(static_cast<int64_t>(random_.Below(40)) - 30));
    } else {
      Crash();
      Open();
      ++restarts;
    }
  }
  CheckAll();
  EXPECT_GT(restarts, 5);
  EXPECT_GT(readers_.size(), 3u);
  Crash();
}

TEST_F(QuotaLogTest, ASnapshotOfManyAccountsIsSeveralLeaves) {
  Open();
  const LogPlace place = fold_.place();
  for (int i = 0; i < 200; ++i) {
    const std::string name = std::string(50, 'n') + std::to_string(i);
    QuotaDecision decision = ledger_->Reserve(
        {.org = "o", .tenant = name, .key = name, .model = name}, {.in = 1, .out = 1, .conc = 1});
    LeafDraft draft;
    draft.type = LeafType::kInferenceAdmitted;
    draft.tenant = TenantId(name);
    draft.quota = ReservedFacts(*decision.reservation);
    Start(std::move(draft), *std::move(decision.reservation));
  }
  Follow();
  const std::vector<LeafDraft> drafts = SnapshotDrafts(fold_);
  EXPECT_GT(drafts.size(), 2u);
  for (const LeafDraft& draft : drafts) {
    EXPECT_TRUE(Validate(draft).ok());
  }
  // One that a crash cut short is not taken.
  ASSERT_TRUE(Append(drafts[0]).ok());
  ASSERT_TRUE(Append(drafts[2]).ok());
  CheckAll();
  for (const LeafDraft& draft : drafts) {
    ASSERT_TRUE(Append(draft).ok());
  }
  CheckAll();
  EXPECT_NE(place, fold_.place());
  Crash();
}

TEST(UsageFold, RefusesWhatSettlesMoreThanWasReserved) {
  const auto leaf = [](LeafType type, uint64_t out) {
    LeafDraft draft;
    draft.type = type;
    draft.tenant = TenantId("t");
    draft.rid = RequestId(NewUlid(WallTime()));
    if (type == LeafType::kInferenceAdmitted) {
      draft.quota = QuotaFacts{.dec = "reserved",
                               .acct = QuotaAccountFacts{.org = "o"},
                               .win = "2026-11-21",
                               .res = {.out = out}};
    } else {
      draft.admitted = AuditReceipt{.origin = "o", .index = 0, .leaf_hash = {}};
      draft.outcome = OutcomeFacts{.settle = {.out = out}};
    }
    return *EncodeLeaf(draft, {.origin = "o", .node = "n", .boot = "b"});
  };
  UsageFold fold;
  ASSERT_TRUE(fold.Add("o", 0, leaf(LeafType::kInferenceAdmitted, 5)).ok());
  EXPECT_EQ(fold.Add("o", 1, leaf(LeafType::kInferenceCompleted, 6)).code(), StatusCode::kDataLoss);
  UsageFold good;
  ASSERT_TRUE(good.Add("o", 0, leaf(LeafType::kInferenceAdmitted, 5)).ok());
  ASSERT_TRUE(good.Add("o", 1, leaf(LeafType::kInferenceCompleted, 3)).ok());
  ASSERT_TRUE(good.Add("o", 2, leaf(LeafType::kInferenceCompleted, 3)).ok());  // again: nothing
  EXPECT_EQ(good.usage().begin()->second.of_day.tokens, 3u);
  EXPECT_EQ(fold.Add("o", 2, "{}").code(), StatusCode::kDataLoss);
}

}  // namespace
}  // namespace inferd
