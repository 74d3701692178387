// Goal: no change to a published log goes unseen, and what is wrong is named. Method: log_tamper.h,
// on a sample of its bytes; `make bench` changes every byte of a larger one.
#include "tests/crash/log_tamper.h"

#include <gtest/gtest.h>

#include "governance/audit/log_core.h"
#include "governance/verify/chain_checker.h"
#include "governance/verify/merkle.h"
#include "governance/verify/verifier.h"

namespace inferd {
namespace {

TEST(LogTamper, EveryChangeIsSeenAndNamed) {
  const TamperCounts counts = TamperWithEverything({});
  EXPECT_EQ(counts.missed, 0u) << counts.first;
  EXPECT_EQ(counts.misnamed, 0u) << counts.first;
  EXPECT_GT(counts.tried, 3000u);
}

// A log that its own key signed anew after leaves were dropped or changed: the chains tell.
class Chains : public testing::Test {
 protected:
  std::string Leaf(LeafType type, uint64_t tseq, const Digest& tprev, uint64_t adm = kNone) {
    LeafDraft draft;
    draft.type = type;
    draft.tenant = TenantId("acme");
    draft.rid = RequestId("01ARZ3NDEKTSV4RRFFQ69G5FAV");
    if (adm != kNone) {
      draft.admitted = AuditReceipt{.origin = "o", .index = adm, .leaf_hash = {}};
    }
    LeafChain chain{.origin = "o", .node = "n", .boot = "b"};
    chain.wall = WallTime(std::chrono::seconds(mono_seconds_));
    chain.since_boot = std::chrono::seconds(mono_seconds_);
    chain.tseq = tseq;
    chain.tprev = tprev;
    return *EncodeLeaf(draft, chain);
  }
  Digest Feed(const std::string& leaf) {
    const Digest hash = LeafHash(leaf);
    checker_.Add(
        index_++,
        leaf,
        hash,
        [this](ChainChecker::Kind, const std::string& what) { problems_.push_back(what); },
        [this](ChainChecker::Kind, const std::string& what) { warnings_.push_back(what); });
    return hash;
  }
  void SetUp() override { checker_.StartShard("o"); }

  static constexpr uint64_t kNone = ~uint64_t{0};
  ChainChecker checker_;
  uint64_t index_ = 0;
  int64_t mono_seconds_ = 1000;
  std::vector<std::string> problems_;
  std::vector<std::string> warnings_;
};

TEST_F(Chains, AGoodChain) {
  const Digest genesis = Feed(Leaf(LeafType::kLogGenesis, 0, Digest()));
  const Digest admitted = Feed(Leaf(LeafType::kInferenceAdmitted, 1, genesis));
  EXPECT_EQ(checker_.open().size(), 1u);
  Feed(Leaf(LeafType::kInferenceCompleted, 2, admitted, 1));
  EXPECT_TRUE(problems_.empty()) << problems_[0];
  EXPECT_TRUE(warnings_.empty());
  EXPECT_TRUE(checker_.open().empty());
}

TEST_F(Chains, GapsForksOrphansAndSilence) {
  const Digest genesis = Feed(Leaf(LeafType::kLogGenesis, 0, Digest()));
  Feed(Leaf(LeafType::kAdminAction, 2, genesis));  // 1 is missing
  EXPECT_EQ(problems_.size(), 1u);
  const Digest third = Feed(Leaf(LeafType::kAdminAction, 3, genesis));  // not its hash
  EXPECT_EQ(problems_.size(), 2u);
  Feed(Leaf(LeafType::kAdminAction, 3, third));  // 3 again
  EXPECT_EQ(problems_.size(), 3u);
  const Digest fifth = Feed(Leaf(LeafType::kAdminAction, 4, checker_.chains().at("acme").last));
  Feed(Leaf(LeafType::kInferenceCompleted, 5, fifth, 2));  // ends what never began
  EXPECT_EQ(problems_.size(), 4u);
  EXPECT_TRUE(warnings_.empty());
  mono_seconds_ += 91;
  Feed(Leaf(LeafType::kAdminAction, 6, checker_.chains().at("acme").last));
  EXPECT_EQ(warnings_.size(), 1u);  // a minute and a half without a heartbeat
  mono_seconds_ -= 50;
  Feed(Leaf(LeafType::kAdminAction, 7, checker_.chains().at("acme").last));
  EXPECT_EQ(warnings_.size(), 3u);  // both clocks went back
  Feed(Leaf(LeafType::kLogFrozen, 8, checker_.chains().at("acme").last));
  EXPECT_EQ(problems_.size(), 4u);
  Feed(Leaf(LeafType::kAdminAction, 9, checker_.chains().at("acme").last));
  EXPECT_EQ(problems_.size(), 5u);  // after the end
}

TEST_F(Chains, TheFirstLeafIsGenesis) {
  Feed(Leaf(LeafType::kAdminAction, 0, Digest()));
  EXPECT_EQ(problems_.size(), 1u);
}

}  // namespace
}  // namespace inferd
