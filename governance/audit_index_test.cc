// Goal: the index says what the log says, however it was folded: all at once, or piece by piece
// with restarts between. Method: random leaves from a seed, through the real encoder, in a list
// that stands for the log.
#include "governance/audit_index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "base/random.h"
#include "base/ulid.h"
#include "governance/audit/leaf.h"
#include "governance/vault_text.h"
#include "tests/support/temp_folder.h"

namespace inferd {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const WallTime kStart = *ParseTime("2026-11-21");

class ListReader final : public EntryReader {
 public:
  explicit ListReader(std::string origin) : origin_(std::move(origin)) {}
  const std::string& origin() const override { return origin_; }
  StatusOr<uint64_t> Size() override { return visible; }
  Status Visit(uint64_t first, uint64_t last, const Visitor& visit) override {
    for (uint64_t i = first; i < last; ++i) {
      RETURN_IF_ERROR(visit(i, leaves.at(i)));
    }
    return OkStatus();
  }
  void Add(const LeafDraft& draft, WallTime when = kStart) {
    LeafDraft whole = draft;
    if (whole.rid.value().empty()) {
      whole.rid = RequestId(MakeUlid(when, {}));
    }
    const auto leaf =
        EncodeLeaf(whole, {.origin = origin_, .node = "n", .boot = "b", .wall = when});
    EXPECT_TRUE(leaf.ok()) << leaf.status();
    leaves.push_back(*leaf);
    visible = leaves.size();
  }

  std::vector<std::string> leaves;
  uint64_t visible = 0;

