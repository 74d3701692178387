// Runs a scenario and holds it to its expectations.
#pragma once

#include <string>
#include <vector>

#include "tests/simulation/report.h"
#include "tests/simulation/scenario.h"

namespace inferd::sim {

struct ScenarioResult {
  Report report;
  std::vector<std::string> failures;  // expectations that were missed, and a broken invariant
  std::string text;                   // a table of tenants, then each expectation with its value
};

ScenarioResult RunScenario(const Scenario& scenario);

// A metric of one tenant, one request, "everyone" or "device"; times in seconds.
double MetricOf(const Scenario& scenario,
                const Report& report,
                const std::string& subject,
                const std::string& metric);

// The tenants of a report as a table.
std::string TenantTableText(const Workload& workload, const Report& report);

}  // namespace inferd::sim
