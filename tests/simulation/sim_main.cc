// inferd_sim: the scheduler in simulation. Verbs: fuzz, fairness, experiments, run, print
// (docs/simulator.md).
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <exception>
#include <fstream>
#include <functional>
#include <iostream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "tests/simulation/experiments.h"
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

int RunExperiments(const std::vector<std::string>& only,
                   const std::string& traces,
                   int64_t workloads,
                   int64_t theta_units) {
  const auto wanted = [&](const char* name) {
    return only.empty() || std::find(only.begin(), only.end(), name) != only.end();
  };
  const std::vector<std::pair<const char*, std::function<Status()>>> all = {
      {"fairness", [&] { return RunFairness(workloads, 0); }},
      {"e1", [&] { return RunTwoClients(traces, theta_units); }},
      {"e2", [&] { return RunTwentySevenTenants(traces, theta_units); }},
      {"e3", [&] { return RunHog(theta_units); }},
      {"e4", [&] { return RunAzure(traces); }},
      {"e5", [&] { return RunPrefixIsolation(traces); }},
      {"e6", [] { return RunOverload(); }},
      {"e7", [] { return RunCancelStorm(); }},
      {"e8", [] { return RunDrain(); }},
      {"e9", [] { return RunThreeModels(); }},
      {"e10", [&] { return RunSweeps(traces); }},
      {"e11", [] { return RunLeakTest(); }},
  };
  int code = 0;
  for (const auto& [name, run] : all) {
    if (const Status status = wanted(name) ? run() : OkStatus(); !status.ok()) {
      code = Fail(Annotate(status, name));
    }
  }
  return code;
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
    std::string traces = TraceDir();
    std::vector<std::string> only;
    int64_t workloads = 10'000;
    int64_t theta_units = 0;

    CLI::App* fuzz_verb = app.add_subcommand("fuzz", "random workloads, every invariant");
    CLI::App* fairness_verb = app.add_subcommand("fairness", "random workloads for the theorem");
    for (CLI::App* verb : {fuzz_verb, fairness_verb}) {
      verb->add_option("--first", fuzz.first_seed, "the first seed");
      verb->add_option("--seeds", fuzz.seeds, "how many seeds");
      verb->add_option("--threads", fuzz.threads, "0: one a core");
      verb->add_flag("--first-only", fuzz.first_only, "stop at the first failure");
      verb->add_flag("--shrink,!--no-shrink", fuzz.shrink, "reduce a failure's log");
    }
    CLI::App* experiments_verb = app.add_subcommand("experiments", "the figures of make sim-full");
    experiments_verb->add_option("--traces", traces, "the folder of the public traces");
    experiments_verb->add_option("--only", only, "of: fairness, e1 to e11");
    experiments_verb->add_option(
        "--theta", theta_units, "the fairness window, service units; 0: by length");
    experiments_verb->add_option("--workloads", workloads, "for the fairness theorem");
    CLI::App* run_verb = app.add_subcommand("run", "a scenario file");
    run_verb->add_option("file", file)->required();
    CLI::App* print_verb = app.add_subcommand("print", "the workload of a seed, as a scenario");
    print_verb->add_option("--seed", seed)->required();
    print_verb->add_option("--kind", kind, "fuzz or fairness");
    CLI11_PARSE(app, argc, argv);

    if (run_verb->parsed()) {
      return RunFile(file);
    }
    if (experiments_verb->parsed()) {
      return RunExperiments(only, traces, workloads, theta_units);
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
    return result.failures > 0 ? 1 : 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "inferd_sim: %s\n", error.what());
    return 2;
  }
}
