// Goal: what `inferctl top` and `request explain` say follows from what the daemon counted.
#include "client/queue_commands.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

namespace inferd {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

DaemonLoad LoadAt(int seconds, uint64_t a_tokens, uint64_t b_tokens) {
  DaemonLoad load;
  load.sampled_at = std::chrono::seconds(seconds);
  load.kv_blocks_total = 100;
  load.kv_blocks_used = 40;
  const auto tenant = [](const std::string& name, int64_t weight, uint64_t tokens, int64_t waits) {
    return TenantUse{.tenant = name,
                     .weight = weight,
                     .service_units = 2 * tokens,
                     .lead_units = 0,
                     .backlogged = waits > 0,
                     .over_served = false,
                     .models = {{.model = "m", .waiting = waits, .output_tokens = tokens}}};
  };
  load.tenants = {
      tenant("a", 3, a_tokens, 2), tenant("b", 1, b_tokens, 0), tenant("idle", 1, 9, 0)};
  return load;
}

TEST(Top, SharesAndRatesAreOfTheIntervalAlone) {
  const std::vector<TopRow> rows = TopRows(LoadAt(10, 100, 500), LoadAt(12, 400, 600));
  ASSERT_EQ(rows.size(), 2u);  // the idle tenant is left out
  EXPECT_EQ(rows[0].tenant, "a");
  EXPECT_DOUBLE_EQ(rows[0].share, 0.75);
  EXPECT_DOUBLE_EQ(rows[0].output_tokens_per_s, 150);
  EXPECT_EQ(rows[0].standing, "waits");
  EXPECT_DOUBLE_EQ(rows[1].share, 0.25);
  EXPECT_DOUBLE_EQ(rows[1].output_tokens_per_s, 50);
  std::ostringstream out;
  PrintTop(rows, LoadAt(12, 400, 600), true, out);
  EXPECT_THAT(out.str(), HasSubstr("kv blocks: 40 of 100 used"));
  EXPECT_THAT(out.str(), HasSubstr("75%"));
  const auto json = nlohmann::json::parse(TopJson(rows, LoadAt(12, 400, 600)));
  EXPECT_EQ(json.at("tenants").size(), 2u);
  EXPECT_EQ(json.at("tenants")[0].at("waiting"), 2);
}

TEST(Top, VersionsOfAModelAreRowsOfTheirOwn) {
  const auto load = [](int seconds, uint64_t first_tokens, uint64_t second_tokens) {
    DaemonLoad of_both;
    of_both.sampled_at = std::chrono::seconds(seconds);
    of_both.tenants = {
        {.tenant = "a",
         .models = {{.model = "m", .version = "1", .output_tokens = first_tokens},
                    {.model = "m", .version = "2", .running = 1, .output_tokens = second_tokens}}}};
    of_both.memory = {{"m", "1", 3, 1}, {"m", "2", 2, 1}};
    return of_both;
  };
  const std::vector<TopRow> rows = TopRows(load(10, 100, 40), load(12, 300, 50));
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_DOUBLE_EQ(rows[0].output_tokens_per_s, 100);
  EXPECT_DOUBLE_EQ(rows[1].output_tokens_per_s, 5);
  std::ostringstream out;
  PrintTop(rows, load(12, 300, 50), true, out);
  EXPECT_THAT(out.str(), HasSubstr("model m:1: weights 6"));
  EXPECT_THAT(out.str(), HasSubstr("model m:2: weights 4"));
  const auto json = nlohmann::json::parse(TopJson(rows, load(12, 300, 50)));
  EXPECT_EQ(json.at("tenants")[1].at("version"), "2");
  EXPECT_EQ(json.at("models")[1].at("version"), "2");
}

TEST(Explain, SaysWhoIsAheadAndWhatItNeeds) {
  WaitingChoice choice;
  choice.request_id = "r\x1b[2J-1";
  choice.tenant = "acme";
  choice.model = "m";
  choice.reason = "others_turn";
  choice.num_tenants_ahead = 1;
  choice.ahead = {{.tenant = "globex", .weight = 2, .behind_units = 512, .waiting = 3}};
  choice.units_ahead = 900;
  choice.starts_in = std::chrono::milliseconds(1500);
  choice.blocks_needed = 3;
  const std::string text = ExplainText(choice);
  EXPECT_THAT(text, HasSubstr("1 tenants that got less service by weight come first"));
  EXPECT_THAT(text, HasSubstr("ahead: globex, weight 2, 512 units behind, 3 waiting"));
  EXPECT_THAT(text, HasSubstr("starts in about 1.5 s"));
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));  // callers choose request ids
  const auto json = nlohmann::json::parse(ExplainJson({choice}));
  EXPECT_EQ(json.at("requests")[0].at("ahead")[0].at("tenant"), "globex");
  EXPECT_EQ(json.at("requests")[0].at("starts_in_s"), 1.5);
}

}  // namespace
}  // namespace inferd
