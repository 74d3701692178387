#include "engine/slab_budget.h"

#include <gtest/gtest.h>

namespace inferd::engine_internal {
namespace {

TEST(SlabBudget, CountsWholeSlabsAndKeepsToItsCapacity) {
  SlabBudget budget(4 * kSlabBytes + 1);
  EXPECT_EQ(budget.capacity(), 4);
  EXPECT_TRUE(budget.Take(ModelSlot(0), "a", {.weight_bytes = 1, .kv_bytes = kSlabBytes}).ok());
  EXPECT_EQ(budget.used(), 2);
  EXPECT_EQ(budget.Take(ModelSlot(1), "b", {.weight_bytes = 2 * kSlabBytes, .kv_bytes = 1}).code(),
            StatusCode::kResourceExhausted);
  EXPECT_EQ(budget.used(), 2);
  // What a model takes anew replaces what it had.
  EXPECT_TRUE(budget.Take(ModelSlot(0), "a", {.weight_bytes = 3 * kSlabBytes, .kv_bytes = 1}).ok());
  EXPECT_EQ(budget.used(), 4);
  EXPECT_EQ(budget.uses(), (std::vector<MemoryUse>{{"a", 3, 1}}));
  budget.Give(ModelSlot(0));
  EXPECT_EQ(budget.used(), 0);
}

TEST(SlabBudget, WithoutABoundItOnlyCounts) {
  SlabBudget budget(0);
  EXPECT_TRUE(
      budget.Take(ModelSlot(0), "a", {.weight_bytes = int64_t{1} << 50, .kv_bytes = 0}).ok());
  EXPECT_EQ(budget.used(), int64_t{1} << 29);
}

}  // namespace
}  // namespace inferd::engine_internal
