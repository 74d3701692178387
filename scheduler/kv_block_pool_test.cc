// KvBlockPool: no block is lost, doubled or given twice, whatever the order of calls.
#include "scheduler/kv_block_pool.h"

#include <gtest/gtest.h>

#include <map>

#include "base/random.h"

namespace inferd {
namespace {

TEST(KvBlockPoolTest, HandsOutEveryBlockOnceThenNothing) {
  KvBlockPool pool(3);
  EXPECT_EQ(pool.Allocate(), 0u);
  EXPECT_EQ(pool.Allocate(), 1u);
  EXPECT_EQ(pool.Allocate(), 2u);
  EXPECT_EQ(pool.Allocate(), std::nullopt);
  EXPECT_EQ(pool.num_used(), 3);
  pool.Release(1);
  EXPECT_EQ(pool.Allocate(), 1u);
}

TEST(KvBlockPoolTest, BlockIsFreeWhenItsLastHolderLetsGo) {
  KvBlockPool pool(1);
  const BlockIndex block = *pool.Allocate();
  pool.AddReference(block);
  pool.Release(block);
  EXPECT_EQ(pool.num_free(), 0);
  EXPECT_EQ(pool.Allocate(), std::nullopt);
  pool.Release(block);
  EXPECT_EQ(pool.num_free(), 1);
}

TEST(KvBlockPoolTest, EmptyPoolHasNothing) {
  KvBlockPool pool(0);
  EXPECT_EQ(pool.Allocate(), std::nullopt);
  EXPECT_TRUE(pool.CheckIntegrity().ok());
}

TEST(KvBlockPoolDeathTest, ReleasingAFreeBlockIsABug) {
  KvBlockPool pool(2);
  EXPECT_DEATH(pool.Release(1), "CHECK failed");
  EXPECT_DEATH(pool.AddReference(1), "CHECK failed");
}

TEST(KvBlockPoolTest, RandomCallsConserveBlocks) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    SplitMix64 random(seed);
    KvBlockPool pool(static_cast<int64_t>(1 + random.Below(20)));
    std::map<BlockIndex, uint32_t> held;
    for (int call = 0; call < 500; ++call) {
      if (random.Below(2) == 0) {
        const std::optional<BlockIndex> block = pool.Allocate();
        ASSERT_EQ(block.has_value(), static_cast<int64_t>(held.size()) < pool.capacity());
        if (block.has_value()) {
          ASSERT_TRUE(held.emplace(*block, 1).second) << "seed " << seed;
        }
      } else if (!held.empty()) {
        const auto it = std::next(held.begin(), static_cast<int64_t>(random.Below(held.size())));
        if (random.Below(2) == 0) {
          pool.AddReference(it->first);
          ++it->second;
        } else {
          pool.Release(it->first);
          if (--it->second == 0) {
            held.erase(it);
          }
        }
      }
      ASSERT_EQ(pool.num_used(), static_cast<int64_t>(held.size())) << "seed " << seed;
      ASSERT_EQ(pool.num_free() + pool.num_used(), pool.capacity());
      ASSERT_TRUE(pool.CheckIntegrity().ok()) << pool.CheckIntegrity();
    }
  }
}

}  // namespace
}  // namespace inferd
