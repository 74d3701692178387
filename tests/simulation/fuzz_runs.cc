#include "tests/simulation/fuzz_runs.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_format.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "tests/simulation/checks.h"
#include "tests/simulation/scenario.h"
#include "tests/simulation/simulation.h"

namespace inferd::sim {
namespace {

constexpr uint64_t kReplayEvery = 8;  // seeds; the second run of the same log
constexpr uint64_t kInterferenceEvery = 8;
constexpr int kShrinkRunsMax = 400;

// Without the submissions in [first, last) and what disturbs them.
Workload Without(const Workload& workload, size_t first, size_t last) {
  Workload less = workload;
  less.submissions.erase(less.submissions.begin() + static_cast<std::ptrdiff_t>(first),
                         less.submissions.begin() + static_cast<std::ptrdiff_t>(last));
  std::erase_if(less.disturbances, [&](const Disturbance& disturbance) {
    return disturbance.of_request() && disturbance.submission >= first &&
           disturbance.submission < last;
  });
  for (Disturbance& disturbance : less.disturbances) {
    if (disturbance.of_request() && disturbance.submission >= last) {
      disturbance.submission -= static_cast<uint32_t>(last - first);
    }
  }
  return less;
}

// The same requests, each tenant's one after the other and in step with the others', with room for
// everything: nothing but other tenants' data could make a difference to a tenant.
Workload InStep(Workload workload) {
  constexpr Duration kApart = std::chrono::hours(1);
  DeviceSetup& device = workload.device;
  device.running_max = 256;
  device.waiting_max = 1 << 20;
  device.queue_timeout = device.paused_max = device.paused_state_max = Duration::zero();
  device.lease_tokens = 0;
  device.refuses_late = false;
  for (ModelSetup& model : workload.models) {
    model.loading = false;
    for (GroupSetup& group : model.groups) {
      group.units *= 64;
    }
  }
  for (TenantSetup& tenant : workload.tenants) {
    tenant.running_max = tenant.waiting_max = 1 << 20;
    tenant.shared_cache = false;
  }
  std::vector<int64_t> numbers(workload.tenants.size(), 0);
  for (Submission& submission : workload.submissions) {
    submission.at = kApart * numbers[submission.tenant]++;
    submission.deadline.reset();
  }
  workload.disturbances.clear();
  SortByTime(workload);
  return workload;
}

// Removes a tenant's requests; says what changed for another (invariant 17 of the design).
std::optional<Violation> Interference(const Workload& random) {
  const Workload whole = InStep(random);
  Workload less = whole;
  std::erase_if(less.submissions,
                [](const Submission& submission) { return submission.tenant == 0; });
  const Report with = Simulate(whole);
  const Report without = Simulate(less);
  if (with.violation.has_value() || without.violation.has_value()) {
    return with.violation.has_value() ? with.violation : without.violation;
  }
  size_t other = 0;
  for (size_t i = 0; i < whole.submissions.size(); ++i) {
    if (whole.submissions[i].tenant == 0) {
      continue;
    }
    const RequestOutcome& one = with.requests[i];
    const RequestOutcome& two = without.requests[other++];
    if (one.cached_tokens != two.cached_tokens || one.output_hash != two.output_hash ||
        one.output_tokens != two.output_tokens || one.end != two.end) {
      return Violation{.check = check::kInterference,
                       .what = absl::StrFormat("%s: %d cached and %d output tokens, %d and %d "
                                               "without another tenant",
                                               whole.submissions[i].name,
                                               one.cached_tokens,
                                               one.output_tokens,
                                               two.cached_tokens,
                                               two.output_tokens),
                       .at = {},
                       .step = 0};
    }
  }
  return std::nullopt;
}

bool Breaks(const Workload& workload, const std::string& check) {
  const Report report = RunChecked(workload);
  return report.violation.has_value() && report.violation->check == check;
}

std::string Describe(const FuzzOptions& options, uint64_t seed, const Violation& violation) {
  const char* verb = options.kind == WorkloadKind::kFuzz ? "fuzz" : "fairness";
  return absl::StrFormat(
      "seed %d at commit %s breaks `%s` at %.6f s, step %d: %s\n"
      "replay: inferd_sim %s --first %d --seeds 1      (make sim SEED=%d)\n",
      seed,
      BuildCommit(),
      violation.check,
      std::chrono::duration<double>(violation.at).count(),
      violation.step,
      violation.what,
      verb,
      seed,
      seed);
}

}  // namespace

std::string BuildCommit() { return INFERD_COMMIT; }

Report RunChecked(const Workload& workload) {
  Report report = Simulate(workload);
  if (!report.violation.has_value() && workload.seed % kReplayEvery == 0) {
    const Report again = Simulate(workload);
    if (again.plan_hash != report.plan_hash) {
      report.violation = Violation{
          .check = check::kReplay, .what = "a second run made other plans", .at = {}, .step = 0};
    }
  }
  if (!report.violation.has_value() && workload.seed % kInterferenceEvery == 3 &&
      workload.tenants.size() > 1) {
    report.violation = Interference(workload);
  }
  if (!report.violation.has_value() && workload.device.cut_at_blocks) {
    report.violation = Simulate(workload, {.sensitive_to_chunks = true}).violation;
  }
  return report;
}

Workload Shrink(Workload workload, const std::string& check, int runs_max) {
  int runs = 0;
  for (size_t chunk = workload.submissions.size(); chunk > 0; chunk /= 2) {
    for (size_t first = 0; first < workload.submissions.size() && runs < runs_max;) {
      const size_t last = std::min(first + chunk, workload.submissions.size());
      Workload less = Without(workload, first, last);
      ++runs;
      if (!less.submissions.empty() && Breaks(less, check)) {
        workload = std::move(less);
      } else {
        first = last;
      }
    }
  }
  for (size_t i = 0; i < workload.disturbances.size() && runs < runs_max; ++runs) {
    if (workload.disturbances[i].kind == Disturbance::Kind::kLoad) {
      ++i;  // without its weights a model's requests would wait for ever
      continue;
    }
    Workload less = workload;
    less.disturbances.erase(less.disturbances.begin() + static_cast<std::ptrdiff_t>(i));
    if (Breaks(less, check)) {
      workload = std::move(less);
    } else {
      ++i;
    }
  }
  return workload;
}

FuzzResult RunSeeds(const FuzzOptions& options) {
  std::atomic<int64_t> next{0};
  std::atomic<bool> failed{false};
  std::mutex mutex;
  std::set<std::pair<uint64_t, std::string>> failures;
  FuzzResult result;
  int64_t steps = 0;
  int64_t preemptions = 0;
  int64_t swapped = 0;
  int64_t guessed = 0;
  int64_t recomputed = 0;
  int64_t tokens = 0;
  const auto work = [&] {
    for (int64_t i = next++; i < options.seeds; i = next++) {
      if (options.first_only && failed) {
        return;
      }
      const uint64_t seed = options.first_seed + static_cast<uint64_t>(i);
      const Report report = RunChecked(RandomWorkload(options.kind, seed));
      const std::scoped_lock lock(mutex);
      steps += static_cast<int64_t>(report.steps);
      preemptions += report.preemptions;
      guessed += report.accepted_tokens;
      swapped += report.swapped_in;
      recomputed += report.recomputed_tokens;
      tokens += report.prompt_tokens + report.output_tokens;
      result.bound_used = std::max(result.bound_used, report.bound_used);
      result.pair_gap = std::max(result.pair_gap, report.pair_gap);
      if (report.violation.has_value()) {
        failed = true;
        failures.insert({seed, Describe(options, seed, *report.violation)});
      }
    }
  };
  const unsigned cores = std::max(1u, std::thread::hardware_concurrency());
  const int threads = options.threads > 0 ? options.threads : static_cast<int>(cores);
  std::vector<std::thread> others;
  for (int i = 1; i < threads; ++i) {
    others.emplace_back(work);
  }
  work();
  for (std::thread& other : others) {
    other.join();
  }
  result.failures = std::ssize(failures);
  constexpr size_t kShownMax = 10;
  size_t shown = 0;
  for (const auto& [seed, text] : failures) {
    if (++shown <= kShownMax) {
      result.text += text;
    }
  }
  if (options.shrink && !failures.empty()) {
    const uint64_t seed = failures.begin()->first;
    const Workload whole = RandomWorkload(options.kind, seed);
    const Report report = RunChecked(whole);
    if (report.violation.has_value()) {
      const Workload less = Shrink(whole, report.violation->check, kShrinkRunsMax);
      absl::StrAppendFormat(&result.text,
                            "seed %d, reduced to %d of %d requests (inferd_sim run FILE):\n",
                            seed,
                            less.submissions.size(),
                            whole.submissions.size());
      result.text += ToText({.name = absl::StrCat("seed_", seed),
                             .group = "",
                             .description = report.violation->check,
                             .workload = less,
                             .expectations = {}});
    }
  }
  absl::StrAppendFormat(
      &result.text,
      "%d workloads: %d failed; %d steps, %d tokens, %d preemptions, %d swapped in, %d tokens "
      "guessed, %.2f %% "
      "computed again; "
      "fairness: widest pair gap %.0f units, %.0f %% of its bound\n",
      options.seeds,
      result.failures,
      steps,
      tokens,
      preemptions,
      swapped,
      guessed,
      tokens == 0 ? 0.0 : 100.0 * static_cast<double>(recomputed) / static_cast<double>(tokens),
      result.pair_gap,
      100 * result.bound_used);
  return result;
}

}  // namespace inferd::sim
