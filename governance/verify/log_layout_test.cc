// Goal: files lie where tlog-tiles says. Method: its own examples, and every name read back.
#include "governance/verify/log_layout.h"

#include <gtest/gtest.h>

#include "governance/verify/leaf_types.h"

namespace inferd {
namespace {

TEST(LogLayout, PathsAreThoseOfTheSpecification) {
  EXPECT_EQ(TilePath(0, 1234067), "tile/0/x001/x234/067");
  EXPECT_EQ(TilePath(1, 0, 17), "tile/1/000.p/17");
  EXPECT_EQ(BundlePath(273, 112), "tile/entries/273.p/112");
  EXPECT_EQ(BundlePath(1000), "tile/entries/x001/000");
}

TEST(LogLayout, ShardNamesReadBack) {
  const auto name = ShardName::Parse("2026q4.12");
  ASSERT_TRUE(name.ok()) << name.status();
  EXPECT_EQ(name->Text(), "2026q4.12");
  for (const char* bad : {"",
                          "2026q5.0",
                          "2026q0.0",
                          "2026q4",
                          "2026q4.",
                          "2026q4.01",
                          "2026q4.0x",
                          "q4.0",
                          "2026-4.0",
                          "+2026q4.0",
                          "99999q1.0",
                          "2026q4.-1"}) {
    EXPECT_EQ(ShardName::Parse(bad).status().code(), StatusCode::kInvalidArgument) << bad;
  }
  EXPECT_LT(*ShardName::Parse("2026q4.9"), *ShardName::Parse("2026q4.10"));
}

TEST(LeafTypes, NamesReadBack) {
  for (int i = 0; i <= static_cast<int>(LeafType::kConfigChanged); ++i) {
    const auto type = static_cast<LeafType>(i);
    EXPECT_EQ(LeafTypeFromName(Name(type)), type);
  }
  EXPECT_FALSE(LeafTypeFromName("log.unheard"));
  EXPECT_TRUE(IsLogType(LeafType::kLogGap));
  EXPECT_FALSE(IsLogType(LeafType::kConfigChanged));
}

}  // namespace
}  // namespace inferd
