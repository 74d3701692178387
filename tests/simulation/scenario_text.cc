#include <absl/strings/str_cat.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include "tests/simulation/scenario.h"
#include "tests/simulation/scenario_line.h"
#include "tests/simulation/scenario_words.h"

namespace inferd::sim {
namespace {

constexpr std::array<std::string_view, 5> kPolicies{"fair", "fcfs", "priority", "drr", "vtc"};
constexpr std::array<std::string_view, kServiceClasses> kClasses{
    "interactive", "standard", "batch"};
constexpr std::array<std::string_view, 17> kMetrics{"finished",
                                                    "refused",
                                                    "cancelled",
                                                    "expired",
                                                    "tokens",
                                                    "cached",
                                                    "ttft.p50",
                                                    "ttft.p99",
                                                    "itl.p99",
                                                    "wait.max",
                                                    "preempted",
                                                    "share",
                                                    "jain",
                                                    "ended",
                                                    "throughput",
                                                    "recomputed",
                                                    "blocks_held"};

template <size_t n>
std::optional<size_t> Find(const std::array<std::string_view, n>& names, std::string_view name) {
  const auto* const found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) {
    return std::nullopt;
  }
  return static_cast<size_t>(found - names.begin());
}

std::string DeviceText(const DeviceSetup& device) {
  std::string text = absl::StrFormat("device step_tokens=%d running=%d queue=%d in_flight=%d",
                                     device.step_tokens_max,
                                     device.running_max,
                                     device.waiting_max,
                                     device.in_flight_max);
  absl::StrAppend(&text,
                  device.cut_at_blocks ? " canonical_chunks" : "",
                  device.prefix_cache ? "" : " no_prefix_cache");
  absl::StrAppend(&text, " noise_per_mille=", device.noise_per_mille);
  const StepTimeModel& time = device.time;
  absl::StrAppend(&text, " step=", TimeText(Duration(time.base_ns)));
  absl::StrAppend(&text, " prefill_token=", TimeText(Duration(time.prefill_token_ns)));
  absl::StrAppend(&text, " decode_row=", TimeText(Duration(time.decode_row_ns)));
  absl::StrAppend(&text, " context_1024=", TimeText(Duration(time.context_kilotoken_ns)));
  absl::StrAppend(&text, " queue_timeout=", TimeText(device.queue_timeout));
  absl::StrAppend(&text, " lease=", device.lease_tokens);
  absl::StrAppend(&text, " lease_reply=", TimeText(device.lease_reply));
  if (device.host_percent > 0) {
    absl::StrAppend(&text, " host_percent=", device.host_percent);
    absl::StrAppend(&text, " copy_unit=", TimeText(device.copy_unit));
  }
  absl::StrAppend(&text, " paused_state=", TimeText(device.paused_state_max));
  absl::StrAppend(&text, " paused=", TimeText(device.paused_max));
  absl::StrAppend(&text, " draft_tokens=", device.draft_tokens);
  absl::StrAppend(&text, device.refuses_late ? " refuses_late\n" : "\n");
  return text;
}

std::string ModelText(const ModelSetup& model) {
  std::string text = absl::StrCat("model ", model.name, " context=", model.context_tokens_max);
  for (const GroupSetup& group : model.groups) {
    if (group.kind == StateKind::kSlot) {
      absl::StrAppend(&text, " slots=", group.units);
    } else if (group.window > 0) {
      absl::StrAppend(&text, " window=", group.window, " window_blocks=", group.units);
    } else {
      absl::StrAppend(&text, " blocks=", group.units);
    }
  }
  return text + (model.loading ? " loading\n" : "\n");
}

std::string TenantText(const TenantSetup& tenant) {
  std::string text = absl::StrFormat("tenant %s weight=%d queue=%d running=%d budget=%d",
                                     tenant.name,
                                     tenant.weight,
                                     tenant.waiting_max,
                                     tenant.running_max,
                                     tenant.budget_tokens);
  if (tenant.running_tokens_max != TenantSetup().running_tokens_max) {
    absl::StrAppend(&text, " running_tokens=", tenant.running_tokens_max);
  }
  if (tenant.guaranteed_blocks > 0) {
    absl::StrAppend(&text, " guaranteed=", tenant.guaranteed_blocks);
  }
  absl::StrAppend(
      &text, tenant.strict ? " strict" : "", tenant.shared_cache ? " shared_cache" : "", "\n");
  return text;
}

std::string SubmissionText(const Workload& workload, const Submission& request) {
  std::string text = absl::StrFormat("at %s %s submits %s prompt=%d output=%d max=%d model=%s",
                                     TimeText(request.at),
                                     workload.tenants[request.tenant].name,
                                     request.name,
                                     request.prompt_tokens,
                                     request.output_tokens,
                                     request.output_max,
                                     workload.models[request.model].name);
  const char* separator = " shares=";
  for (const Segment& segment : request.shared) {
    text += absl::StrFormat("%sc%016x:%d", separator, segment.content, segment.tokens);
    separator = "+";
  }
  absl::StrAppendFormat(&text, " class=%s", ServiceClassName(request.service_class));
  if (request.deadline) {
    absl::StrAppend(&text, " deadline=", TimeText(*request.deadline));
  }
  return text + (request.deterministic ? " deterministic\n" : "\n");
}

std::string DisturbanceText(const Workload& workload, const Disturbance& disturbance) {
  const std::string at = TimeText(disturbance.at);
  if (disturbance.kind == Disturbance::Kind::kDrain) {
    return absl::StrFormat("at %s drain\n", at);
  }
  if (disturbance.kind == Disturbance::Kind::kFault) {
    return absl::StrFormat("at %s fault\n", at);
  }
  if (!disturbance.of_request()) {
    return absl::StrFormat("at %s %s %s\n",
                           at,
                           disturbance.kind == Disturbance::Kind::kLoad ? "loads" : "unloads",
                           workload.models[disturbance.model].name);
  }
  const std::string& name = workload.submissions[disturbance.submission].name;
  if (disturbance.kind == Disturbance::Kind::kCancel) {
    return absl::StrFormat("at %s %s cancels\n", at, name);
  }
  return absl::StrFormat(
      "at %s %s stops reading for %s\n", at, name, TimeText(disturbance.lasting));
}

// A value as its metric is written: all times are exact to the nanosecond.
std::string ValueText(const Expectation& expectation) {
  const bool time = expectation.metric.starts_with("ttft") ||
                    expectation.metric.starts_with("itl") || expectation.metric == "wait.max" ||
                    expectation.metric == "ended";
  return time ? TimeText(Duration(std::llround(expectation.value * 1e9)))
              : absl::StrCat(std::llround(expectation.value));
}

std::string ExpectationText(const Expectation& expectation) {
  if (expectation.metric == "ends") {
    return absl::StrFormat("expect %s ends before %s\n", expectation.subject, expectation.other);
  }
  const char* comparison = "=";
  if (expectation.comparison != Expectation::Comparison::kEqual) {
    comparison = expectation.comparison == Expectation::Comparison::kAtMost ? "<=" : ">=";
  }
  const std::string who = expectation.metric == "gap"
                              ? absl::StrFormat("gap %s %s", expectation.subject, expectation.other)
                              : absl::StrFormat("%s %s", expectation.subject, expectation.metric);
  return absl::StrFormat("expect %s %s %s\n", who, comparison, ValueText(expectation));
}

}  // namespace

