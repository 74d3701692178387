// The plans made for the first requests of each trace, as hashes that must not change unnoticed:
// same log, same plans, byte for byte. A change of policy rewrites them:
// UPDATE_GOLDEN=1 simulation_test --gtest_filter='PlanHashes*'
#include <absl/strings/str_format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#include "tests/simulation/experiments.h"
#include "tests/simulation/scenario_words.h"
#include "tests/simulation/simulation.h"

namespace inferd::sim {
namespace {

constexpr char kGolden[] = INFERD_SOURCE_DIR "/tests/simulation/plan_hashes.tsv";
constexpr size_t kRequests = 60;
constexpr int32_t kPromptMax = 3000;  // so that all of them fit the device
constexpr int32_t kOutputMax = 60;

TEST(PlanHashes, OfTheTracesAreAsRecorded) {
  const std::string folder = TraceDir();
  if (folder.empty()) {
    GTEST_SKIP() << "no traces here: set INFERD_TRACES to the folder that holds them";
  }
  std::string table = "# trace\tpolicy\tsteps\thash of all plans\n";
  for (const char* name : {"azure_2023_code.csv",
                           "azure_2023_conv.csv",
                           "mooncake_conversation.jsonl",
                           "vtc_27_tenants.jsonl",
                           "vtc_2_clients_FCFS.jsonl"}) {
    auto trace = ReadTrace(folder + "/" + name);
    ASSERT_TRUE(trace.ok()) << trace.status();
    trace->resize(kRequests);
    for (TraceRequest& request : *trace) {
      request.prompt_tokens = std::min(request.prompt_tokens, kPromptMax);
      request.output_tokens = std::min(request.output_tokens, kOutputMax);
    }
    for (const PolicyKind policy : {PolicyKind::kFair, PolicyKind::kVtc}) {
      Workload workload = VtcDevice(policy, /*theta_units=*/2048);
      AddTrace(*trace, workload);
      const Report report = Simulate(workload);
      EXPECT_FALSE(report.violation.has_value()) << report.violation->what;
      if (policy == PolicyKind::kFair) {
        EXPECT_EQ(Simulate(workload).plan_hash, report.plan_hash) << name;
      }
      table += absl::StrFormat(
          "%s\t%s\t%d\t%016x\n", name, NameOf(policy), report.steps, report.plan_hash);
    }
  }
  if (std::getenv("UPDATE_GOLDEN") != nullptr) {
    std::ofstream(kGolden) << table;
    GTEST_SKIP() << "rewrote " << kGolden << "; review the difference";
  }
  std::ifstream file(kGolden);
  std::ostringstream recorded;
  recorded << file.rdbuf();
  EXPECT_EQ(table, recorded.str());
}

}  // namespace
}  // namespace inferd::sim
