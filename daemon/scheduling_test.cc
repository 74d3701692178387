// Goal: the engine is told what the config says: classes, limits and what is set aside.
#include "daemon/scheduling.h"

#include <gtest/gtest.h>

namespace inferd {
namespace {

TEST(Scheduling, ZeroInTheConfigIsNoBound) {
  const EngineOptions options = ToEngineOptions(Config{});
  EXPECT_EQ(options.waiting_prompt_tokens_max, kUnlimited);
  EXPECT_EQ(options.paused_state_max, Duration::max());
  ASSERT_EQ(options.classes.size(), 1u);
  EXPECT_FALSE(options.classes[0].first_token.has_value());
  EXPECT_EQ(options.speculation.draft_tokens_max, 0);
}

TEST(Scheduling, PreemptedKvGoesToTheHostUnlessTheConfigSaysNo) {
  Config config;
  EXPECT_EQ(ToEngineOptions(config).swap_bytes, int64_t{1} << 30);
  config.kv_swap_bytes_max = 0;
  EXPECT_EQ(ToEngineOptions(config).swap_bytes, 0);
}

TEST(Scheduling, ClassesAreFoundByTheirTenants) {
  Config config;
  config.scheduler.classes = {{.name = "chat", .first_token = std::chrono::seconds(2)},
                              {.name = "batch", .order = 4, .queue_max = std::chrono::hours(1)}};
  config.scheduler.tenants = {{.name = "night", .service_class = "batch"}, {.name = "day"}};
  const EngineOptions options = ToEngineOptions(config);
  ASSERT_EQ(options.classes.size(), 2u);
  EXPECT_EQ(options.classes[0].first_token, std::chrono::seconds(2));
  EXPECT_FALSE(options.classes[0].queue_max.has_value());
  EXPECT_EQ(options.classes[1].order, 4);
  const TenantClasses classes(config);
  EXPECT_EQ(classes.ClassOf(TenantId("night")), 1);
  EXPECT_EQ(classes.ClassOf(TenantId("day")), 0);
  EXPECT_EQ(classes.ClassOf(TenantId("stranger")), 0);
}

TEST(Scheduling, GuaranteesAndPublicPrefixesAreSetAside) {
  Config config;
  config.scheduler.tenants = {{.name = "a", .cached_blocks_guaranteed = 10},
                              {.name = "b", .cached_blocks_guaranteed = 5}};
  config.public_tokens_max = 100;
  config.public_prefixes = {{.model = "m", .path = "p"}};
  EXPECT_EQ(ReservedBlocks(config, "m"), 17);
  EXPECT_EQ(ReservedBlocks(config, "other"), 15);
}

}  // namespace
}  // namespace inferd
