// Experiments under load: Azure's traces, overload, cancels and slow readers, drain, several
// models, sweeps of the scheduler's parameters.
#include <absl/strings/str_format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "base/random.h"
#include "tests/simulation/experiments.h"
#include "tests/simulation/scenario_words.h"
#include "tests/simulation/scheduler_setup.h"
#include "tests/simulation/simulation.h"
#include "tests/simulation/statistics.h"

namespace inferd::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr RunOptions kUnchecked{.check = false, .check_reads = false};
constexpr int kInteractive = 0;
constexpr int kBatch = 2;

void Result(const char* key, double value, const char* unit) {
  std::printf("RESULT %s %.6g %s\n", key, value, unit);
  std::fflush(stdout);
}

double Seconds(Duration time) { return std::chrono::duration<double>(time).count(); }

double TokensBySecond(const Report& report) {
  return static_cast<double>(report.prompt_tokens + report.output_tokens) / Seconds(report.ended);
}

std::vector<double> FirstTokens(const Workload& workload, const Report& report, uint32_t tenant) {
  std::vector<double> times;
  for (size_t i = 0; i < workload.submissions.size(); ++i) {
    const RequestOutcome& outcome = report.requests[i];
    if (workload.submissions[i].tenant == tenant && outcome.first_token.has_value()) {
      times.push_back(Seconds(*outcome.first_token - outcome.arrival));
    }
  }
  return times;
}

int64_t Count(const Report& report, EndKind kind) {
  return std::count_if(report.requests.begin(), report.requests.end(), [kind](const auto& request) {
    return request.end == kind;
  });
}

// The A10G of the VTC authors with the memory of a bigger card.
Workload LoadDevice(PolicyKind policy) {
  Workload workload = VtcDevice(policy, 4096);
  workload.models[0].groups[0].units = 1024;
  workload.models[0].context_tokens_max = 16'384;
  AddHostMemory(workload);
  return workload;
}

// What tenants ask: about `rate` requests a second each for `lasting`, lengths log-uniform.
struct Stream {
  uint32_t tenant = 0;
  uint32_t model = 0;
  double rate = 1;
  Duration from{};
  Duration lasting{};
  int32_t prompt_max = 1024;
  int32_t output_max = 256;
  int32_t service_class = kBatch;
};

void AddStream(const Stream& stream, SplitMix64& random, Workload& workload) {
  const auto length = [&random](int32_t longest) {
    return static_cast<int32_t>(std::exp(random.Unit() * std::log(static_cast<double>(longest))));
  };
  const auto gap = [&] {
    return Duration(static_cast<int64_t>(-std::log1p(-random.Unit()) / stream.rate * 1e9));
  };
  for (Duration at = stream.from + gap(); at < stream.from + stream.lasting; at += gap()) {
    Submission submission{.name = absl::StrFormat("r%d", workload.submissions.size()),
                          .at = at,
                          .tenant = stream.tenant,
                          .model = stream.model,
                          .shared = {},
                          .prompt_tokens = std::max(1, length(stream.prompt_max)),
                          .output_tokens = std::max(1, length(stream.output_max)),
                          .deadline = std::nullopt,
                          .service_class = stream.service_class};
    submission.output_max = 2 * submission.output_tokens;
    workload.submissions.push_back(std::move(submission));
  }
}

