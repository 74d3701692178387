#include "tests/simulation/scenario_run.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/simulation/simulation.h"
#include "tests/simulation/statistics.h"

namespace inferd::sim {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

double Seconds(Duration time) { return std::chrono::duration<double>(time).count(); }

struct Selection {
  std::vector<size_t> requests;
  std::vector<double> first_tokens_s;  // times to first token
  std::vector<double> waits_s;
};

Selection Select(const Scenario& scenario, const Report& report, const std::string& subject) {
  Selection selection;
  const Workload& workload = scenario.workload;
  for (size_t i = 0; i < workload.submissions.size(); ++i) {
    const Submission& submission = workload.submissions[i];
    if (subject != "everyone" && subject != "device" && subject != submission.name &&
        subject != workload.tenants[submission.tenant].name) {
      continue;
    }
    selection.requests.push_back(i);
    const RequestOutcome& outcome = report.requests[i];
    if (outcome.first_token.has_value()) {
      selection.first_tokens_s.push_back(Seconds(*outcome.first_token - outcome.arrival));
    }
    if (outcome.started.has_value()) {
      selection.waits_s.push_back(Seconds(*outcome.started - outcome.arrival));
    }
  }
  return selection;
}

int64_t CountEnds(const Selection& selection, const Report& report, EndKind kind) {
  return std::count_if(selection.requests.begin(), selection.requests.end(), [&](size_t i) {
    return report.requests[i].end == kind;
  });
}

double LastEnd(const Selection& selection, const Report& report) {
  double last = 0;
  for (const size_t i : selection.requests) {
    const auto& ended = report.requests[i].ended;
    last = std::max(last, ended.has_value() ? Seconds(*ended) : kNever);
  }
  return last;
}

double JainOfTenants(const Workload& workload, const Report& report) {
  std::vector<double> shares;
  for (size_t t = 0; t < workload.tenants.size(); ++t) {
    shares.push_back(static_cast<double>(report.tenants[t].delivered_units) /
                     static_cast<double>(workload.tenants[t].weight));
  }
  return JainIndex(shares);
}

// Delivered units of the selection's tenant in per cent of all.
double ShareOf(const Scenario& scenario, const Report& report, const std::string& subject) {
  double all = 0;
  double own = 0;
  for (size_t t = 0; t < report.tenants.size(); ++t) {
    const auto units = static_cast<double>(report.tenants[t].delivered_units);
    all += units;
    own += scenario.workload.tenants[t].name == subject ? units : 0;
  }
  return all == 0 ? 0 : 100 * own / all;
}

// The widest |W_f/w_f - W_g/w_g| of delivered units from the start on.
double GapOf(const Workload& workload, const Report& report, const Expectation& expectation) {
  const auto index = [&](const std::string& name) {
    size_t i = 0;
    while (i + 1 < workload.tenants.size() && workload.tenants[i].name != name) {
      ++i;
    }
    return i;
  };
  const size_t f = index(expectation.subject);
  const size_t g = index(expectation.other);
  double gap = 0;
  for (const ServiceSample& sample : report.service) {
    const double one = static_cast<double>(sample.delivered_units[f]) /
                       static_cast<double>(workload.tenants[f].weight);
    const double two = static_cast<double>(sample.delivered_units[g]) /
                       static_cast<double>(workload.tenants[g].weight);
    gap = std::max(gap, std::abs(one - two));
  }
  return gap;
}

const char* Sign(Expectation::Comparison comparison) {
  switch (comparison) {
    case Expectation::Comparison::kAtMost:
      return "<=";
    case Expectation::Comparison::kAtLeast:
      return ">=";
    case Expectation::Comparison::kEqual:
      break;
  }
  return "=";
}

bool Holds(const Expectation& expectation, double value) {
  switch (expectation.comparison) {
    case Expectation::Comparison::kAtMost:
      return value <= expectation.value;
    case Expectation::Comparison::kAtLeast:
      return value >= expectation.value;
    case Expectation::Comparison::kEqual:
      break;
  }
  return value == expectation.value;
}

// One line for an expectation; empty `failures` entry if it holds.
std::string Judge(const Scenario& scenario,
                  const Report& report,
                  const Expectation& expectation,
                  std::vector<std::string>& failures) {
  std::string line;
  bool holds = false;
  if (expectation.metric == "ends") {
    const double one = MetricOf(scenario, report, expectation.subject, "ended");
    const double two = MetricOf(scenario, report, expectation.other, "ended");
    holds = one < two;
    line = absl::StrFormat(
        "%s ends at %.3f s, %s at %.3f s", expectation.subject, one, expectation.other, two);
  } else {
    const bool gap = expectation.metric == "gap";
    const double value = gap ? GapOf(scenario.workload, report, expectation)
                             : MetricOf(scenario, report, expectation.subject, expectation.metric);
    holds = Holds(expectation, value);
    line = absl::StrFormat("%s%s%s %s %.6g, expected %s %.6g",
                           expectation.subject,
                           gap ? " and " : "",
                           expectation.other,
                           expectation.metric,
                           value,
                           Sign(expectation.comparison),
                           expectation.value);
  }
  line = absl::StrFormat("%s line %d: %s", holds ? "met   " : "MISSED", expectation.line, line);
  if (!holds) {
    failures.push_back(line);
  }
  return line + "\n";
}

}  // namespace

