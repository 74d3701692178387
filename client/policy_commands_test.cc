// Goal: policy sets are checked, tested and compared from files alone, and the exit code tells a
// script what was found. Method: the first set that is delivered, and small changes to it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/file.h"
#include "client/commands.h"

namespace inferd {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

const std::string kFirst = INFERD_SOURCE_DIR "/deploy/policy/";

class PolicyCommands : public ::testing::Test {
 protected:
  ExitCode Run(std::vector<std::string> arguments) {
    std::istringstream in;
    out_.str("");
    err_.str("");
    Terminal terminal{.in = in, .out = out_, .err = err_};
    arguments.insert(arguments.begin(), "policy");
    arguments.insert(arguments.end(), {"--schema", kFirst + "inferd.cedarschema"});
    return RunInferctl(arguments, terminal);
  }
  std::string out() const { return out_.str(); }
  std::string err() const { return err_.str(); }

  // The first set with one text in place of another.
  std::string Changed(const std::string& from, const std::string& to) {
    std::string text = ReadFile(kFirst + "policies.cedar", 1 << 20).value();
    const size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos);
    text.replace(at, from.size(), to);
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    const std::string path = ::testing::TempDir() + test->name() + ".cedar";
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }

  const std::string policies_ = kFirst + "policies.cedar";
  const std::string entities_ = kFirst + "entities.json";
  const std::string tests_ = kFirst + "tests.jsonl";
  std::ostringstream out_, err_;
};

TEST_F(PolicyCommands, LintNamesTheSetAndItsMistakes) {
  EXPECT_EQ(Run({"lint", policies_}), ExitCode::kOk) << err();
  EXPECT_THAT(out(), StartsWith("sha256:"));
  EXPECT_THAT(err(), IsEmpty());
  EXPECT_EQ(Run({"lint", policies_, "-o", "json"}), ExitCode::kOk);
  EXPECT_EQ(nlohmann::json::parse(out()).at("rules"), 13);
  EXPECT_EQ(Run({"lint", Changed("context has purpose", "context.purpos")}), ExitCode::kFailure);
  EXPECT_THAT(out(), IsEmpty());
  EXPECT_THAT(err(), HasSubstr(".cedar: policies:"));
  EXPECT_EQ(Run({"lint", "/nowhere.cedar"}), ExitCode::kNotFound);
  EXPECT_EQ(Run({}), ExitCode::kUsage);
}

TEST_F(PolicyCommands, TestsFailWhereTheSetSaysOtherwise) {
  EXPECT_EQ(Run({"test", "--entities", entities_, policies_, tests_}), ExitCode::kOk) << err();
  EXPECT_THAT(out(), HasSubstr(" 0 failed\n"));
  const std::string lax =
      Changed("Inferd::Action::\"load_model\",\n    Inferd::Action::\"change_quota\",",
              "Inferd::Action::\"load_model\",");
  EXPECT_EQ(Run({"test", "--entities", entities_, lax, tests_}), ExitCode::kFailure);
  EXPECT_THAT(out(), HasSubstr("tests.jsonl:10: expected allow, got deny\n"));
  EXPECT_EQ(Run({"test", "--entities", tests_, policies_, tests_}), ExitCode::kFailure);
  EXPECT_THAT(err(), HasSubstr("entities"));
}

TEST_F(PolicyCommands, DiffAndSimulateShowWhatAChangeDoes) {
  const std::string after = Changed("== \"personal\"", "== \"public\"");
  EXPECT_EQ(Run({"diff", policies_, after}), ExitCode::kOk) << err();
  EXPECT_THAT(out(), StartsWith("- personal-data-has-a-purpose: "));
  EXPECT_EQ(Run({"diff", policies_, policies_}), ExitCode::kOk);
  EXPECT_THAT(out(), IsEmpty());
  EXPECT_EQ(Run({"simulate", "--entities", entities_, policies_, after, tests_}), ExitCode::kOk);
  EXPECT_THAT(out(), HasSubstr("was deny by personal-data-has-a-purpose, is allow by"));
  EXPECT_THAT(out(), HasSubstr("2 decided otherwise, 0 undecided\n"));
  EXPECT_EQ(Run({"simulate", "--entities", entities_, policies_, after, tests_, "-o", "json"}),
            ExitCode::kOk);
  EXPECT_EQ(nlohmann::json::parse(out()).at("different"), 2);
}

}  // namespace
}  // namespace inferd
