// inferd_sim: the scheduler in simulation. Verbs: fuzz, fairness, run, print (docs/simulator.md).
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>

#include "tests/simulation/fuzz_runs.h"
#include "tests/simulation/scenario.h"
#include "tests/simulation/scenario_run.h"

namespace inferd::sim {
namespace {

int Fail(const Status& status) {
  std::fprintf(stderr, "inferd_sim: %s\n", std::string(Message(status)).c_str());
  return 2;
}

StatusOr<Scenario> ReadScenario(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return ErrorF(StatusCode::kNotFound, "scenario %s cannot be read", path);
  }
  std::ostringstream text;
  text << file.rdbuf();
  return ParseScenario(text.str(), path);
}

int RunFile(const std::string& path) {
  const auto scenario = ReadScenario(path);
  if (!scenario.ok()) {
    return Fail(scenario.status());
  }
  const ScenarioResult result = RunScenario(*scenario);
  std::cout << result.text;
  return result.failures.empty() ? 0 : 1;
}

}  // namespace
}  // namespace inferd::sim

int main(int argc, char** argv) {
  using namespace inferd::sim;  // NOLINT(google-build-using-namespace): the program itself
  try {
    CLI::App app("Runs the scheduler on a virtual clock and holds its invariants.");
    app.require_subcommand(1);
    FuzzOptions fuzz;
    std::string file;
    uint64_t seed = 0;
    std::string kind = "fuzz";
    bool expect_caught = false;

    CLI::App* fuzz_verb = app.add_subcommand("fuzz", "random workloads, every invariant");
    CLI::App* fairness_verb = app.add_subcommand("fairness", "random workloads for the theorem");
    for (CLI::App* verb : {fuzz_verb, fairness_verb}) {
      verb->add_option("--first", fuzz.first_seed, "the first seed");
      verb->add_option("--seeds", fuzz.seeds, "how many seeds");
      verb->add_option("--threads", fuzz.threads, "0: one a core");
      verb->add_flag("--shrink,!--no-shrink", fuzz.shrink, "reduce a failure's log");
    }
    fuzz_verb->add_flag("--expect-caught", expect_caught, "succeed if an invariant breaks");
    CLI::App* run_verb = app.add_subcommand("run", "a scenario file");
    run_verb->add_option("file", file)->required();
    CLI::App* print_verb = app.add_subcommand("print", "the workload of a seed, as a scenario");
    print_verb->add_option("--seed", seed)->required();
    print_verb->add_option("--kind", kind, "fuzz or fairness");
    CLI11_PARSE(app, argc, argv);

    if (run_verb->parsed()) {
      return RunFile(file);
    }
    fuzz.kind = fairness_verb->parsed() || (print_verb->parsed() && kind == "fairness")
                    ? WorkloadKind::kFairness
                    : WorkloadKind::kFuzz;
    if (print_verb->parsed()) {
      std::cout << ToText({.name = kind,
                           .group = "",
                           .description = "",
                           .workload = RandomWorkload(fuzz.kind, seed),
                           .expectations = {}});
      return 0;
    }
    const FuzzResult result = RunSeeds(fuzz);
    std::cout << result.text;
    if (expect_caught) {
      return result.failures > 0 ? 0 : 1;
    }
    return result.failures > 0 ? 1 : 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "inferd_sim: %s\n", error.what());
    return 2;
  }
}