void AddTenants(int count, Workload& workload) {
  for (int t = 0; t < count; ++t) {
    workload.tenants.push_back({.name = absl::StrFormat("t%d", t), .waiting_max = 100'000});
  }
}

}  // namespace

// E4. Load 1 is what the device does when all of it is there at once.
Status RunAzure(const std::string& traces) {
  constexpr size_t kRequests = 600;  // of each trace
  std::vector<TraceRequest> both;
  for (const char* name : {"code", "conv"}) {
    ASSIGN_OR_RETURN(auto trace, ReadTrace(absl::StrFormat("%s/azure_2023_%s.csv", traces, name)));
    trace.resize(std::min(trace.size(), kRequests));
    const Duration last = trace.back().at;
    for (TraceRequest& request : trace) {  // both last a second, to be stretched
      request.tenant = name;
      request.at = Duration(static_cast<int64_t>(Seconds(request.at) / Seconds(last) * 1e9));
      both.push_back(request);
    }
  }
  const auto run = [&both](PolicyKind policy, double stretch) {
    Workload workload = LoadDevice(policy);
    std::vector<TraceRequest> stretched = both;
    for (TraceRequest& request : stretched) {
      request.at = Duration(static_cast<int64_t>(Seconds(request.at) * stretch * 1e9));
    }
    AddTrace(stretched, workload);
    Report report = Simulate(workload, kUnchecked);
    return std::pair(std::move(workload), std::move(report));
  };
  const Report burst = run(PolicyKind::kFair, 0).second;
  const double capacity_s = Seconds(burst.ended);
  std::printf(
      "WORKLOAD azure_2023_code.csv and _conv.csv, the first %d of each; load 1 is "
      "%.0f s\n",
      static_cast<int>(kRequests),
      capacity_s);
  double worst_gain = 0;
  for (const double load : {0.5, 1.0, 2.0, 3.0}) {
    std::vector<double> conv;
    for (const PolicyKind policy : {PolicyKind::kFcfs, PolicyKind::kVtc, PolicyKind::kFair}) {
      const auto [workload, report] = run(policy, capacity_s / load);
      conv.push_back(Quantile(FirstTokens(workload, report, 1), 0.99));
      std::printf(
          "load %.1f %-5s code ttft p50 %6.2f p99 %7.2f s, conv p50 %6.2f p99 %7.2f s, "
          "%.0f tok/s\n",
          load,
          std::string(NameOf(policy)).c_str(),
          Quantile(FirstTokens(workload, report, 0), 0.5),
          Quantile(FirstTokens(workload, report, 0), 0.99),
          Quantile(FirstTokens(workload, report, 1), 0.5),
          conv.back(),
          TokensBySecond(report));
    }
    worst_gain = load >= 2 ? std::max(worst_gain, conv[2] / conv[0]) : worst_gain;
  }
  Result("sim.e4.conv_ttft_p99_vs_fcfs", worst_gain, "ratio");
  return OkStatus();
}

// E6. Goodput: requests whose first token came within their class's two seconds.
Status RunOverload() {
  const auto run = [](bool refuses) {
    Workload workload = LoadDevice(PolicyKind::kFair);
    workload.device.waiting_max = refuses ? 64 : 100'000;
    workload.device.refuses_late = refuses;
    AddTenants(8, workload);
    SplitMix64 random(6);
    for (uint32_t t = 0; t < 8; ++t) {  // the first asks for as much as all others
      AddStream({.tenant = t,
                 .rate = t == 0 ? 31.5 : 4.5,
                 .lasting = seconds(120),
                 .service_class = kInteractive},
                random,
                workload);
    }
    SortByTime(workload);
    Report report = Simulate(workload, kUnchecked);
    return std::pair(std::move(workload), std::move(report));
  };
  std::printf("WORKLOAD 8 tenants for 120 s, one as busy as the others together, interactive\n");
  std::vector<double> goodputs;
  for (const bool refuses : {false, true}) {
    const auto [workload, report] = run(refuses);
    double good = 0;
    double light = 0;
    double light_all = 0;
    for (size_t i = 0; i < report.requests.size(); ++i) {
      const RequestOutcome& request = report.requests[i];
      const bool in_time =
          request.first_token.has_value() && *request.first_token - request.arrival <= seconds(2);
      good += in_time ? 1 : 0;
      light_all += workload.submissions[i].tenant > 0 ? 1 : 0;
      light += in_time && workload.submissions[i].tenant > 0 ? 1 : 0;
    }
    goodputs.push_back(good / static_cast<double>(report.requests.size()));
    std::printf(
        "%-22s in time %.1f %% (of the light tenants' %.1f %%); %d refused, %d shed, ended "
        "after %.0f s\n",
        refuses ? "refuses and sheds:" : "takes all:",
        100 * goodputs.back(),
        100 * light / light_all,
        static_cast<int>(Count(report, EndKind::kRefused)),
        static_cast<int>(Count(report, EndKind::kShed)),
        Seconds(report.ended));
  }
  Result("sim.e6.goodput_gain", goodputs[1] / std::max(goodputs[0], 1e-3), "ratio");
  return OkStatus();
}

// E7. Half of all requests are cancelled at once and a fifth of the readers stop, twice.
Status RunCancelStorm() {
  std::vector<double> gaps;
  int64_t held = 0;
  std::printf("WORKLOAD 4 tenants for 60 s; at 20 s half of them cancel, a fifth stalls\n");
  for (const bool storm : {false, true}) {
    Workload workload = LoadDevice(PolicyKind::kFair);
    workload.device.paused_state_max = seconds(2);
    workload.device.paused_max = seconds(10);
    AddTenants(4, workload);
    SplitMix64 random(7);
    for (uint32_t t = 0; t < 4; ++t) {
      AddStream({.tenant = t, .rate = 6, .lasting = seconds(60)}, random, workload);
    }
    SortByTime(workload);
    for (uint32_t i = 0; storm && i < workload.submissions.size(); ++i) {
      const uint64_t fate = random.Below(10);
      const Duration at = std::max<Duration>(seconds(20), workload.submissions[i].at);
      if (fate < 7 && workload.submissions[i].at < seconds(20)) {
        workload.disturbances.push_back(
            {.kind = fate < 5 ? Disturbance::Kind::kCancel : Disturbance::Kind::kStall,
             .at = at,
             .submission = i,
             .lasting = seconds(30)});
      }
    }
    SortByTime(workload);
    const Report report =
        Simulate(workload, {.check = false, .check_reads = false, .record_token_gaps = true});
    gaps.push_back(Quantile(report.token_gaps_s, 0.99));
    held += report.blocks_held;
    std::printf("%-6s itl p99 %.3f s, %d finished, %d cancelled, %d preempted\n",
                storm ? "storm" : "calm",
                gaps.back(),
                static_cast<int>(Count(report, EndKind::kFinished)),
                static_cast<int>(Count(report, EndKind::kCancelled)),
                static_cast<int>(report.preemptions));
  }
  Result("sim.e7.itl_p99_vs_calm", gaps[1] / gaps[0], "ratio");
  Result("sim.e7.blocks_leaked", static_cast<double>(held), "count");
  return OkStatus();
}

// E8. What has been taken is finished, nothing new is; leases are settled (the run checks it).
Status RunDrain() {
  Workload workload = LoadDevice(PolicyKind::kFair);
  workload.device.lease_tokens = 64;
  workload.device.lease_reply = milliseconds(5);
  AddTenants(4, workload);
  SplitMix64 random(8);
  for (uint32_t t = 0; t < 4; ++t) {
    AddStream({.tenant = t, .rate = 3.0, .lasting = seconds(60)}, random, workload);
  }
  workload.disturbances.push_back({.kind = Disturbance::Kind::kDrain, .at = seconds(30)});
  SortByTime(workload);
  const Report report = Simulate(workload, {.check = true, .check_reads = false});
  Duration last{};
  for (const RequestOutcome& request : report.requests) {
    last = std::max(last, request.end == EndKind::kFinished ? *request.ended : Duration::zero());
  }
  std::printf("WORKLOAD 4 tenants, drain at 30 s: %d finished, %d refused, empty %.1f s later\n",
              static_cast<int>(Count(report, EndKind::kFinished)),
              static_cast<int>(Count(report, EndKind::kRefused)),
              Seconds(last) - 30);
  const int64_t open = std::ssize(report.requests) - Count(report, EndKind::kFinished) -
                       Count(report, EndKind::kRefused);
  const int64_t broken = report.violation.has_value() ? 1 : 0;
  Result("sim.e8.lost", static_cast<double>(open + broken), "count");
  return OkStatus();
}

// E9. The same requests for one model, and for three whose popularity moves on every 20 seconds.
Status RunThreeModels() {
  std::vector<double> throughputs;
  std::printf("WORKLOAD 3 tenants for 60 s; a favourite model for each third of it\n");
  for (const uint32_t models : {1u, 3u}) {
    Workload workload = LoadDevice(PolicyKind::kFair);
    workload.models[0].groups[0].units = 1024 / models;
    for (uint32_t m = 1; m < models; ++m) {
      workload.models.push_back(workload.models[0]);
      workload.models[m].name = absl::StrFormat("m%d", m);
    }
    AddTenants(3, workload);
    SplitMix64 random(9);
    for (uint32_t third = 0; third < 3; ++third) {
      for (uint32_t t = 0; t < 3; ++t) {
        for (uint32_t m = 0; m < 3; ++m) {
          AddStream({.tenant = t,
                     .model = m % models,
                     .rate = m == third ? 1.2 : 0.15,
                     .from = seconds(20 * third),
                     .lasting = seconds(20)},
                    random,
                    workload);
        }
      }
    }
    SortByTime(workload);
    const Report report = Simulate(workload, kUnchecked);
    throughputs.push_back(TokensBySecond(report));
    std::printf("%d models: %.0f tok/s, ttft p50 %.2f s, p99 %.2f s, %.1f s\n",
                static_cast<int>(models),
                throughputs.back(),
                Quantile(FirstTokens(workload, report, 0), 0.5),
                Quantile(FirstTokens(workload, report, 0), 0.99),
                Seconds(report.ended));
  }
  Result("sim.e9.throughput_vs_one_model", throughputs[1] / throughputs[0], "ratio");
  return OkStatus();
}

// E10. One parameter at a time, on the log of 27 tenants.
Status RunSweeps(const std::string& traces) {
  ASSIGN_OR_RETURN(const auto trace, ReadTrace(traces + "/vtc_27_tenants.jsonl"));
  std::printf("WORKLOAD vtc_27_tenants.jsonl; theta 4096, 512 tokens a step, learnt reserve\n");
  const auto run = [&trace](const std::string& what, const auto& change) {
    Workload workload = VtcDevice(PolicyKind::kFair, 4096);
    AddHostMemory(workload);
    AddTrace(trace, workload);
    change(workload);
    const Report report =
        Simulate(workload, {.check = false, .check_reads = false, .record_token_gaps = true});
    std::vector<double> means;
    for (uint32_t t = 0; t < workload.tenants.size(); ++t) {
      means.push_back(Mean(FirstTokens(workload, report, t)));
    }
    const auto computed = static_cast<double>(report.prompt_tokens + report.output_tokens);
    const double again = 100 * static_cast<double>(report.recomputed_tokens) / computed;
    std::printf("%-22s ttft %6.2f s, itl p99 %.3f s, %.0f tok/s, %.2f %% again, %d swaps\n",
                what.c_str(),
                Quantile(means, 0.5),
                Quantile(report.token_gaps_s, 0.99),
                TokensBySecond(report),
                again,
                static_cast<int>(report.swapped_in));
    return again;
  };
  double at_default = 0;
  for (const int64_t theta : {256, 512, 1024, 2048, 4096, 8192}) {
    const double again = run(absl::StrFormat("theta %d", theta), [theta](Workload& workload) {
      workload.policy.theta = theta;
      workload.device.host_percent = 0;
    });
    at_default = theta == 4096 ? again : at_default;
  }
  for (const int64_t factor : {1, 2, 4}) {
    for (const bool strict : {false, true}) {
      run(absl::StrFormat("declared x%d, %s", factor, strict ? "all" : "learnt"),
          [&](Workload& workload) {
            for (Submission& submission : workload.submissions) {
              submission.output_max = static_cast<int32_t>(std::min<int64_t>(
                  factor * submission.output_tokens, 4096 - submission.prompt_tokens));
              submission.output_max = std::max(submission.output_max, submission.output_tokens);
            }
            for (TenantSetup& tenant : workload.tenants) {
              tenant.strict = strict;
            }
          });
    }
  }
  for (const int64_t budget : {128, 256, 512, 1024, 2048}) {
    run(absl::StrFormat("step tokens %d", budget),
        [budget](Workload& workload) { workload.device.step_tokens_max = budget; });
  }
  run("cut at blocks", [](Workload& workload) { workload.device.cut_at_blocks = true; });
  run("theta 512, host", [](Workload& workload) { workload.policy.theta = 512; });
  Result("sim.e10.recomputed_percent", at_default, "percent");
  return OkStatus();
}

}  // namespace inferd::sim