double MetricOf(const Scenario& scenario,
                const Report& report,
                const std::string& subject,
                const std::string& metric) {
  const Selection selection = Select(scenario, report, subject);
  const auto sum = [&](auto member) {
    double total = 0;
    for (const size_t i : selection.requests) {
      total += static_cast<double>(report.requests[i].*member);
    }
    return total;
  };
  if (metric == "finished") {
    return static_cast<double>(CountEnds(selection, report, EndKind::kFinished));
  }
  if (metric == "refused") {
    return static_cast<double>(CountEnds(selection, report, EndKind::kRefused) +
                               CountEnds(selection, report, EndKind::kShed));
  }
  if (metric == "cancelled") {
    return static_cast<double>(CountEnds(selection, report, EndKind::kCancelled));
  }
  if (metric == "expired") {
    return static_cast<double>(CountEnds(selection, report, EndKind::kDeadline) +
                               CountEnds(selection, report, EndKind::kQueueTimeout));
  }
  if (metric == "tokens") {
    return sum(&RequestOutcome::output_tokens);
  }
  if (metric == "cached") {
    return sum(&RequestOutcome::cached_tokens);
  }
  if (metric == "preempted") {
    return sum(&RequestOutcome::preemptions);
  }
  if (metric == "ttft.p50" || metric == "ttft.p99") {
    return selection.first_tokens_s.empty()
               ? kNever
               : Quantile(selection.first_tokens_s, metric == "ttft.p50" ? 0.5 : 0.99);
  }
  if (metric == "itl.p99") {
    return Quantile(report.token_gaps_s, 0.99);
  }
  if (metric == "wait.max") {
    return Quantile(selection.waits_s, 1);
  }
  if (metric == "share") {
    return ShareOf(scenario, report, subject);
  }
  if (metric == "jain") {
    return 100 * JainOfTenants(scenario.workload, report);
  }
  if (metric == "ended") {
    return LastEnd(selection, report);
  }
  if (metric == "throughput") {
    return static_cast<double>(report.prompt_tokens + report.output_tokens) / Seconds(report.ended);
  }
  if (metric == "recomputed") {
    const auto computed =
        static_cast<double>(report.recomputed_tokens + report.prompt_tokens + report.output_tokens);
    return computed == 0 ? 0 : 100 * static_cast<double>(report.recomputed_tokens) / computed;
  }
  return static_cast<double>(report.blocks_held);
}

std::string TenantTableText(const Workload& workload, const Report& report) {
  std::string text = absl::StrFormat("%-12s %6s %8s %8s %9s %9s %10s %10s %9s\n",
                                     "tenant",
                                     "weight",
                                     "requests",
                                     "finished",
                                     "refused",
                                     "tokens",
                                     "ttft p50 s",
                                     "ttft p99 s",
                                     "share %");
  const Scenario scenario{
      .name = "", .group = "", .description = "", .workload = workload, .expectations = {}};
  for (const TenantSetup& tenant : workload.tenants) {
    const auto metric = [&](const char* name) {
      return MetricOf(scenario, report, tenant.name, name);
    };
    absl::StrAppendFormat(&text,
                          "%-12s %6d %8d %8.0f %9.0f %9.0f %10.3f %10.3f %9.1f\n",
                          tenant.name,
                          tenant.weight,
                          Select(scenario, report, tenant.name).requests.size(),
                          metric("finished"),
                          metric("refused"),
                          metric("tokens"),
                          metric("ttft.p50"),
                          metric("ttft.p99"),
                          metric("share"));
  }
  return text;
}

ScenarioResult RunScenario(const Scenario& scenario) {
  ScenarioResult result;
  result.report = Simulate(scenario.workload, {.record_service = true, .record_token_gaps = true});
  const Report& report = result.report;
  result.text = absl::StrFormat(
      "%s\n%d steps to %.3f s, device busy %.0f %%, %d preemptions, plans %016x\n%s",
      scenario.name,
      report.steps,
      Seconds(report.ended),
      report.ended == Duration::zero() ? 0.0 : 100 * Seconds(report.busy) / Seconds(report.ended),
      report.preemptions,
      report.plan_hash,
      TenantTableText(scenario.workload, report));
  for (const Expectation& expectation : scenario.expectations) {
    result.text += Judge(scenario, report, expectation, result.failures);
  }
  if (report.violation.has_value()) {
    const Violation& violation = *report.violation;
    result.failures.push_back(absl::StrFormat("invariant `%s` broken at %.6f s, step %d: %s",
                                              violation.check,
                                              Seconds(violation.at),
                                              violation.step,
                                              violation.what));
    absl::StrAppend(&result.text, result.failures.back(), "\n");
  }
  return result;
}

}  // namespace inferd::sim
