// Every scenario of tests/scenarios runs, keeps the invariants and meets what it expects.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "tests/simulation/scenario_run.h"

namespace inferd::sim {
namespace {

std::vector<std::string> ScenarioFiles() {
  std::vector<std::string> files;
  for (const auto& entry :
       std::filesystem::directory_iterator(INFERD_SOURCE_DIR "/tests/scenarios")) {
    if (entry.path().extension() == ".scn") {
      files.push_back(entry.path().stem());
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

class Scenarios : public testing::TestWithParam<std::string> {};

TEST_P(Scenarios, DoWhatTheyExpect) {
  const std::string path = INFERD_SOURCE_DIR "/tests/scenarios/" + GetParam() + ".scn";
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  const auto scenario = ParseScenario(text.str(), path);
  ASSERT_TRUE(scenario.ok()) << scenario.status();
  EXPECT_EQ(scenario->name, GetParam());
  EXPECT_FALSE(scenario->description.empty());
  EXPECT_FALSE(scenario->expectations.empty());
  const ScenarioResult result = RunScenario(*scenario);
  EXPECT_TRUE(result.failures.empty()) << result.text;
}

INSTANTIATE_TEST_SUITE_P(All, Scenarios, testing::ValuesIn(ScenarioFiles()), [](const auto& file) {
  return file.param;
});

}  // namespace
}  // namespace inferd::sim