 private:
  const std::string origin_;
};

LeafDraft Draft(LeafType type, const std::string& tenant = "acme") {
  LeafDraft draft;
  draft.type = type;
  draft.tenant = TenantId(tenant);
  return draft;
}

LeafDraft Completed(const std::string& tenant, uint64_t in, uint64_t out) {
  LeafDraft draft = Draft(LeafType::kInferenceCompleted, tenant);
  draft.model = ModelFacts{.ref = "tiny", .digest = Digest{}};
  draft.outcome = OutcomeFacts{.finish = "stop", .status = "OK"};
  draft.outcome->use = {.in = in, .out = out};
  draft.admitted = AuditReceipt{.index = 0};
  return draft;
}

LeafDraft RandomDraft(SplitMix64& random) {
  const std::string tenant = random.Below(2) == 0 ? "acme" : "blau";
  switch (random.Below(4)) {
    case 0: {
      LeafDraft draft = Draft(LeafType::kInferenceAdmitted, tenant);
      draft.input = InputFacts{.num_tokens = random.Below(100)};
      draft.model = ModelFacts{.ref = "tiny"};
      return draft;
    }
    case 1:
      return Completed(tenant, random.Below(100), random.Below(100));
    case 2: {
      LeafDraft draft = Draft(LeafType::kInferenceDenied, tenant);
      draft.outcome = OutcomeFacts{.status = "UNAVAILABLE", .err = "QUEUE_FULL"};
      return draft;
    }
    default: {
      LeafDraft draft = Draft(LeafType::kHoldSet, tenant);
      draft.actor = ActorFacts{.kind = "human", .id = "uid:7", .authn = "peercred"};
      return draft;
    }
  }
}

class AuditIndexTest : public ::testing::Test {
 protected:
  std::unique_ptr<AuditIndex> Open(const char* name = "audit.sqlite") const {
    auto index = AuditIndex::Open((root_ / name).string());
    EXPECT_TRUE(index.ok()) << index.status();
    return *std::move(index);
  }
  static std::vector<uint64_t> Indexes(AuditIndex& index, const IndexQuery& query) {
    std::vector<uint64_t> found;
    const auto rows = index.Search(query);
    EXPECT_TRUE(rows.ok()) << rows.status();
    for (const IndexRow& row : *rows) {
      found.push_back(row.index);
    }
    return found;
  }
  TempFolder folder_;
  const fs::path root_ = folder_.path();
};

TEST_F(AuditIndexTest, FindsByEveryField) {
  ListReader log("example.org/log");
  log.Add(Draft(LeafType::kInferenceAdmitted));
  log.Add(Completed("acme", 3, 4), kStart + std::chrono::hours(1));
  LeafDraft hold = Draft(LeafType::kHoldSet, "blau");
  hold.actor = ActorFacts{.kind = "human", .id = "uid:7", .authn = "peercred"};
  hold.subj = "hash";
  log.Add(hold, kStart + std::chrono::hours(2));
  const auto index = Open();
  EXPECT_EQ(*index->CatchUp(log), 3u);
  EXPECT_EQ(*index->CatchUp(log), 0u);
  EXPECT_THAT(Indexes(*index, {}), ElementsAre(2, 1, 0));
  EXPECT_THAT(Indexes(*index, {.oldest_first = true}), ElementsAre(0, 1, 2));
  EXPECT_THAT(Indexes(*index, {.tenant = "acme"}), ElementsAre(1, 0));
  EXPECT_THAT(Indexes(*index, {.type = "hold.set"}), ElementsAre(2));
  EXPECT_THAT(Indexes(*index, {.type_prefix = "inference."}), ElementsAre(1, 0));
  EXPECT_THAT(Indexes(*index, {.actor = "uid:7"}), ElementsAre(2));
  EXPECT_THAT(Indexes(*index, {.subj = "hash"}), ElementsAre(2));
  EXPECT_THAT(Indexes(*index, {.model = "tiny"}), ElementsAre(1));
  EXPECT_THAT(Indexes(*index, {.model = "sha256:" + Digest{}.Hex()}), ElementsAre(1));
  EXPECT_THAT(Indexes(*index, {.from = kStart + std::chrono::hours(1)}), ElementsAre(2, 1));
  EXPECT_THAT(Indexes(*index, {.to = kStart + std::chrono::hours(1)}), ElementsAre(0));
  EXPECT_THAT(Indexes(*index, {.tenant = "'; DROP TABLE leaves; --"}), ElementsAre());
  const IndexRow row = index->Search({.type = "inference.completed"})->at(0);
  EXPECT_EQ(row.origin, "example.org/log");
  EXPECT_EQ(row.tokens_in, 3u);
  EXPECT_EQ(row.tokens_out, 4u);
  EXPECT_EQ(row.finish, "stop");
  EXPECT_EQ(row.admitted, 0u);
}

TEST_F(AuditIndexTest, PagesCoverEverythingOnce) {
  ListReader first("log/0"), second("log/1");
  for (int i = 0; i < 7; ++i) {
    first.Add(Draft(LeafType::kInferenceAdmitted));
    second.Add(Draft(LeafType::kInferenceAdmitted));
  }
  const auto index = Open();
  ASSERT_TRUE(index->CatchUp(first).ok());
  ASSERT_TRUE(index->CatchUp(second).ok());
  for (const bool oldest_first : {false, true}) {
    IndexQuery query{.oldest_first = oldest_first, .rows_max = 3};
    std::vector<std::string> seen;
    for (;;) {
      const auto rows = *index->Search(query);
      if (rows.empty()) {
        break;
      }
      for (const IndexRow& row : rows) {
        seen.push_back(row.origin + std::to_string(row.index));
      }
      query.after = IndexQuery::Place{.origin = rows.back().origin, .index = rows.back().index};
    }
    EXPECT_EQ(seen.size(), 14u);
    EXPECT_EQ(std::set<std::string>(seen.begin(), seen.end()).size(), 14u);
    EXPECT_EQ(seen.front(), oldest_first ? "log/00" : "log/16");
  }
}

TEST_F(AuditIndexTest, SumsForReports) {
  ListReader log("log");
  log.Add(Completed("acme", 3, 4));
  log.Add(Completed("acme", 5, 6));
  log.Add(Completed("blau", 100, 100));
  for (int i = 0; i < 3; ++i) {
    LeafDraft denied = Draft(LeafType::kInferenceDenied);
    denied.outcome = OutcomeFacts{.status = "UNAVAILABLE", .err = "QUEUE_FULL"};
    log.Add(denied);
  }
  const auto index = Open();
  ASSERT_TRUE(index->CatchUp(log).ok());
  const auto usage = *index->Usage({.tenant = "acme"});
  ASSERT_EQ(usage.size(), 1u);
  EXPECT_EQ(usage[0].completed, 2u);
  EXPECT_EQ(usage[0].tokens_in, 8u);
  EXPECT_EQ(usage[0].tokens_out, 10u);
  const auto refusals = *index->Refusals({.tenant = "acme"});
  ASSERT_EQ(refusals.size(), 1u);
  EXPECT_EQ(refusals[0].reason, "QUEUE_FULL");
  EXPECT_EQ(refusals[0].count, 3u);
}

TEST_F(AuditIndexTest, ARebuildEqualsTheIncrementalIndex) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    SCOPED_TRACE(seed);
    SplitMix64 random(seed);
    ListReader log("log");
    for (int i = 0; i < 200; ++i) {
      log.Add(RandomDraft(random), kStart + std::chrono::seconds(i));
    }
    ASSERT_TRUE(RemoveAuditIndex((root_ / "grown.sqlite").string()).ok());
    ASSERT_TRUE(RemoveAuditIndex((root_ / "rebuilt.sqlite").string()).ok());
    auto grown = Open("grown.sqlite");
    const size_t all = log.leaves.size();
    log.visible = 0;
    while (log.visible < all) {
      log.visible = std::min<uint64_t>(all, log.visible + 1 + random.Below(40));
      ASSERT_TRUE(grown->CatchUp(log).ok());
      if (random.Below(3) == 0) {
        grown.reset();
        grown = Open("grown.sqlite");
      }
    }
    const auto rebuilt = Open("rebuilt.sqlite");
    ASSERT_EQ(*rebuilt->CatchUp(log), all);
    EXPECT_EQ(*rebuilt->ContentDigest(), *grown->ContentDigest());
  }
}

TEST_F(AuditIndexTest, ALeafThatIsNoneIsNamed) {
  ListReader log("log");
  log.Add(Draft(LeafType::kInferenceAdmitted));
  log.leaves.emplace_back("{\"t\":1}");
  log.visible = 2;
  const auto index = Open();
  const auto folded = index->CatchUp(log);
  EXPECT_EQ(folded.status().code(), StatusCode::kDataLoss);
  EXPECT_THAT(std::string(Message(folded.status())), HasSubstr("leaf 1"));
  for (const char* bad : {"", "[]", "1", "{", "{}", "\xff"}) {
    EXPECT_FALSE(RowOfLeaf(bad).ok()) << bad;
  }
}

}  // namespace
}  // namespace inferd
