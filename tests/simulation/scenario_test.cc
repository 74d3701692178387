// The scenario format: what it means, that text and scenario go back and forth, and that what is no
// scenario is an error that says where.
#include "tests/simulation/scenario.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "base/random.h"
#include "tests/simulation/scenario_line.h"

namespace inferd::sim {
namespace {

constexpr char kExample[] = R"(# name: example
# description: everything the format has
seed 7
device step_tokens=256 running=8 in_flight=2 canonical_chunks host_percent=50 step=5ms  # fast
policy vtc
model chat blocks=40 context=2048
model mixed blocks=40 window=128 window_blocks=9 slots=4 loading
tenant acme weight=3 guaranteed=4
tenant hog queue=10 strict shared_cache

at 10ms acme submits hello prompt=100 output=20 max=80 shares=manual:64+notes:10 deadline=2s
at 0s   hog submits 3 requests prompt=8..16 output=30 model=mixed class=batch deterministic
from 1s to 2s acme submits every 250ms prompt=5 output=6
from 1s to 9s hog submits about every 1s prompt=5 output=6
at 20ms hello cancels
at 5ms hog stops reading for 1.5s
at 0s loads mixed
at 8s fault
at 8s unloads chat
at 9s drain
expect hello ends before hog.1
expect gap acme hog <= 20000
expect acme ttft.p50 <= 1.5s
expect device blocks_held = 0
)";

TEST(Scenario, SaysWhatHappensInOrderOfTime) {
  const auto scenario = ParseScenario(kExample, "example.scn");
  ASSERT_TRUE(scenario.ok()) << scenario.status();
  EXPECT_EQ(scenario->name, "example");
  const Workload& workload = scenario->workload;
  EXPECT_EQ(workload.seed, 7);
  EXPECT_EQ(workload.device.in_flight_max, 2);
  EXPECT_EQ(workload.device.time.base_ns, 5'000'000);
  EXPECT_TRUE(workload.device.cut_at_blocks);
  EXPECT_EQ(workload.policy.kind, PolicyKind::kVtc);
  ASSERT_EQ(workload.models.size(), 2);
  EXPECT_EQ(workload.models[1].groups.size(), 3);
  EXPECT_EQ(workload.models[1].groups[2].kind, StateKind::kSlot);
  EXPECT_EQ(workload.tenants[0].weight, 3);
  EXPECT_TRUE(workload.tenants[1].strict);
  ASSERT_GE(workload.submissions.size(), 8);
  EXPECT_EQ(workload.submissions[0].name, "hog.1");
  EXPECT_EQ(workload.submissions[0].model, 1);
  EXPECT_TRUE(workload.submissions[0].deterministic);
  EXPECT_GE(workload.submissions[0].prompt_tokens, 8);
  EXPECT_LE(workload.submissions[0].prompt_tokens, 16);
  const Submission& hello = workload.submissions[3];
  EXPECT_EQ(hello.name, "hello");
  EXPECT_EQ(hello.output_max, 80);
  EXPECT_EQ(hello.shared.size(), 2);
  EXPECT_EQ(hello.deadline, std::chrono::seconds(2));
  ASSERT_EQ(workload.disturbances.size(), 8);  // the stall is hog's three requests
  EXPECT_EQ(workload.disturbances[0].model, 1);
  EXPECT_EQ(workload.disturbances[1].lasting, std::chrono::milliseconds(1500));
  EXPECT_EQ(workload.disturbances[4].submission, 3);
  ASSERT_EQ(scenario->expectations.size(), 4);
  EXPECT_EQ(scenario->expectations[2].value, 1.5);
}

TEST(Scenario, TextAndScenarioGoBackAndForth) {
  const auto scenario = ParseScenario(kExample, "example.scn");
  ASSERT_TRUE(scenario.ok()) << scenario.status();
  const std::string text = ToText(*scenario);
  const auto again = ParseScenario(text, "text");
  ASSERT_TRUE(again.ok()) << again.status() << "\n" << text;
  EXPECT_EQ(ToText(*again), text);
  EXPECT_EQ(again->workload.submissions.size(), scenario->workload.submissions.size());
  EXPECT_EQ(PromptOf(again->workload, 3, 1000), PromptOf(scenario->workload, 3, 1000));
}

TEST(Scenario, EqualContentsAreEqualTokens) {
  const auto scenario = ParseScenario(
      "model m blocks=9\ntenant a\ntenant b\n"
      "at 0s a submits x prompt=90 output=1 shares=page:64\n"
      "at 0s b submits y prompt=90 output=1 shares=page:64\n",
      "shares");
  ASSERT_TRUE(scenario.ok()) << scenario.status();
  const auto x = PromptOf(scenario->workload, 0, 1000);
  const auto y = PromptOf(scenario->workload, 1, 1000);
  ASSERT_EQ(x.size(), 90);
  EXPECT_TRUE(std::equal(x.begin(), x.begin() + 64, y.begin()));
  EXPECT_FALSE(std::equal(x.begin() + 64, x.end(), y.begin() + 64));
}

TEST(Scenario, ErrorsSayWhereAndWhat) {
  struct Case {
    const char* line;
    const char* error;
  };
  const std::string head =
      "model m blocks=9\ntenant acme\nat 0s acme submits r prompt=1 output=1\n";
  for (const Case& bad : {
           Case{"tennant x", "bad:4:1: a line begins with"},
           Case{"tenant 9x", "bad:4:8: the tenant's name"},
           Case{"tenant acme", "bad:4:12: this name is taken"},
           Case{"tenant x wieght=2", "bad:4:10: `wieght` is unknown here; there is: weight"},
           Case{"tenant x weight=2 weight=2", "bad:4:19: `weight` stands there twice"},
           Case{"tenant x weight=0", "bad:4:17: `weight` should be a number"},
           Case{"tenant x strict=1", "bad:4:10: `strict` takes no value"},
           Case{"at 5 acme submits x prompt=1 output=1", "bad:4:4: when should be a time"},
           Case{"at 5s nobody submits x prompt=1 output=1", "bad:4:7: expected: a tenant"},
           Case{"at 5s acme submits x prompt=1", "`prompt=` and `output=` are needed"},
           Case{"at 5s acme submits x prompt=9..1 output=1", "bad:4:29: `prompt` should be"},
           Case{"at 5s acme submits x prompt=1 output=5 max=4", "`max` is less"},
           Case{"at 5s acme submits r prompt=1 output=1", "the name `r` is taken"},
           Case{"at 5s acme submits x prompt=1 output=1 model=n", "bad:4:40: no such model"},
           Case{"at 5s ghost cancels", "bad:4:7: no request is meant"},
           Case{"at 5s r stops writing for 5s", "bad:4:15: `reading` should stand here"},
           Case{"from 0s to 9s acme submits every 0s prompt=1 output=1", "time between them"},
           Case{"expect r finishes", "bad:4:10: unknown metric"},
           Case{"expect r finished < 2", "bad:4:19: <=, >= or ="},
           Case{"expect acme ttft.p50 <= soon", "bad:4:25: a number"},
           Case{"policy lottery", "bad:4:8: the policy is fair"},
           Case{"model n", "needs `blocks=`"},
           Case{"model n blocks=3 window=7", "go together"},
           Case{"device in_flight=3", "bad:4:18: `in_flight` should be a number"},
       }) {
    const auto scenario = ParseScenario(head + bad.line + "\n", "bad");
    ASSERT_FALSE(scenario.ok()) << bad.line;
    EXPECT_EQ(scenario.status().code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(Message(scenario.status())), testing::HasSubstr(bad.error)) << bad.line;
  }
  EXPECT_FALSE(ParseScenario("", "empty").ok());
}

TEST(Scenario, TimesAreExactBothWays) {
  for (const char* text : {"1.5s", "667ms", "20us", "800ns", "2m", "0.000000001s", "0s"}) {
    const auto time = ParseTime(text);
    ASSERT_TRUE(time) << text;
    EXPECT_EQ(ParseTime(TimeText(*time)), time) << text;
  }
  for (const char* text :
       {"", "s", "5", "1.s", "1..5s", "-1s", "0.1ns", "99999999999999999s", "25000m"}) {
    EXPECT_FALSE(ParseTime(text)) << text;
  }
}

// Random damage to a good text: an error or a scenario, never a crash, and what is a scenario
// comes back from its own text.
TEST(Scenario, DamagedTextIsAnErrorOrAScenario) {
  SplitMix64 random(3);
  const std::string good = kExample;
  int accepted = 0;
  for (int trial = 0; trial < 3000; ++trial) {
    std::string text = good;
    const uint64_t edits = 1 + random.Below(3);
    for (uint64_t edit = 0; edit < edits; ++edit) {
      const size_t place = random.Below(text.size());
      switch (random.Below(3)) {
        case 0:
          text[place] = static_cast<char>(32 + random.Below(95));
          break;
        case 1:
          text.erase(place, 1 + random.Below(12));
          break;
        default:
          text.insert(place, good.substr(random.Below(good.size()), random.Below(12)));
      }
    }
    const auto scenario = ParseScenario(text, "damaged");
    if (scenario.ok() && scenario->workload.submissions.size() < 1000) {
      ++accepted;
      const std::string written = ToText(*scenario);
      const auto again = ParseScenario(written, "again");
      ASSERT_TRUE(again.ok()) << again.status() << "\n" << text << "\n" << written;
      EXPECT_EQ(ToText(*again), written);
    }
  }
  EXPECT_GT(accepted, 100);
}

}  // namespace
}  // namespace inferd::sim