std::string_view NameOf(PolicyKind kind) { return kPolicies[static_cast<size_t>(kind)]; }

std::optional<PolicyKind> PolicyFromName(std::string_view name) {
  const auto found = Find(kPolicies, name);
  return found ? std::optional(static_cast<PolicyKind>(*found)) : std::nullopt;
}

std::string_view ServiceClassName(int32_t service_class) {
  return kClasses[static_cast<size_t>(service_class)];
}

std::optional<int32_t> ServiceClassFromName(std::string_view name) {
  const auto found = Find(kClasses, name);
  return found ? std::optional(static_cast<int32_t>(*found)) : std::nullopt;
}

bool IsMetric(std::string_view name) { return Find(kMetrics, name).has_value(); }

std::string MetricNames() {
  std::string names;
  for (const std::string_view metric : kMetrics) {
    names += names.empty() ? "" : ", ";
    names += metric;
  }
  return names;
}

std::string ToText(const Scenario& scenario) {
  const Workload& workload = scenario.workload;
  std::string text;
  for (const auto& [key, value] : {std::pair{"name", &scenario.name},
                                   std::pair{"group", &scenario.group},
                                   std::pair{"description", &scenario.description}}) {
    if (!value->empty()) {
      absl::StrAppend(&text, "# ", key, ": ", *value, "\n");
    }
  }
  absl::StrAppend(&text, "seed ", workload.seed, "\n", DeviceText(workload.device));
  absl::StrAppendFormat(
      &text, "policy %s theta=%d\n", NameOf(workload.policy.kind), workload.policy.theta);
  for (const ModelSetup& model : workload.models) {
    text += ModelText(model);
  }
  for (const TenantSetup& tenant : workload.tenants) {
    text += TenantText(tenant);
  }
  for (const Submission& submission : workload.submissions) {
    text += SubmissionText(workload, submission);
  }
  for (const Disturbance& disturbance : workload.disturbances) {
    text += DisturbanceText(workload, disturbance);
  }
  for (const Expectation& expectation : scenario.expectations) {
    text += ExpectationText(expectation);
  }
  return text;
}

}  // namespace inferd::sim
