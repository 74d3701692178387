// Goal: what an administrator sets holds over the configuration, outlives the process, and never
// takes effect without its record. Method: a file system that loses power, and records that fail.
#include "governance/quota/quota_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/fake_file_system.h"

namespace inferd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

QuotaLimit Limit(const std::string& id, uint64_t units) {
  return {.id = id,
          .scope = {.org = "o", .tenant = "t"},
          .metric = QuotaMetric::kOutputTokensPerMinute,
          .limit = units};
}

class QuotaStoreTest : public testing::Test {
 protected:
  QuotaStore& Open() {
    store_.reset();
    auto store = QuotaStore::Open(
        {.files = files_,
         .folder = "quota",
         .record =
             [this](const QuotaChange& change) {
               if (fails_) {
                 return ErrorF(StatusCode::kUnavailable, "no log");
               }
               records_.push_back(change.actor + (change.removed ? " -" : " +") + change.limit.id);
               return OkStatus();
             },
         .apply =
             [this](std::vector<QuotaLimit> limits) {
               if (full_) {
                 return ErrorF(StatusCode::kResourceExhausted, "too many");
               }
               applied_ = std::move(limits);
               return OkStatus();
             }},
        {Limit("a", 1), Limit("b", 2)});
    EXPECT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
    return *store_;
  }

  FakeFileSystem files_{1};
  bool fails_ = false;
  bool full_ = false;
  std::vector<std::string> records_;
  std::vector<QuotaLimit> applied_;
  std::unique_ptr<QuotaStore> store_;
};

TEST_F(QuotaStoreTest, WhatIsSetHoldsOverTheConfigurationAndLasts) {
  QuotaLimit raised = Limit("a", 100);
  raised.raise = QuotaRaise{.limit = 200, .burst = 300, .until = WallTime(std::chrono::hours(5))};
  raised.mode = QuotaMode::kWarn;
  raised.scope.model = "m";
  EXPECT_TRUE(Open().Set("uid:1", raised).ok());
  EXPECT_TRUE(store_->Set("uid:1", Limit("c", 3)).ok());
  const std::vector<QuotaLimit> expected = {raised, Limit("b", 2), Limit("c", 3)};
  EXPECT_EQ(applied_, expected);
  EXPECT_THAT(records_, ElementsAre("uid:1 +a", "uid:1 +c"));
  EXPECT_EQ(Open().limits(), expected);
  EXPECT_TRUE(store_->Remove("uid:2", "a").ok());
  EXPECT_EQ(applied_, (std::vector<QuotaLimit>{Limit("a", 1), Limit("b", 2), Limit("c", 3)}));
  EXPECT_EQ(Open().limits(), applied_);
  EXPECT_EQ(store_->Remove("uid:2", "b").code(), StatusCode::kNotFound);
}

TEST_F(QuotaStoreTest, NothingHappensWithoutItsRecord) {
  Open();
  fails_ = true;
  EXPECT_EQ(store_->Set("uid:1", Limit("a", 100)).code(), StatusCode::kUnavailable);
  EXPECT_TRUE(applied_.empty());
  fails_ = false;
  EXPECT_EQ(Open().limits(), (std::vector<QuotaLimit>{Limit("a", 1), Limit("b", 2)}));
}

TEST_F(QuotaStoreTest, RefusesWhatIsNoLimit) {
  Open();
  QuotaLimit limit = Limit("a", 100);
  limit.id = "two words";
  EXPECT_EQ(store_->Set("uid:1", limit).code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(records_.empty());
  EXPECT_FALSE(store_->Reconfigure({Limit("a", 1), Limit("a", 2)}).ok());
  EXPECT_TRUE(store_->Reconfigure({Limit("a", 7)}).ok());
  EXPECT_EQ(applied_, std::vector<QuotaLimit>{Limit("a", 7)});
}

TEST_F(QuotaStoreTest, AConfigurationThatIsRefusedLeavesTheOneBefore) {
  EXPECT_TRUE(Open().Set("uid:1", Limit("b", 9)).ok());
  full_ = true;
  EXPECT_EQ(store_->Reconfigure({Limit("a", 7)}).code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(store_->limits(), (std::vector<QuotaLimit>{Limit("a", 1), Limit("b", 9)}));
  // What is no change asks nobody.
  EXPECT_TRUE(store_->Reconfigure({Limit("b", 2), Limit("a", 1)}).ok());
  full_ = false;
  // An administrator's limit holds over that of another configuration, too.
  EXPECT_TRUE(store_->Reconfigure({Limit("a", 7), Limit("b", 8)}).ok());
  EXPECT_EQ(applied_, (std::vector<QuotaLimit>{Limit("a", 7), Limit("b", 9)}));
}

TEST_F(QuotaStoreTest, AFileThatIsNotItsOwnStopsTheStart) {
  EXPECT_TRUE(Open().Set("uid:1", Limit("c", 3)).ok());
  for (const char* line : {"{\"id\":\"c\"}\n",
                           "no JSON\n",
                           "{\"id\":\"c\",\"org\":\"o\",\"metric\":\"otpm\",\"limit\":-3}\n",
                           R"({"id":"c","org":"o","metric":"otpm","limit":3,"x":1})"}) {
    EXPECT_FALSE(ParseQuotaLimit(line).ok()) << line;
  }
  const auto parsed = ParseQuotaLimit(ToJson(Limit("c", 3)));
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(*parsed, Limit("c", 3));
}

}  // namespace
}  // namespace inferd
