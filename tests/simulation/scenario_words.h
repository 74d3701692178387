// The words of the scenario format that stand for values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "tests/simulation/workload.h"

namespace inferd::sim {

std::string_view NameOf(PolicyKind kind);
std::optional<PolicyKind> PolicyFromName(std::string_view name);

std::string_view ServiceClassName(int32_t service_class);
std::optional<int32_t> ServiceClassFromName(std::string_view name);

// Metrics that an expectation may name; docs/simulator.md says what each means.
bool IsMetric(std::string_view name);
std::string MetricNames();

}  // namespace inferd::sim
