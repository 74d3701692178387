#include "tests/simulation/experiments.h"

#include <absl/strings/str_format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <utility>
#include <vector>

#include "tests/simulation/fuzz_runs.h"
#include "tests/simulation/scenario_words.h"
#include "tests/simulation/scheduler_setup.h"
#include "tests/simulation/simulation.h"
#include "tests/simulation/statistics.h"

namespace inferd::sim {
namespace {

constexpr RunOptions kUnchecked{.check = false, .check_reads = false};

void Result(const char* key, double value, const char* unit) {
  std::printf("RESULT %s %.6g %s\n", key, value, unit);
  std::fflush(stdout);
}

double Seconds(Duration time) { return std::chrono::duration<double>(time).count(); }

// Tokens in and out by second of the run.
double Throughput(const Report& report) {
  return static_cast<double>(report.prompt_tokens + report.output_tokens) / Seconds(report.ended);
}

// How far the delivered service of the first two tenants drifts apart while both wait: the widest
// difference over any interval of that.
double GapWhileBothWait(const Report& report) {
  double gap = 0;
  Swing swing;
  for (const ServiceSample& sample : report.service) {
    if (!sample.waiting[0] || !sample.waiting[1]) {
      swing.Reset();
      continue;
    }
    swing.Add(static_cast<double>(sample.delivered_units[0] - sample.delivered_units[1]));
    gap = std::max(gap, swing.width());
  }
  return gap;
}

std::vector<double> FirstTokenTimes(const Workload& workload,
                                    const Report& report,
                                    uint32_t tenant) {
  std::vector<double> times;
  for (size_t i = 0; i < workload.submissions.size(); ++i) {
    const RequestOutcome& outcome = report.requests[i];
    if (workload.submissions[i].tenant == tenant && outcome.first_token.has_value()) {
      times.push_back(Seconds(*outcome.first_token - outcome.arrival));
    }
  }
  return times;
}

// Median over tenants of their mean time to first token.
double MedianOfMeans(const Workload& workload, const Report& report) {
  std::vector<double> means;
  for (uint32_t t = 0; t < workload.tenants.size(); ++t) {
    means.push_back(Mean(FirstTokenTimes(workload, report, t)));
  }
  return Quantile(means, 0.5);
}

// The baselines evict nobody: they admit what fits with all its declared output, as the VTC
// authors' engine does.
void ReserveAllIfBaseline(Workload& workload) {
  for (TenantSetup& tenant : workload.tenants) {
    tenant.strict = workload.policy.kind != PolicyKind::kFair;
  }
}

// The window of an experiment that names none: the service of a whole request, that of the 95th
// percentile, so that admitting one does not use it up.
void SetWindow(int64_t theta_units, Workload& workload) {
  std::vector<double> units;
  for (const Submission& submission : workload.submissions) {
    units.push_back(static_cast<double>(kPromptTokenUnits * submission.prompt_tokens +
                                        kOutputTokenUnits * submission.output_tokens));
  }
  workload.policy.theta =
      theta_units > 0 ? theta_units : static_cast<int64_t>(Quantile(units, 0.95));
}

double RecomputedPerCent(const Report& report) {
  const auto all =
      static_cast<double>(report.recomputed_tokens + report.prompt_tokens + report.output_tokens);
  return all == 0 ? 0 : 100 * static_cast<double>(report.recomputed_tokens) / all;
}

}  // namespace

Workload VtcDevice(PolicyKind policy, int64_t theta_units) {
  Workload workload;
  workload.policy = {.kind = policy, .theta = theta_units};
  workload.device.step_tokens_max = 512;
  workload.device.running_max = 256;
  workload.device.waiting_max = 100'000;
  workload.models.push_back(
      {.name = "llama-2-7b", .context_tokens_max = 4096, .groups = {{.units = 10'000 / 64}}});
  return workload;
}

void AddHostMemory(Workload& workload) {
  workload.device.host_percent = 100;
  workload.device.copy_unit = std::chrono::microseconds(1400);
}

void AddTrace(const std::vector<TraceRequest>& trace, Workload& workload) {
  std::map<std::string, uint32_t> tenants;
  for (const TraceRequest& request : trace) {
    tenants.try_emplace(request.tenant, 0);
  }
  for (auto& [name, index] : tenants) {  // in order of their names
    index = static_cast<uint32_t>(workload.tenants.size());
    workload.tenants.push_back({.name = name.empty() ? "all" : name, .waiting_max = 100'000});
  }
  for (size_t i = 0; i < trace.size(); ++i) {
    Submission submission{.name = absl::StrFormat("r%d", i),
                          .at = trace[i].at,
                          .tenant = tenants.at(trace[i].tenant),
                          .shared = {},
                          .deadline = std::nullopt};
    for (const uint32_t block : trace[i].blocks) {
      submission.shared.push_back({.content = block, .tokens = kMooncakeBlockTokens});
    }
    submission.prompt_tokens = std::max(1, trace[i].prompt_tokens);
    submission.output_tokens = std::max(1, trace[i].output_tokens);
    submission.output_max = submission.output_tokens;
    submission.service_class = 2;
    workload.submissions.push_back(std::move(submission));
  }
  SortByTime(workload);
}

Status RunFairness(int64_t workloads, int threads) {
  const FuzzResult result = RunSeeds({.kind = WorkloadKind::kFairness,
                                      .first_seed = 1,
                                      .seeds = workloads,
                                      .threads = threads,
                                      .shrink = false});
  std::printf("WORKLOAD %d random workloads of 2 to 8 tenants\n%s",
              static_cast<int>(workloads),
              result.text.c_str());
  Result("sim.fairness.violations", static_cast<double>(result.failures), "count");
  return OkStatus();
}

Status RunTwoClients(const std::string& traces, int64_t theta_units) {
  double gap_ratio = 0;
  double throughput_ratio = 1e9;
  std::printf("WORKLOAD vtc_2_clients_FCFS.jsonl and _VTC.jsonl, %d tokens of KV\n", 10'000);
  for (const char* name : {"vtc_2_clients_VTC.jsonl", "vtc_2_clients_FCFS.jsonl"}) {
    ASSIGN_OR_RETURN(const auto trace, ReadTrace(traces + "/" + name));
    std::map<PolicyKind, std::pair<double, double>> seen;  // gap, throughput
    for (const PolicyKind policy :
         {PolicyKind::kFcfs, PolicyKind::kDrr, PolicyKind::kVtc, PolicyKind::kFair}) {
      Workload workload = VtcDevice(policy, theta_units);
      AddTrace(trace, workload);
      ReserveAllIfBaseline(workload);
      SetWindow(theta_units, workload);
      const Report report =
          Simulate(workload, {.check = false, .check_reads = false, .record_service = true});
      const double gap = GapWhileBothWait(report);
      seen[policy] = {gap, Throughput(report)};
      std::printf("%s %-8s theta %d, gap %8.0f units, %.1f tok/s, %.2f %% computed again\n",
                  name,
                  std::string(NameOf(policy)).c_str(),
                  static_cast<int>(workload.policy.theta),
                  gap,
                  Throughput(report),
                  RecomputedPerCent(report));
    }
    gap_ratio = std::max(gap_ratio, seen[PolicyKind::kFair].first / seen[PolicyKind::kVtc].first);
    throughput_ratio =
        std::min(throughput_ratio, seen[PolicyKind::kFair].second / seen[PolicyKind::kVtc].second);
  }
  Result("sim.e1.gap_vs_vtc", gap_ratio, "ratio");
  Result("sim.e1.throughput_vs_vtc", throughput_ratio, "ratio");
  return OkStatus();
}

Status RunTwentySevenTenants(const std::string& traces, int64_t theta_units) {
  ASSIGN_OR_RETURN(const auto trace, ReadTrace(traces + "/vtc_27_tenants.jsonl"));
  std::printf("WORKLOAD vtc_27_tenants.jsonl, %d tokens of KV\n", 10'000);
  std::map<PolicyKind, std::pair<double, double>> seen;
  for (const PolicyKind policy :
       {PolicyKind::kFcfs, PolicyKind::kDrr, PolicyKind::kVtc, PolicyKind::kFair}) {
    Workload workload = VtcDevice(policy, theta_units);
    AddTrace(trace, workload);
    ReserveAllIfBaseline(workload);
    SetWindow(theta_units, workload);
    const Report report = Simulate(workload, kUnchecked);
    seen[policy] = {MedianOfMeans(workload, report), Throughput(report)};
    std::printf("%-8s median of mean ttft %.2f s, %.1f tok/s, %.2f %% computed again\n",
                std::string(NameOf(policy)).c_str(),
                seen[policy].first,
                seen[policy].second,
                RecomputedPerCent(report));
  }
  Result(
      "sim.e2.ttft_vs_vtc", seen[PolicyKind::kFair].first / seen[PolicyKind::kVtc].first, "ratio");
  Result("sim.e2.throughput_vs_vtc",
         seen[PolicyKind::kFair].second / seen[PolicyKind::kVtc].second,
         "ratio");
  return OkStatus();
}

namespace {

// A hog's 600 long answers at once, and two tenants that ask little for ten minutes.
Workload HogWorkload(PolicyKind policy, int64_t theta_units) {
  Workload workload = VtcDevice(policy, theta_units);
  workload.models[0].groups[0].units = 1024;
  workload.tenants = {{.name = "hog"}, {.name = "reader"}, {.name = "chatter"}};
  const auto add = [&](uint32_t tenant, int64_t at_ms, int32_t prompt, int32_t output) {
    Submission submission{.name = absl::StrFormat("r%d", workload.submissions.size()),
                          .at = std::chrono::milliseconds(at_ms),
                          .tenant = tenant,
                          .shared = {},
                          .deadline = std::nullopt};
    submission.prompt_tokens = prompt;
    submission.output_tokens = output;
    submission.output_max = output;
    submission.service_class = 2;
    workload.submissions.push_back(std::move(submission));
  };
  for (int i = 0; i < 600; ++i) {
    add(0, 0, 64, 1500);
  }
  for (int64_t second = 1; second < 600; ++second) {
    add(1, second * 1000, 1024, 16);
    if (second % 2 == 0) {
      add(2, second * 1000, 200, 200);
    }
  }
  SortByTime(workload);
  return workload;
}

}  // namespace

Status RunHog(int64_t theta_units) {
  std::printf("WORKLOAD 600 x 64/1500 at once; 1024/16 every 1 s; 200/200 every 2 s; 600 s\n");
  std::map<std::string, std::vector<double>> seen;  // reader, chatter, both
  const auto run = [&](PolicyKind policy, bool host) {
    Workload workload = HogWorkload(policy, theta_units);
    ReserveAllIfBaseline(workload);
    SetWindow(theta_units, workload);
    if (host) {
      AddHostMemory(workload);
    }
    const Report report = Simulate(workload, kUnchecked);
    const std::string name = std::string(NameOf(policy)) + (host ? "" : "-host");
    std::vector<double> all;
    for (const uint32_t tenant : {1, 2}) {
      const std::vector<double> times = FirstTokenTimes(workload, report, tenant);
      all.insert(all.end(), times.begin(), times.end());
      seen[name].push_back(Quantile(times, 0.5));
      std::printf("%-9s %-8s ttft p50 %7.2f s, p99 %7.2f s\n",
                  name.c_str(),
                  workload.tenants[tenant].name.c_str(),
                  Quantile(times, 0.5),
                  Quantile(times, 0.99));
    }
    seen[name].push_back(Quantile(all, 0.5));
    std::printf("%-9s both     ttft p50 %7.2f s; %.1f tok/s, %.2f %% computed again, %d swaps\n",
                name.c_str(),
                seen[name].back(),
                Throughput(report),
                RecomputedPerCent(report),
                static_cast<int>(report.swapped_in));
  };
  for (const PolicyKind policy :
       {PolicyKind::kFcfs, PolicyKind::kDrr, PolicyKind::kVtc, PolicyKind::kFair}) {
    run(policy, /*host=*/true);
  }
  run(PolicyKind::kFair, /*host=*/false);
  const std::vector<double>& vtc = seen["vtc"];
  for (const char* name : {"fair", "fair-host"}) {
    const std::vector<double>& fair = seen[name];
    std::printf("%-9s over vtc: reader %.3f, chatter %.3f, both %.3f\n",
                name,
                fair[0] / vtc[0],
                fair[1] / vtc[1],
                fair[2] / vtc[2]);
  }
  // Of all requests of the light tenants.
  Result("sim.e3.light_ttft_vs_vtc", seen["fair"][2] / vtc[2], "ratio");
  return OkStatus();
}

}  // namespace inferd::sim
